"""Isotropic volumes from anisotropic electron-microscopy stacks (EMGauss, arXiv 2512.06684).

>>> import napari_emgauss as emg
>>> stack = emg.sample_stack()
>>> model = emg.run_fit(stack, emg.preset("fast"))  # doctest: +SKIP
>>> image = model.render(z_nm=123.4)  # doctest: +SKIP
>>> emg.export(model, "isotropic.ome.tif")  # doctest: +SKIP

Public names are resolved on first use, so that ``import napari_emgauss`` loads neither torch nor Qt.
"""

from collections.abc import Callable

import lazy_loader

_public: Callable[[str], object]
_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __getattr__(name: str) -> object:
    return _version() if name == "__version__" else _public(name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("napari-emgauss")
    except PackageNotFoundError:  # run from a source folder that was never installed
        return "0+unknown"
