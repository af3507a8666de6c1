"""The objects of two labelled slices, each as its signed distance in a window of its own.

A slice of a dense segmentation holds thousands of objects, and the distance to one of them matters near that object
alone. So distances are kept in windows: all the memory of a gap is some times the area that the objects cover.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FURTHEST_PIXELS = 96.0
"""Distances are not told further than this, so that a part of a slice gives the same ones as the whole slice."""

MARGIN_PIXELS = 12
"""How far beyond both of its outlines an object is still considered: objects move further than they grow."""


@dataclass(frozen=True)
class GapObjects:
    """Signed distances (pixels, negative inside) of every object of a gap, in the slice above and in the one below.

    Parameters
    ----------
    ids : ndarray
        ``(n,)`` of the objects, in the labels' own type.
    windows : ndarray
        ``(n, 4)`` int64, first row, first column, rows, columns of each object's window.
    first, second : ndarray
        ``(H, W)`` int32, the object of each pixel in the slice above and in the one below, as an index into ``ids``; -1
        where nothing is known.
    starts : ndarray
        ``(n,)`` int64, where an object's values begin in ``above`` and ``below``.
    above, below : ndarray
        float32, the windows one after the other, row by row.
    """

    ids: NDArray[Any]
    windows: NDArray[np.int64]
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    starts: NDArray[np.int64]
    above: NDArray[np.float32]
    below: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Memory of the distances."""
        return self.above.nbytes + self.below.nbytes + self.first.nbytes + self.second.nbytes


def gap_objects(
    above: NDArray[Any],
    below: NDArray[Any],
    *,
    reach_pixels: float = 0.0,
    radii: Mapping[int, float] | None = None,
    unknown_above: NDArray[np.bool_] | None = None,
    unknown_below: NDArray[np.bool_] | None = None,
) -> GapObjects:
    """Distances of the objects of two labelled slices.

    An object that one of the slices does not hold ends in the gap: there its distance is everywhere as large as the
    object is deep (the radius of its largest inscribed circle) in the slice that holds it, so that it shrinks and is
    gone half-way.

    Parameters
    ----------
    above, below : ndarray
        ``(H, W)`` of any integer type.
    reach_pixels : float
        How far objects move within the gap at most; windows are larger by that.
    radii : mapping, optional
        Radius (pixels) of the largest circle in each object that only one of the slices holds, where the slices are
        parts of larger ones; by default that of the part.
    unknown_above, unknown_below : ndarray, optional
        ``(H, W)``, True where a slice says nothing; such pixels belong to no object.
    """
    ids, first, second = _numbered(above, below, unknown_above, unknown_below)
    boxes = _boxes(first, second, len(ids))
    margin = MARGIN_PIXELS + int(np.ceil(reach_pixels))
    height, width = above.shape
    windows = np.empty((len(ids), 4), np.int64)
    parts: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
    for number, (y0, y1, x0, x1) in enumerate(boxes):
        top, left = max(0, y0 - margin), max(0, x0 - margin)
        bottom, right = min(height, y1 + margin), min(width, x1 + margin)
        windows[number] = top, left, bottom - top, right - left
        distances: list[NDArray[np.float32] | None] = []
        for labels in (first, second):
            inside = labels[top:bottom, left:right] == number
            if not inside.any():
                distances.append(None)
                continue
            distances.append(signed_distance(inside))
        for part, own, other in ((parts[0], distances[0], distances[1]), (parts[1], distances[1], distances[0])):
            if own is None:
                radius = None if radii is None else radii.get(int(ids[number]))
                own = np.full_like(other, -float(np.min(other)) if radius is None else radius)  # type: ignore[arg-type]
            part.append(own.ravel())
    sizes = np.array([part.size for part in parts[0]], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64) if len(sizes) else np.zeros(0, np.int64)
    together = [np.concatenate(part) if part else np.zeros(0, np.float32) for part in parts]
    return GapObjects(ids, windows, first.astype(np.int32), second.astype(np.int32), starts, together[0], together[1])


def signed_distance(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance to the outline of a mask, pixels, negative inside; not beyond :data:`FURTHEST_PIXELS` either way."""
    from scipy.ndimage import distance_transform_edt

    outer = distance_transform_edt(~inside)
    inner = distance_transform_edt(inside) if not inside.all() else np.full(inside.shape, np.inf)
    # Half a pixel each: the outline runs between pixels.
    distance = np.where(inside, 0.5 - inner, outer - 0.5)
    return np.clip(distance, -FURTHEST_PIXELS, FURTHEST_PIXELS).astype(np.float32)


def object_radii(
    labels: NDArray[Any], ids: Collection[int], window: tuple[slice, slice] | None = None
) -> dict[int, float]:
    """Radius (pixels) of the largest circle within each of some objects of a slice, with its centre in a window."""
    from scipy.ndimage import find_objects

    wanted, numbers = np.unique(np.asarray(sorted(ids), dtype=labels.dtype)), np.zeros(labels.shape, np.int64)
    if len(wanted) == 0:
        return {}
    places = np.clip(np.searchsorted(wanted, labels), 0, len(wanted) - 1)
    numbers = np.where(wanted[places] == labels, places + 1, 0)
    radii: dict[int, float] = {}
    own = np.zeros(labels.shape, bool)
    own[window or (slice(None), slice(None))] = True
    for number, box in enumerate(find_objects(numbers), start=1):
        if box is not None:
            padded = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box)
            inside = numbers[padded] == number
            inner = -signed_distance(inside)[own[padded]]
            if inner.size and inner.max() > 0:
                radii[int(wanted[number - 1])] = float(inner.max())
    return radii


def _numbered(
    above: NDArray[Any],
    below: NDArray[Any],
    unknown_above: NDArray[np.bool_] | None,
    unknown_below: NDArray[np.bool_] | None,
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """The ids that occur, and both slices with each id replaced by its number; -1 where nothing is known."""
    ids, numbers = np.unique(np.stack([above, below]), return_inverse=True)
    first, second = numbers.reshape(2, *above.shape).astype(np.int64)
    for labels, unknown in ((first, unknown_above), (second, unknown_below)):
        if unknown is not None:
            labels[unknown] = -1
    present = np.zeros(len(ids), dtype=bool)
    for labels in (first, second):
        present[np.unique(labels[labels >= 0])] = True
    again = np.where(present, np.cumsum(present) - 1, -1)
    first, second = (np.where(labels >= 0, again[labels], -1) for labels in (first, second))
    return ids[present], first, second


def _boxes(first: NDArray[np.int64], second: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """``(count, 4)`` rows from, to, columns from, to that hold an object in both slices."""
    from scipy.ndimage import find_objects

    height, width = first.shape
    boxes = np.tile(np.array([height, 0, width, 0], dtype=np.int64), (count, 1))
    for labels in (first, second):
        for number, found in enumerate(find_objects(labels + 1, max_label=count)):
            if found is not None:
                rows, columns = found
                box = boxes[number]
                box[:] = (
                    min(box[0], rows.start),
                    max(box[1], rows.stop),
                    min(box[2], columns.start),
                    max(box[3], columns.stop),
                )
    return boxes
