"""How long a run has taken, and what is left of it."""

from __future__ import annotations

import time


class Clock:
    """Time since the start, and what is left at the pace so far."""

    def __init__(self, tiles: int) -> None:
        self._started = time.monotonic()
        self._tiles, self._done = tiles, 0

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def tile_done(self) -> None:
        self._done += 1

    def eta_s(self, under_way: float) -> float | None:
        done = self._done + under_way
        return None if done < 0.05 else self.elapsed_s / done * max(0.0, self._tiles - done)
