"""Isotropic volumes from anisotropic electron-microscopy stacks (EMGauss, arXiv 2512.06684).

>>> import napari_emgauss as emg
>>> stack = emg.sample_stack()
>>> model = emg.run_fit(stack, emg.preset("fast"))  # doctest: +SKIP
>>> image = model.render(z_nm=123.4)  # doctest: +SKIP
>>> emg.export(model, "isotropic.ome.tif")  # doctest: +SKIP

Public names are resolved on first use, so that ``import napari_emgauss`` loads neither torch nor Qt.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_emgauss._errors import (
        BackendError,
        ConfigError,
        DepthError,
        EmgaussError,
        ExportError,
        FitError,
        ModelFileError,
        PriorError,
        StackError,
        StackFileError,
        VoxelSizeError,
    )
    from napari_emgauss.evaluate import evaluate, score
    from napari_emgauss.fit import FitConfig, FitUpdate, fit, preset, preset_names, run_fit
    from napari_emgauss.priors import get_prior, prior_names
    from napari_emgauss.render import EmgaussModel, available_backends, choose_backend, splat
    from napari_emgauss.stack import (
        Normalisation,
        PhantomConfig,
        Stack,
        read_stack,
        sample_stack,
        sample_truth,
        stack_from_array,
    )
    from napari_emgauss.tiles import RunOptions, TiledModel, TileSize, fit_tiles, load, run_fit_tiles
    from napari_emgauss.volume import LazyVolume, export, isotropic_depths

__all__ = [
    "BackendError",
    "ConfigError",
    "DepthError",
    "EmgaussError",
    "EmgaussModel",
    "ExportError",
    "FitConfig",
    "FitError",
    "FitUpdate",
    "LazyVolume",
    "ModelFileError",
    "Normalisation",
    "PhantomConfig",
    "PriorError",
    "RunOptions",
    "Stack",
    "StackError",
    "StackFileError",
    "TileSize",
    "TiledModel",
    "VoxelSizeError",
    "__version__",
    "available_backends",
    "choose_backend",
    "evaluate",
    "export",
    "fit",
    "fit_tiles",
    "get_prior",
    "isotropic_depths",
    "load",
    "preset",
    "preset_names",
    "prior_names",
    "read_stack",
    "run_fit",
    "run_fit_tiles",
    "sample_stack",
    "sample_truth",
    "score",
    "splat",
    "stack_from_array",
]

_ORIGINS: dict[str, tuple[str, ...]] = {
    "_errors": (
        "BackendError",
        "ConfigError",
        "DepthError",
        "EmgaussError",
        "ExportError",
        "FitError",
        "ModelFileError",
        "PriorError",
        "StackError",
        "StackFileError",
        "VoxelSizeError",
    ),
    "stack": (
        "Normalisation",
        "PhantomConfig",
        "Stack",
        "read_stack",
        "sample_stack",
        "sample_truth",
        "stack_from_array",
    ),
    "render": ("EmgaussModel", "available_backends", "choose_backend", "splat"),
    "priors": ("get_prior", "prior_names"),
    "fit": ("FitConfig", "FitUpdate", "fit", "preset", "preset_names", "run_fit"),
    "tiles": ("RunOptions", "TileSize", "TiledModel", "fit_tiles", "load", "run_fit_tiles"),
    "volume": ("LazyVolume", "export", "isotropic_depths"),
    "evaluate": ("evaluate", "score"),
}
_MODULE_OF = {name: module for module, names in _ORIGINS.items() for name in names}


class _Package(ModuleType):
    """This package: ``fit`` and ``evaluate`` stay the public functions although packages of those names exist.

    Importing ``napari_emgauss.fit`` makes Python bind the attribute ``fit`` here to that package, which would shadow
    the function as soon as anything had imported it. That one binding is declined; ``from napari_emgauss.fit import
    ...`` goes through ``sys.modules`` and works as ever.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name in _MODULE_OF and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _MODULE_OF:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("napari-emgauss")
    except PackageNotFoundError:  # run from a source folder that was never installed
        return "0+unknown"
