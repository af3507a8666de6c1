"""Who wins a pixel at a depth: numba kernel, free of the GIL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ._objects import GapObjects

_DEEP = -1.0
"""Distance that is told of pixels where nobody else comes near."""


def nearest_objects(
    objects: GapObjects,
    position: float,
    motions: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """The object of the least distance at every pixel, and by how much it wins.

    Parameters
    ----------
    objects : GapObjects
        Of the gap.
    position : float
        In the gap, 0 at the slice above and 1 at the one below; weights of the distances.
    motions : sequence of pairs of ndarray
        ``(2, H, W)`` float32 each: how far away, in rows and columns, what is seen at a pixel lies in the slice above
        and in the one below. Distances along several are averaged.

    Returns
    -------
    numbers : ndarray
        ``(H, W)`` int64, index into ``objects.ids``; -1 where no object is near.
    distances : ndarray
        ``(H, W)`` float32, of the winner.
    margins : ndarray
        ``(H, W)`` float32, pixels by which the second is further away.
    """
    from_above = np.stack([above for above, _ in motions])
    from_below = np.stack([below for _, below in motions])
    height, width = from_above.shape[2:]
    best = np.full((height, width), np.inf, np.float32)
    second = np.full((height, width), np.inf, np.float32)
    numbers = np.full((height, width), -1, np.int64)
    _settle(objects.first, objects.second, from_above, from_below, best, numbers)
    settled = numbers >= 0
    _compete(
        objects.first, objects.second, objects.windows, objects.starts, objects.above, objects.below,
        np.float32(position), from_above, from_below, settled, best, second, numbers,
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        margins = np.where(settled, np.float32(np.inf), np.where(numbers >= 0, second - best, np.float32(0)))
    return numbers, best, margins


@numba.njit(nogil=True, cache=True, inline="always")
def _at(labels: Any, y: Any, x: Any) -> Any:
    """The label of the pixel at a place, or of the nearest one."""
    row = min(max(round(y), 0), labels.shape[0] - 1)
    column = min(max(round(x), 0), labels.shape[1] - 1)
    return labels[row, column]


@numba.njit(nogil=True, cache=True)
def _settle(first: Any, second: Any, from_above: Any, from_below: Any, best: Any, numbers: Any) -> None:
    """Pixels that lie within one object whichever way one looks: its distances are negative, all others positive."""
    height, width = best.shape
    for y in range(height):
        for x in range(width):
            own = -1
            for m in range(len(from_above)):
                for labels, way in ((first, from_above[m]), (second, from_below[m])):
                    found = _at(labels, y + way[0, y, x], x + way[1, y, x])
                    if own == -1:
                        own = found
                    if found != own or found < 0:
                        own = -2
                        break
                if own == -2:
                    break
            if own >= 0:
                numbers[y, x] = own
                best[y, x] = np.float32(_DEEP)


@numba.njit(nogil=True, cache=True, inline="always")
def _sample(values: Any, start: Any, rows: Any, columns: Any, y: Any, x: Any) -> Any:
    """Linear between pixels; beyond the window its edge, and the way back to it on top."""
    inside_y: Any = min(max(y, np.float32(0)), np.float32(rows - 1))
    inside_x: Any = min(max(x, np.float32(0)), np.float32(columns - 1))
    row, column = min(int(inside_y), max(rows - 2, 0)), min(int(inside_x), max(columns - 2, 0))
    down, right = min(row + 1, rows - 1), min(column + 1, columns - 1)
    fy, fx = inside_y - row, inside_x - column
    upper = values[start + row * columns + column] * (1 - fx) + values[start + row * columns + right] * fx
    lower = values[start + down * columns + column] * (1 - fx) + values[start + down * columns + right] * fx
    away = np.sqrt((y - inside_y) ** 2 + (x - inside_x) ** 2)
    return upper * (1 - fy) + lower * fy + away


@numba.njit(nogil=True, cache=True)
def _compete(
    first: Any, second_slice: Any, windows: Any, starts: Any, above: Any, below: Any,
    position: Any, from_above: Any, from_below: Any, settled: Any, best: Any, second: Any, numbers: Any,
) -> None:  # fmt: skip
    for n in range(len(starts)):
        top, left, rows, columns = windows[n]
        for y in range(top, top + rows):
            for x in range(left, left + columns):
                if settled[y, x]:
                    continue
                distance, weight = np.float32(0), np.float32(0)
                for m in range(len(from_above)):
                    up, down = from_above[m], from_below[m]
                    # A slice that says nothing about a place leaves it to the other one.
                    if _at(first, y + up[0, y, x], x + up[1, y, x]) >= 0:
                        here = _sample(above, starts[n], rows, columns, y - top + up[0, y, x], x - left + up[1, y, x])
                        distance += (1 - position) * here
                        weight += 1 - position
                    if _at(second_slice, y + down[0, y, x], x + down[1, y, x]) >= 0:
                        there = _sample(
                            below, starts[n], rows, columns, y - top + down[0, y, x], x - left + down[1, y, x]
                        )
                        distance += position * there
                        weight += position
                if weight <= 0:
                    continue
                distance /= weight
                if distance < best[y, x]:
                    second[y, x] = best[y, x]
                    best[y, x] = distance
                    numbers[y, x] = n
                elif distance < second[y, x]:
                    second[y, x] = distance
