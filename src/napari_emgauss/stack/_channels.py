"""Several channels of one stack: taken apart for what works on grey slices, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError

from ._slices import LazySlices, SliceView
from ._stack import Normalisation, Stack


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


class MeanOfChannels(LazySlices):
    """Mean of all channels in the unit range: one picture of the geometry that they share."""

    def __init__(self, source: Any, normalisation: Normalisation) -> None:
        count, _, height, width = (int(n) for n in source.shape)
        super().__init__((count, height, width), np.float32)
        self._source, self._normalisation = source, normalisation

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        values = np.asarray(self._source[index, :, rows, columns])
        return np.asarray(self._normalisation.to_unit(values).mean(axis=0))


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


def split_channels(stack: Stack) -> list[Stack]:
    """One stack for each channel, still lazy."""
    if stack.channels == 1:
        return [stack]
    return [
        replace(stack, slices=source, normalisation=stack.normalisation.of_channel(channel))
        for channel, source in enumerate(channel_sources(stack.slices))
    ]


def join_channels(stacks: Sequence[Stack]) -> Stack:
    """One stack of several that share depths, pixels and type; name and provenance are those of the first.

    Raises
    ------
    StackError
        They differ in shape, depths or type.
    """
    first = stacks[0]
    if len(stacks) == 1:
        return first
    for other in stacks[1:]:
        alike = other.shape == first.shape and other.normalisation.dtype == first.normalisation.dtype
        if not (alike and np.array_equal(other.z_nm, first.z_nm)):
            raise StackError("Channels of one stack must have the same shape, depths and type of grey values.")
    limits = tuple((one.normalisation.low, one.normalisation.high) for one in stacks)
    normalisation = Normalisation(
        min(low for low, _ in limits), max(high for _, high in limits), first.normalisation.dtype, limits
    )
    metadata = dict(first.metadata)
    if any(one.metadata != first.metadata for one in stacks):
        metadata["channels"] = [dict(one.metadata) for one in stacks]
    slices = ChannelSlices([one.slices for one in stacks])
    return replace(first, slices=slices, normalisation=normalisation, metadata=metadata)


def on_each_channel(stack: Stack, change: Callable[[Stack], Stack]) -> Stack:
    """``change`` applied to every channel by itself."""
    return join_channels([change(one) for one in split_channels(stack)])


def geometry_of(stack: Stack) -> Stack:
    """The stack itself, or with several channels their mean: what shifts and distances are measured on."""
    if stack.channels == 1:
        return stack
    return replace(
        stack,
        slices=MeanOfChannels(stack.slices, stack.normalisation),
        normalisation=Normalisation(0.0, 1.0, "float32"),
    )
