"""Canonical Gaussians, deformation field, their settings, and the saved form."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_emgauss.model._confidence import Confidence
    from napari_emgauss.model._config import ModelConfig
    from napari_emgauss.model._gaussians import GaussianCloud, GaussianModel, Splats

__all__ = ["Confidence", "GaussianCloud", "GaussianModel", "ModelConfig", "Splats"]

_HOMES = {
    "Confidence": "_confidence",
    "ModelConfig": "_config",
    "GaussianCloud": "_gaussians",
    "GaussianModel": "_gaussians",
    "Splats": "_gaussians",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
