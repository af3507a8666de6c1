"""One axis of a volume cut into overlapping spans whose weights sum to 1 everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FADE_SHARE = 0.75
"""Share of the halo over which neighbours fade; the outermost part of a tile, which saw no neighbour, is not shown."""


@dataclass(frozen=True)
class Span:
    """Part of one axis.

    Parameters
    ----------
    start, stop : int
        What a tile is fitted to: pixels ``start ... stop - 1``, or slices.
    fade_in, fade_out : tuple of float or None
        Where its weight rises from 0 to 1 and falls back, in pixels (edges of pixel ``i`` are ``i`` and ``i + 1``) or
        nm; None at the ends of the axis. The falling part of one span is the rising part of the next.
    """

    start: int
    stop: int
    fade_in: tuple[float, float] | None
    fade_out: tuple[float, float] | None

    def __len__(self) -> int:
        return self.stop - self.start

    def weight(self, position: ArrayLike) -> NDArray[np.float32]:
        """Share of this span at each position, in [0, 1]; the shares of all spans of an axis sum to 1."""
        at = np.asarray(position, dtype=np.float64)
        weight = np.ones(at.shape)
        if self.fade_in is not None:
            weight *= _smooth_step(at, *self.fade_in)
        if self.fade_out is not None:
            weight *= 1.0 - _smooth_step(at, *self.fade_out)
        return weight.astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "start": self.start,
            "stop": self.stop,
            "fade_in": None if self.fade_in is None else list(self.fade_in),
            "fade_out": None if self.fade_out is None else list(self.fade_out),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Span:
        """From :meth:`to_dict`."""

        def fade(pair: list[float] | None) -> tuple[float, float] | None:
            if pair is None:
                return None
            begin, end = pair
            return float(begin), float(end)

        return cls(int(values["start"]), int(values["stop"]), fade(values["fade_in"]), fade(values["fade_out"]))


def _smooth_step(at: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    if end <= start:  # neighbours share one slice only: one hands over to the other there
        return np.asarray(at >= start, dtype=np.float64)
    x = np.clip((at - start) / (end - start), 0.0, 1.0)
    return np.asarray(x * x * (3.0 - 2.0 * x))


def cut_pixels(length: int, largest: int, halo: int) -> tuple[Span, ...]:
    """Cut ``length`` pixels into equal parts of at most ``largest``, each reaching ``halo`` pixels over its borders.

    Parts are even in size rather than full with a sliver left over; where the length does not allow it, they differ
    by one pixel.
    """
    parts = max(1, -(-length // largest))
    borders = [round(k * length / parts) for k in range(parts + 1)]
    if parts > 1 and min(np.diff(borders)) < 2 * halo:
        raise ValueError(f"Parts of {min(np.diff(borders))} pixels are too small for a halo of {halo} pixels.")
    reach = FADE_SHARE * halo

    def fade(border: int) -> tuple[float, float] | None:
        return None if border in (0, length) else (border - reach, border + reach)

    return tuple(
        Span(max(0, low - halo), min(length, high + halo), fade(low), fade(high)) for low, high in pairwise(borders)
    )


def cut_slices(z_nm: Sequence[float] | NDArray[np.float64], largest: int, overlap: int) -> tuple[Span, ...]:
    """Cut slices into windows of at most ``largest``, neighbours sharing ``overlap`` slices and fading over them.

    Parameters
    ----------
    z_nm : sequence of float
        ``(K,)`` depths of the slices.
    largest : int
        Slices in a window, at most.
    overlap : int
        Slices shared by neighbours, at least 1. With 1 there is no depth to fade over: one window hands over to the
        next at the shared slice, which both were fitted to.
    """
    count = len(z_nm)
    # Windows come out as small as half of the largest; two fades of one window must not meet even then.
    if overlap < 1 or largest < smallest_window(overlap):
        raise ValueError(f"Windows of {largest} slices are too small to overlap by {overlap}.")
    step = largest - overlap
    parts = 1 if count <= largest else -(-(count - overlap) // step)
    starts = [round(k * (count - overlap) / parts) for k in range(parts + 1)]

    def fade(start: int) -> tuple[float, float] | None:
        return None if start in (starts[0], starts[-1]) else (float(z_nm[start]), float(z_nm[start + overlap - 1]))

    return tuple(Span(low, high + overlap, fade(low), fade(high)) for low, high in pairwise(starts))


def smallest_window(overlap: int) -> int:
    """Fewest slices that the largest window of :func:`cut_slices` may have."""
    return max(overlap + 1, 3 * overlap - 2)
