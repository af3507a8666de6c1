"""Volumes larger than memory and machines: tiles and depth windows, fitted apart, rendered as one model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._budget import advice_on_memory, parse_memory, plan_tiles
    from ._estimate import Estimate, estimate
    from ._model import TiledModel, load
    from ._plan import Tile, TilePlan, TileSize, cut
    from ._run import RunOptions, fit_tiles, run_fit_tiles
    from ._task import TileProgress
    from ._update import TilesUpdate

_HOMES = {
    "Estimate": "_estimate",
    "RunOptions": "_run",
    "Tile": "_plan",
    "TilePlan": "_plan",
    "TileProgress": "_task",
    "TileSize": "_plan",
    "TiledModel": "_model",
    "TilesUpdate": "_update",
    "advice_on_memory": "_budget",
    "cut": "_plan",
    "estimate": "_estimate",
    "fit_tiles": "_run",
    "load": "_model",
    "parse_memory": "_budget",
    "plan_tiles": "_budget",
    "run_fit_tiles": "_run",
}

__all__ = [
    "Estimate",
    "RunOptions",
    "Tile",
    "TilePlan",
    "TileProgress",
    "TileSize",
    "TiledModel",
    "TilesUpdate",
    "advice_on_memory",
    "cut",
    "estimate",
    "fit_tiles",
    "load",
    "parse_memory",
    "plan_tiles",
    "run_fit_tiles",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
