"""The reconstructed volume: isotropic depths, a lazy array over a model, files out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._channel_model import channel_models
    from ._depths import aligned_spacing, isotropic_depths
    from ._export import export
    from ._lazy import LazyVolume
    from ._plan import ExportPlan, export_formats, plan_export
    from ._protocol import VolumeModel
    from ._pyramid import pyramid
    from ._render_cache import RenderCache

_HOMES = {
    "ExportPlan": "_plan",
    "LazyVolume": "_lazy",
    "RenderCache": "_render_cache",
    "VolumeModel": "_protocol",
    "aligned_spacing": "_depths",
    "channel_models": "_channel_model",
    "export": "_export",
    "export_formats": "_plan",
    "isotropic_depths": "_depths",
    "plan_export": "_plan",
    "pyramid": "_pyramid",
}

__all__ = [
    "ExportPlan",
    "LazyVolume",
    "RenderCache",
    "VolumeModel",
    "aligned_spacing",
    "channel_models",
    "export",
    "export_formats",
    "isotropic_depths",
    "plan_export",
    "pyramid",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
