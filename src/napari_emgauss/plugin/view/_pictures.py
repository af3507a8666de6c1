"""What one drawing can show of another: planes between known ones, other samplings, other windows."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_emgauss.volume import Drawing

_SMALL = 1 << 21
"""Values that are interpolated within a few milliseconds."""


def between(values: NDArray[Any], known: NDArray[np.intp]) -> NDArray[Any]:
    """All planes, the unknown ones on a straight line between the nearest known ones; in large views, the nearest."""
    every = np.arange(len(values))
    if values.size > _SMALL:
        nearest = np.rint(np.interp(every, known, np.arange(len(known)))).astype(np.intp)
        return np.asarray(values[known[nearest]])
    place = np.interp(every, known, np.arange(len(known)))
    below = np.floor(place).astype(np.intp)
    above = np.minimum(below + 1, len(known) - 1)
    weight = (place - below).astype(np.float32)[:, None, None]
    planes = values[known].astype(np.float32)
    blend = (1 - weight) * planes[below] + weight * planes[above]
    return np.rint(blend).astype(values.dtype) if values.dtype.kind in "iu" else blend.astype(values.dtype)


def resampled(source: Drawing, wanted: Drawing, planes: NDArray[Any] | None = None) -> NDArray[Any]:
    """The planes of ``wanted`` from the nearest pixels of ``source``, or of other ``planes`` of its shape."""
    depths = np.abs(np.subtract.outer(wanted.depths_nm, source.depths_nm)).argmin(axis=1)
    rows, columns = (_indices(source, wanted, axis) for axis in (0, 1))
    return np.asarray((source.values if planes is None else planes)[np.ix_(depths, rows, columns)])


def _indices(source: Drawing, wanted: Drawing, axis: int) -> NDArray[np.intp]:
    first, cell = _origin(source, axis)
    found = np.floor((_centres(wanted, axis) - first) / cell).astype(np.intp)
    return np.clip(found, 0, source.values.shape[1 + axis] - 1)


def _origin(drawing: Drawing, axis: int) -> tuple[float, float]:
    """Start of the window and size of its cells along an axis of the plane, in pixels."""
    start, stop = drawing.box.region[2 * axis : 2 * axis + 2]
    cell = (stop - start) / drawing.box.shape[axis]
    return start + cell * drawing.box.window[axis].start, cell


def _centres(drawing: Drawing, axis: int) -> NDArray[np.float64]:
    first, cell = _origin(drawing, axis)
    return np.asarray(first + cell * (np.arange(drawing.values.shape[1 + axis]) + 0.5))


def covers(source: Drawing, wanted: Drawing) -> bool:
    """Whether every cell of ``wanted`` lies in ``source``, give or take one cell of it."""
    for axis in (0, 1):
        first, cell = _origin(source, axis)
        centres, slack = _centres(wanted, axis), max(cell, _origin(wanted, axis)[1])
        last = first + cell * source.values.shape[1 + axis]
        if centres[0] < first - slack or centres[-1] > last + slack:
            return False
    if len(wanted.depths_nm) == 1:
        return True
    return bool(source.depths_nm[0] <= wanted.depths_nm[0] and source.depths_nm[-1] >= wanted.depths_nm[-1]) or (
        len(source.depths_nm) >= len(wanted.depths_nm)
    )


def nearest_depth(source: Drawing, wanted: Drawing) -> float:
    """Of the depths of ``source``, the nearest to the first one of ``wanted``; nm."""
    return float(source.depths_nm[np.abs(source.depths_nm - wanted.depths_nm[0]).argmin()])


def window_of(drawing: Drawing) -> tuple[int, int, int, int]:
    """First and last row and column of the wanted part of a box."""
    rows, columns = drawing.box.window
    return rows.start, rows.stop, columns.start, columns.stop


def same_place(one: Drawing, other: Drawing) -> bool:
    """Whether two drawings differ at most in the state of the model."""
    return (
        one.box.region == other.box.region
        and one.box.shape == other.box.shape
        and window_of(one) == window_of(other)
        and np.array_equal(one.depths_nm, other.depths_nm)
    )


def slot_of(drawing: Drawing) -> Hashable:
    """Views of one kind: the same level, and the same axes on screen. A newer one replaces an older."""
    (_, y_cell), (_, x_cell) = _origin(drawing, 0), _origin(drawing, 1)
    return round(y_cell, 6), round(x_cell, 6), *(n == 1 for n in drawing.values.shape)


def is_line(drawing: Drawing) -> bool:
    """Whether there is only one row of pixels to see, or a single one.

    When the axes on screen change, napari first cuts the new view with the edges of the old one; what comes of it is
    as wide as the old view was deep: one pixel.
    """
    return sum(length > 1 for length in drawing.values.shape) < 2
