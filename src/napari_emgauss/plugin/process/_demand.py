"""Who wants the cores now: somebody who scrubs through depths, a fit that runs. Knows neither Qt nor napari."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._process import ChildProcess

MOVING_LASTS_S = 0.6

_moved_at = float("-inf")
_fits: weakref.WeakSet[ChildProcess] = weakref.WeakSet()


def note_movement() -> None:
    """Somebody scrubs: the window wants a core of its own for a moment."""
    global _moved_at
    _moved_at = time.monotonic()


def moved_lately() -> bool:
    """Whether somebody scrubs now."""
    return time.monotonic() - _moved_at < MOVING_LASTS_S


def note_fit(child: ChildProcess) -> None:
    """This child is a fit."""
    _fits.add(child)


def fit_runs() -> bool:
    """Whether a fit of this napari works now: what else wants the cores is to be sparing."""
    return any(one.alive and not one.paused for one in list(_fits))
