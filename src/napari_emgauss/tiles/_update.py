"""What a running fit of tiles tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._model import TiledModel
    from ._task import TileProgress


@dataclass(frozen=True)
class TilesUpdate:
    """One message of a fit of tiles.

    Parameters
    ----------
    tiles_done, tiles_total : int
        Finished tiles, those of an earlier run on the same folder among them, and all of them.
    running : tuple of TileProgress
        Tiles being fitted now, by name.
    failed : dict
        Reason by name of each tile that could not be fitted.
    elapsed_s, eta_s : float
        Seconds since the start, and estimated seconds to the end (None while unknown).
    text : str
        A line for people, where there is something to say.
    dashboard : str or None
        Address of dask's page about its workers.
    model : TiledModel
        The model to look at now, missing tiles and all; its ``version`` grows as tiles are finished.
    finished : bool
        True in the last message only.
    """

    tiles_done: int
    tiles_total: int
    running: tuple[TileProgress, ...]
    failed: dict[str, str]
    elapsed_s: float
    eta_s: float | None
    text: str
    dashboard: str | None
    model: TiledModel
    finished: bool = False

    @property
    def fraction(self) -> float:
        """Share of all work that is done, in [0, 1]."""
        return min(1.0, (self.tiles_done + sum(tile.fraction for tile in self.running)) / max(1, self.tiles_total))
