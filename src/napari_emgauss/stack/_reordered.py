"""An array of a file with its axes in another order: what a stack takes for rows and columns comes last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def rows_and_columns_last(axes: str) -> tuple[int, ...]:
    """Order of axes in which ``Y`` and ``X`` come last and the others stay as they are.

    Axes that lack one of the two, or name one twice, keep their order: there is nothing to go by.
    """
    if axes.count("Y") != 1 or axes.count("X") != 1:
        return tuple(range(len(axes)))
    others = [at for at, letter in enumerate(axes) if letter not in "YX"]
    return (*others, axes.index("Y"), axes.index("X"))


class ReorderedArray:
    """An array whose axes are asked for in another order than the file's.

    Parameters
    ----------
    array : array-like
        With ``shape``, ``dtype`` and perhaps ``chunks``; indexed by integers and ranges.
    order : tuple of int
        Which axis of the array is each of ours.
    """

    def __init__(self, array: Any, order: tuple[int, ...]) -> None:
        self._array, self._order = array, order
        self.shape = tuple(int(array.shape[axis]) for axis in order)
        self.dtype = np.dtype(array.dtype)
        chunks = getattr(array, "chunks", None)
        self.chunks = tuple(int(chunks[axis]) for axis in order) if chunks else None

    @property
    def file(self) -> Any:
        """The file behind it, where there is one to close."""
        return self._array.file

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        inner: list[Any] = [slice(None)] * len(self._order)
        for axis, part in zip(self._order, key, strict=True):
            inner[axis] = part
        values = np.asarray(self._array[tuple(inner)])
        kept = [axis for axis, part in enumerate(inner) if isinstance(part, slice)]
        return values.transpose([kept.index(axis) for axis in self._order if axis in kept])
