"""Slices that are read only when they are looked at, and views over fewer slices or a part of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class LazySlices(ABC):
    """``(K, H, W)`` grey values of which one slice at a time is read.

    A subclass says its ``shape`` and ``dtype`` and reads one slice; indexing by integers and ranges follows from that.

    Parameters
    ----------
    shape : tuple of int
        Number of slices, rows, columns.
    dtype : numpy.dtype
        Type of the grey values, in native byte order.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: DTypeLike) -> None:
        self._shape = shape
        self._dtype = np.dtype(dtype).newbyteorder("=")

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    @property
    def ndim(self) -> int:
        return 3

    @property
    def reads_files(self) -> bool:
        """Whether the grey values lie in files: pickling then sends the way to them, not the values."""
        return True

    def __len__(self) -> int:
        return self._shape[0]

    @abstractmethod
    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Slice ``index`` (0 <= index < K), of it the given rows and columns."""

    def __getitem__(self, key: Any) -> NDArray[Any]:
        parts: list[Any] = list(key) if isinstance(key, tuple) else [key]
        ellipses = [at for at, part in enumerate(parts) if part is Ellipsis]
        if ellipses:
            parts[ellipses[0] : ellipses[0] + 1] = [slice(None)] * (4 - len(parts))
        if len(parts) > 3:
            raise IndexError(f"too many indices: {len(parts)} for 3 axes")
        which, rows, columns = parts + [slice(None)] * (3 - len(parts))
        # Only ranges are handed down to the file; a single row or column is picked afterwards.
        everything = slice(None)
        row_range, row_pick = (rows, everything) if isinstance(rows, slice) else (everything, rows)
        column_range, column_pick = (columns, everything) if isinstance(columns, slice) else (everything, columns)
        count = self._shape[0]
        if isinstance(which, (int, np.integer)):
            index = int(which) + (count if which < 0 else 0)
            if not 0 <= index < count:
                raise IndexError(f"slice {int(which)} of {count}")
            return self.read_slice(index, row_range, column_range)[row_pick, column_pick]
        chosen = np.arange(count)[which]
        if chosen.size == 0:
            return np.empty((0, *self._shape[1:]), self._dtype)[:, row_range, column_range][:, row_pick, column_pick]
        return np.stack([self.read_slice(int(k), row_range, column_range)[row_pick, column_pick] for k in chosen])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)


class SliceView(LazySlices):
    """Some slices of another source, and of each the same rectangle, still read only when looked at.

    Parameters
    ----------
    source : SliceSource
        What is looked at.
    indices : sequence of int
        Which slices, in this order.
    region : tuple of int, optional
        ``(y0, y1, x0, x1)`` in pixels, within the source; None for the whole slice.
    """

    def __init__(self, source: Any, indices: Sequence[int], region: tuple[int, int, int, int] | None = None) -> None:
        y0, y1, x0, x1 = (0, int(source.shape[1]), 0, int(source.shape[2])) if region is None else region
        super().__init__((len(indices), y1 - y0, x1 - x0), source.dtype)
        self._source, self._indices, self._origin = source, tuple(int(k) for k in indices), (y0, x0)

    @property
    def reads_files(self) -> bool:
        return bool(getattr(self._source, "reads_files", False))

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        _, height, width = self._shape
        window = []
        for part, origin, length in ((rows, self._origin[0], height), (columns, self._origin[1], width)):
            start, stop, step = part.indices(length)
            # A range that walks down to the first pixel has stop -1, which would mean "the last": ask forwards, flip.
            positions = range(start, stop, step)
            if not positions:
                window.append((slice(0, 0), 1))
                continue
            low, high = min(positions), max(positions)
            window.append((slice(origin + low, origin + high + 1, abs(step)), 1 if step > 0 else -1))
        (row_part, row_sign), (column_part, column_sign) = window
        plane = np.asarray(self._source[self._indices[index], row_part, column_part])
        return plane[::row_sign, ::column_sign]
