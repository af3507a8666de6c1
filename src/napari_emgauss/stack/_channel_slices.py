"""Slices of several channels as one array ``(K, C, H, W)`` that is read only when looked at, and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._slices import LazySlices, SliceView


class ChannelSlices:
    """``(K, C, H, W)`` of ``C`` sources of ``(K, H, W)``, read only when looked at.

    Parameters
    ----------
    sources : sequence of SliceSource
        One a channel, of the same shape and type.
    """

    def __init__(self, sources: Sequence[Any]) -> None:
        self.sources = tuple(sources)
        count, height, width = (int(n) for n in self.sources[0].shape)
        self._shape = (count, len(self.sources), height, width)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.sources[0].dtype)

    @property
    def ndim(self) -> int:
        return 4

    @property
    def reads_files(self) -> bool:
        """Whether the grey values lie in files, see :class:`LazySlices`."""
        return all(bool(getattr(source, "reads_files", False)) for source in self.sources)

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        parts: list[Any] = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in [part for part in parts if part is Ellipsis]:
            at = next(k for k, part in enumerate(parts) if part is Ellipsis)
            parts[at : at + 1] = [slice(None)] * (5 - len(parts))
        if len(parts) > 4:
            raise IndexError(f"too many indices: {len(parts)} for 4 axes")
        which, channel, *plane = parts + [slice(None)] * (4 - len(parts))
        if isinstance(channel, (int, np.integer)):
            return np.asarray(self.sources[int(channel)][which, *plane])
        chosen = [self.sources[int(c)] for c in np.arange(len(self.sources))[channel]]
        axis = 0 if isinstance(which, (int, np.integer)) else 1
        return np.stack([np.asarray(source[which, *plane]) for source in chosen], axis=axis)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def close(self) -> None:
        """Close the files behind it."""
        for source in self.sources:
            close = getattr(source, "close", None)
            if close is not None:
                close()


class _OneChannel(LazySlices):
    """One channel of an array ``(K, C, H, W)``."""

    def __init__(self, array: Any, channel: int) -> None:
        count, _, height, width = (int(n) for n in array.shape)
        super().__init__((count, height, width), array.dtype)
        self._array, self._channel = array, channel

    @property
    def reads_files(self) -> bool:
        return bool(getattr(self._array, "reads_files", False))

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        return np.asarray(self._array[index, self._channel, rows, columns]).astype(self._dtype, copy=False)


def channel_sources(slices: Any) -> list[Any]:
    """``(K, H, W)`` sources of ``(K, C, H, W)`` slices, one a channel."""
    if isinstance(slices, ChannelSlices):
        return list(slices.sources)
    return [_OneChannel(slices, channel) for channel in range(int(slices.shape[1]))]


def view(source: Any, indices: Sequence[int], region: tuple[int, int, int, int] | None = None) -> Any:
    """Some slices of a source, and of each the same rectangle; of every channel where there are several."""
    if len(source.shape) == 3:
        return SliceView(source, indices, region)
    return ChannelSlices([SliceView(one, indices, region) for one in channel_sources(source)])
