"""Slices that are likely to be wanted next. Knows neither Qt nor napari."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_emgauss.volume import Drawing, RenderCache

STEPS = (1, 2, -1, 3, 4, -2, 5, 6, -3, 7, 8, -4)
"""Where they lie, in steps of the slider in the direction of the last move, the likeliest first."""

CACHE_SHARE = 0.25
"""They may take this much of the cache: what was looked at must stay."""


DRAWN_AFTER_S = 0.05
"""So long the window is busy with drawing the slice that it got."""


class LookAhead:
    """The slices around the one on screen: one of them when that is drawn, the others when the slider is at rest.

    Never while the window draws: where OpenGL is done in software that takes all cores of a small machine, and would
    take half as long again. Who moves the slider one step after the other, a few in a second, finds the slice there.

    Parameters
    ----------
    rest_s : float
        Without another slice for so long, the slider is at rest.
    """

    def __init__(self, rest_s: float) -> None:
        self._rest_s = rest_s
        self._place: int | None = None
        self._direction = 1
        self._drawing: Drawing | None = None
        self._depths: list[float] = []
        self._due = self._at_rest = 0.0

    def arrive(self, drawing: Drawing, grid_nm: NDArray[np.float64], cache: RenderCache) -> None:
        """Another slice is on screen, one of those at the depths ``grid_nm``."""
        self.forget()
        if drawing.values.nbytes * len(STEPS) > CACHE_SHARE * cache.max_bytes:
            return
        place = int(np.abs(grid_nm - drawing.depths_nm[0]).argmin())
        if self._place is not None and place != self._place:
            self._direction = 1 if place > self._place else -1
        self._place, self._drawing, self._due = place, drawing, time.monotonic() + DRAWN_AFTER_S
        self._at_rest = self._due + self._rest_s
        places = (place + self._direction * step for step in STEPS)
        self._depths = [float(grid_nm[k]) for k in places if 0 <= k < len(grid_nm)]

    def forget(self) -> None:
        """Nothing is likely any more."""
        self._depths = []

    @property
    def due(self) -> float | None:
        """When the next slice is to be rendered, on the clock of ``time.monotonic``; None while there is none."""
        return self._due if self._depths else None

    def take(self) -> Drawing | None:
        """The likeliest slice that is not rendered yet; None where there is none left."""
        while self._drawing is not None and self._depths:
            ahead: Any = self._drawing.at(self._depths.pop(0))
            if not ahead.known.all():
                self._due = max(self._due, self._at_rest)
                return ahead
        return None
