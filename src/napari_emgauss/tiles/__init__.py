"""Volumes larger than memory and machines: tiles and depth windows, fitted apart, rendered as one model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._model import TiledModel, load
    from ._plan import Tile, TilePlan, TileSize, cut
    from ._run import RunOptions, fit_tiles, run_fit_tiles
    from ._task import TileProgress
    from ._update import TilesUpdate

_HOMES = {
    "RunOptions": "_run",
    "Tile": "_plan",
    "TilePlan": "_plan",
    "TileProgress": "_task",
    "TileSize": "_plan",
    "TiledModel": "_model",
    "TilesUpdate": "_update",
    "cut": "_plan",
    "fit_tiles": "_run",
    "load": "_model",
    "run_fit_tiles": "_run",
}

__all__ = [
    "RunOptions",
    "Tile",
    "TilePlan",
    "TileProgress",
    "TileSize",
    "TiledModel",
    "TilesUpdate",
    "cut",
    "fit_tiles",
    "load",
    "run_fit_tiles",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
