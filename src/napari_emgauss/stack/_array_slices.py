"""Slices of an array in a file: memory map, HDF5 or Zarr, read block by block where the file is stored in blocks."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackFileError

from ._axes import choose_axes
from ._reordered import ReorderedArray, rows_and_columns_last
from ._slices import LazySlices
from ._source import Selection
from ._stack import MAX_CHANNELS

# Of a block of slices that comes with the one asked for so much is kept.
_BLOCK_BYTES = 256 << 20
# Slices read together where their pixels lie between each other in the file.
_INTERLEAVED_DEPTH = 64


class ArraySlices(LazySlices):
    """Slices of an n-dimensional array in a file, whose axes may come in any order.

    Files are stored in blocks of several slices; the block of the last slice read is kept, or reading slice after slice
    would decompress each block as often as it has slices.

    Parameters
    ----------
    opener : callable
        Opens the array: called once here, and again in another process.
    arguments : tuple
        For ``opener``.
    selection : Selection
        Which channel and time, where there are several.
    axes : str
        One letter an axis, see :func:`choose_axes`.
    name : str
        Of the file, for messages.
    """

    def __init__(
        self, opener: Callable[..., Any], arguments: tuple[Any, ...], selection: Selection, axes: str, name: str
    ) -> None:
        self._arguments = (opener, arguments, selection, axes, name)
        self._name = name
        array: Any = opener(*arguments)
        order = rows_and_columns_last(axes)
        in_order = order == tuple(range(len(axes)))
        # Arrays in memory maps are turned by NumPy itself, which keeps their strides to be looked at.
        turned = array.transpose(order) if isinstance(array, np.ndarray) else ReorderedArray(array, order)
        self._array: Any = array if in_order else turned
        axes = "".join(axes[axis] for axis in order)
        shape = tuple(int(n) for n in self._array.shape)
        choice = choose_axes(axes, shape, selection.channel, selection.time)
        self.note = choice.note
        self.channels = choice.channels
        self._places = np.unravel_index(choice.pages, shape[:-2]) if len(shape) > 2 else ()
        super().__init__((len(choice.pages), choice.height, choice.width), self._array.dtype)
        chunks = getattr(self._array, "chunks", None)
        # Only along the axis that holds the slices is a block of use.
        moving = [axis for axis, index in enumerate(self._places) if len(index) > 1 and index[0] != index[1]]
        depth = int(chunks[moving[0]]) if chunks and moving else 1
        if moving and _lie_between_each_other(self._array, moving[0]):
            depth = _INTERLEAVED_DEPTH
        self._depth_axis = moving[0] if moving else 0
        self._chunk_depth = depth
        self._kept: tuple[Any, NDArray[Any]] | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return ArraySlices, self._arguments

    def close(self) -> None:
        """Close the file, where there is one to close."""
        array = getattr(self, "_array", None)
        with suppress(ValueError, AttributeError):  # closed already, or not of a kind that is closed
            array.file.close()  # type: ignore[union-attr]

    def __del__(self) -> None:
        self.close()

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        place = tuple(int(axis[index]) for axis in self._places)
        # Not every kind of array knows negative steps: forwards from the file, then as asked.
        forward = [_forward(part, size) for part, size in zip((rows, columns), self._shape[1:], strict=True)]
        window = tuple(part for part, _ in forward)
        if any(part.start == part.stop for part in window):  # not every library knows how to read nothing
            return np.empty([part.stop - part.start for part in window], self._dtype)
        try:
            plane = self._from_block(place, window)
        except Exception as error:  # storage and codecs raise errors of many kinds
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise StackFileError(f"Slice {index} of {self._name} cannot be read: {reason}") from error
        plane = plane[:: forward[0][1], :: forward[1][1]]
        return np.asarray(plane, dtype=self._dtype)

    def _from_block(self, place: tuple[int, ...], window: tuple[slice, ...]) -> NDArray[Any]:
        axis, depth = self._depth_axis, self._chunk_depth
        # As many slices of the file's block as may be kept: of the window that is asked for, not of whole slices.
        window_bytes = math.prod(len(range(part.start, part.stop, part.step)) for part in window) * self._dtype.itemsize
        count = min(depth, max(1, _BLOCK_BYTES // max(1, window_bytes)))
        if count == 1:
            return np.asarray(self._array[*place, *window])
        block_start = place[axis] // depth * depth
        first = block_start + (place[axis] - block_start) // count * count
        key = (*place[:axis], first, *place[axis + 1 :], *((part.start, part.stop, part.step) for part in window))
        with self._lock:
            if self._kept is None or self._kept[0] != key:
                self._kept = None  # two blocks at once would be twice the memory
                block = slice(first, min(first + count, block_start + depth, self._array.shape[axis]))
                values = np.asarray(self._array[(*place[:axis], block, *place[axis + 1 :], *window)])
                self._kept = (key, values)
            return np.array(self._kept[1][place[axis] - first])


def _forward(part: slice, size: int) -> tuple[slice, int]:
    positions = range(*part.indices(size))
    if not positions:
        return slice(0, 0, 1), 1
    low, high = min(positions), max(positions)
    return slice(low, high + 1, abs(positions.step)), 1 if positions.step > 0 else -1


def _lie_between_each_other(array: Any, depth_axis: int) -> bool:
    """Whether the next slice of an array starts before this one ends, so that each would read the whole file."""
    if not isinstance(array, np.ndarray) or 0 in array.shape:
        return False
    steps = [abs(step) for step, size in zip(array.strides[-2:], array.shape[-2:], strict=True) if size > 1]
    return bool(steps) and abs(array.strides[depth_axis]) < max(steps)


def guess_axes(shape: tuple[int, ...]) -> str:
    """Axis letters for an array that has none: the last three are slices, rows, columns; channels, then time before.

    Axes of one element at the end say nothing and are passed over. An array that ends in an axis of 3 or 4 is taken for
    an RGB image, one that ends in 2 for two channels; no image is that narrow.
    """
    kept = len(shape)
    while kept > 3 and shape[kept - 1] == 1:
        kept -= 1
    shape, trailing = shape[:kept], "S" * (len(shape) - kept)
    if len(shape) == 4 and 2 <= shape[-1] <= 4:
        return ("ZYXC" if shape[-1] == 2 else "ZYXS") + trailing
    if len(shape) == 4 and shape[0] > 1 and (shape[1] == 1 or (shape[0] > MAX_CHANNELS >= shape[1] > 1)):
        return "ZCYX" + trailing  # as ImageJ writes hyperstacks
    known = "TCZYX"
    return (known[-len(shape) :] if len(shape) <= 5 else "Q" * (len(shape) - 5) + known) + trailing
