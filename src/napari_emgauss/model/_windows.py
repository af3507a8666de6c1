"""Depth windows: which part of a stack each cloud explains, and how neighbouring clouds are blended."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DepthWindow:
    """The slices ``first … last`` (inclusive) that one cloud explains; ``fade_in`` and ``fade_out`` in t.

    A cloud's weight rises from 0 to 1 over ``fade_in`` and falls over ``fade_out``; None at the ends of the stack. The
    falling part of one window is the rising part of the next, so weights always sum to 1.
    """

    first: int
    last: int
    fade_in: tuple[float, float] | None
    fade_out: tuple[float, float] | None

    def weight(self, t: float) -> float:
        """Share of this window in the image at ``t``, in [0, 1]: a smooth step over each fade."""
        weight = 1.0
        if self.fade_in is not None:
            weight *= _smooth_step(t, *self.fade_in)
        if self.fade_out is not None:
            weight *= 1.0 - _smooth_step(t, *self.fade_out)
        return weight


def _smooth_step(t: float, start: float, end: float) -> float:
    x = min(max((t - start) / (end - start), 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


def depth_windows(slice_t: NDArray[np.float64], window_slices: int | None) -> list[DepthWindow]:
    """Cut a stack into windows of about ``window_slices`` slices.

    Neighbours share a slice, and reach half a gap beyond it on both sides, over which one fades into the other.

    Parameters
    ----------
    slice_t : ndarray
        ``(K,)`` depths of the slices in [0, 1].
    window_slices : int or None
        Slices per window, at least 3; None for a single window.
    """
    count = len(slice_t)
    if window_slices is None or count <= window_slices + 1:
        return [DepthWindow(0, count - 1, None, None)]
    pieces = max(1, round((count - 1) / (window_slices - 1)))
    borders = np.unique(np.rint(np.linspace(0, count - 1, pieces + 1)).astype(int))
    middle = (slice_t[1:] + slice_t[:-1]) / 2
    windows = []
    for low, high in pairwise(borders):
        fade_in = None if low == 0 else (float(middle[low - 1]), float(middle[low]))
        fade_out = None if high == count - 1 else (float(middle[high - 1]), float(middle[high]))
        windows.append(DepthWindow(max(0, int(low) - 1), min(count - 1, int(high) + 1), fade_in, fade_out))
    return windows


def knots_of(slice_t: NDArray[np.float64], window: DepthWindow, knots_per_gap: int) -> NDArray[np.float64]:
    """Knots in t of a window: every slice, and ``knots_per_gap - 1`` evenly spread inside each gap."""
    inside = slice_t[window.first : window.last + 1]
    steps = np.arange(knots_per_gap) / knots_per_gap
    knots = (inside[:-1, None] + np.diff(inside)[:, None] * steps).ravel()
    return np.append(knots, inside[-1])
