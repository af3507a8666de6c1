"""The fit: stages, teacher, losses, presets, checkpoint. Public names are resolved on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_emgauss.fit._config import FitConfig
    from napari_emgauss.fit._fit import fit, run_fit
    from napari_emgauss.fit._presets import preset, preset_names
    from napari_emgauss.fit._update import FitUpdate

__all__ = ["FitConfig", "FitUpdate", "fit", "preset", "preset_names", "run_fit"]

_HOMES = {
    "FitConfig": "_config",
    "FitUpdate": "_update",
    "fit": "_fit",
    "preset": "_presets",
    "preset_names": "_presets",
    "run_fit": "_fit",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
