"""A pyramid that is built while slices come in: which axes each level halves, and the means that lead to it.

The same for every format with levels; a format brings arrays that rows of blocks can be assigned to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Slices wait until a row of chunks is full; those of very wide slices are made less deep, so that this is enough.
_WAITING_BYTES = 256 << 20
# Rows of a slice that are averaged at once for the next level: float64 of a whole wide slice is eight times the slice.
_MEAN_PIXELS = 4 << 20
# The pyramid ends when a level fits on a screen.
_COARSEST = 256
# A z step is seldom the pixel size to the last digit: the range of depths is cut into whole steps.
_AS_LARGE = 1.1


@dataclass(frozen=True)
class Level:
    """One level: its shape, by how much it is coarser than the finest, and by how much the next is than this.

    Parameters
    ----------
    shape : tuple of int
        Slices, rows, columns.
    factors : tuple of int
        Voxels of the finest level in one of this, along z, y and x.
    halved : tuple of int or None
        1 or 2 for each axis; None for the last level.
    """

    shape: tuple[int, int, int]
    factors: tuple[int, int, int]
    halved: tuple[int, int, int] | None

    def voxel_size(self, finest: Sequence[float]) -> list[float]:
        """Of a voxel of this level, by that of the finest."""
        return [size * factor for size, factor in zip(finest, self.factors, strict=True)]


def plan_levels(shape: tuple[int, int, int], voxel_size: Sequence[float]) -> list[Level]:
    """Levels of a pyramid, the finest first.

    Finer axes are halved until all are alike, then all together: z waits as long as its voxel is larger than y or x, so
    that no level is more anisotropic than the finest.
    """
    levels: list[Level] = []
    factors = (1, 1, 1)
    while True:
        z, y, x = (size * factor for size, factor in zip(voxel_size, factors, strict=True))
        finest = min(z, y, x)
        wanted = (z <= _AS_LARGE * min(y, x), y < 2 * finest, x < 2 * finest)
        depth, height, width = (2 if halve and n > 1 else 1 for halve, n in zip(wanted, shape, strict=True))
        halved = (depth, height, width)
        more = max(shape) > _COARSEST and 2 in halved
        levels.append(Level(shape, factors, halved if more else None))
        if not more:
            return levels
        shape = (-(-shape[0] // depth), -(-shape[1] // height), -(-shape[2] // width))
        factors = (factors[0] * depth, factors[1] * height, factors[2] * width)


def levels_like(shapes: Sequence[tuple[int, int, int]]) -> list[Level] | None:
    """Levels of given shapes, the finest first; None where one is not the half of the one before along some axes."""
    levels: list[Level] = []
    factors = (1, 1, 1)
    for finer, coarser in zip(shapes, [*shapes[1:], None], strict=True):
        if coarser is None:
            levels.append(Level(finer, factors, None))
            break
        halves = [1 if n == m else 2 for n, m in zip(finer, coarser, strict=True)]
        if 2 not in halves or any(-(-n // half) != m for n, half, m in zip(finer, halves, coarser, strict=True)):
            return None
        halved = (halves[0], halves[1], halves[2])
        levels.append(Level(finer, factors, halved))
        factors = (factors[0] * halved[0], factors[1] * halved[1], factors[2] * halved[2])
    return levels


def connected(arrays: Sequence[Any], levels: Sequence[Level], *, labels: bool = False) -> LevelWriter:
    """The writer of the finest level, which hands means on to the coarser ones.

    Parameters
    ----------
    arrays : sequence
        One a level: ``(Z, Y, X)`` or ``(C, Z, Y, X)`` with ``shape``, ``chunks`` and ``dtype``, to which whole slices
        are assigned as ``array[start:stop]`` or ``array[channel, start:stop]``.
    levels : sequence of Level
    labels : bool
        The values are labels: what is handed on is the first of each cell, not the mean.
    """
    writers = [LevelWriter(array, level.halved, labels=labels) for array, level in zip(arrays, levels, strict=True)]
    for finer, coarser in pairwise(writers):
        finer.lead_to(coarser)
    return writers[0]


class _ChannelOfArray:
    """``(Z, Y, X)`` of one channel of an array ``(C, Z, Y, X)``, as far as a level needs it."""

    def __init__(self, array: Any, channel: int) -> None:
        self._array, self._channel = array, channel
        self.shape, self.chunks, self.dtype = array.shape[1:], array.chunks[1:], array.dtype

    def __setitem__(self, key: Any, values: NDArray[Any]) -> None:
        self._array[self._channel, key] = values


class LevelWriter:
    """One level of every channel, or of the only one.

    Parameters
    ----------
    array
        ``(Z, Y, X)``, or ``(C, Z, Y, X)``.
    halved : tuple of int or None
        See :class:`_Level`.
    labels : bool
        See :func:`connected`.
    """

    def __init__(self, array: Any, halved: tuple[int, ...] | None, *, labels: bool = False) -> None:
        arrays = [array] if array.ndim == 3 else [_ChannelOfArray(array, c) for c in range(array.shape[0])]
        self._levels = [_Level(one, halved, labels=labels) for one in arrays]

    def lead_to(self, coarser: LevelWriter) -> None:
        """Hand means on to a coarser level."""
        for mine, other in zip(self._levels, coarser._levels, strict=True):
            mine.coarser = other

    def push(self, plane: NDArray[Any]) -> None:
        """Take the next slice, ``(H, W)`` or ``(C, H, W)``."""
        for level, image in zip(self._levels, plane.reshape(len(self._levels), *plane.shape[-2:]), strict=True):
            level.push(image)

    def finish(self) -> None:
        """Write what is still waiting, here and below."""
        for level in self._levels:
            level.finish()


class _Level:
    """One level: collects slices until a row of chunks is full, and hands means of them to the next.

    Parameters
    ----------
    array
    halved : tuple of int or None
        By how much the next level is coarser along z, y and x; None for the last.
    labels : bool
        See :func:`connected`.
    """

    def __init__(self, array: Any, halved: tuple[int, ...] | None, *, labels: bool = False) -> None:
        self._array, self._halved, self._labels = array, halved, labels
        self._waiting = np.empty((array.chunks[0], *array.shape[1:]), array.dtype)
        self._waiting_count = 0
        self._pair: list[NDArray[Any]] = []
        self._written = 0
        self.coarser: _Level | None = None

    def push(self, plane: NDArray[Any]) -> None:
        """Take the next slice."""
        self._waiting[self._waiting_count] = plane
        self._waiting_count += 1
        if self._waiting_count == len(self._waiting):
            self._flush()
        if self.coarser is not None and self._halved is not None:
            self._pair.append(plane)
            if len(self._pair) == self._halved[0]:
                self._hand_on()

    def finish(self) -> None:
        """Write what is still waiting, here and below."""
        if self._waiting_count:
            self._flush()
        if self._pair:
            self._hand_on()
        if self.coarser is not None:
            self.coarser.finish()

    def _flush(self) -> None:
        count = self._waiting_count
        self._array[self._written : self._written + count] = self._waiting[:count]
        self._written += count
        self._waiting_count = 0

    def _hand_on(self) -> None:
        if self.coarser is None or self._halved is None:
            return
        if self._labels:
            self.coarser.push(self._pair[0][:: self._halved[1], :: self._halved[2]])
            self._pair.clear()
            return
        out = np.empty(self.coarser._array.shape[1:], self._array.dtype)
        height, width = self._array.shape[1:]
        factor = self._halved[1]
        rows = max(1, _MEAN_PIXELS // width) * factor
        for start in range(0, height, rows):
            part = [plane[start : start + rows] for plane in self._pair]
            mean = _halved_plane(np.mean(part, axis=0, dtype=np.float64), self._halved[1:])
            out[start // factor : start // factor + len(mean)] = np.rint(mean) if out.dtype.kind in "iu" else mean
        self._pair.clear()
        self.coarser.push(out)


def _halved_plane(mean: NDArray[np.float64], halved: tuple[int, ...]) -> NDArray[np.float64]:
    """Means of pairs of rows and columns, where they are halved."""
    for axis, factor in enumerate(halved):
        if factor == 2:
            odd = mean.shape[axis] % 2
            # Repeating the last row makes the mean over a last cell that is only half there.
            mean = np.pad(mean, [(0, odd if a == axis else 0) for a in (0, 1)], mode="edge")
            mean = (mean[::2] + mean[1::2]) / 2 if axis == 0 else (mean[:, ::2] + mean[:, 1::2]) / 2
    return mean


def chunks_of(
    shape: tuple[int, int, int], usual: tuple[int, int, int], dtype: np.dtype[Any], channels: int = 1
) -> tuple[int, int, int]:
    """Chunks of the usual size, less deep (by halves) where as many slices would take too much memory."""
    depth, height, width = (min(c, n) for c, n in zip(usual, shape, strict=True))
    while depth > 1 and depth * channels * shape[1] * shape[2] * dtype.itemsize > _WAITING_BYTES:
        depth = -(-depth // 2)
    return depth, height, width
