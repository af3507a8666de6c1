"""Several channels of one stack: taken apart for what works on grey slices, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError
from napari_emgauss._progress import OnProgress, Progress

from ._channel_slices import ChannelSlices, channel_sources
from ._slices import LazySlices
from ._stack import Normalisation, Stack


class MeanOfChannels(LazySlices):
    """Mean of all channels in the unit range: one picture of the geometry that they share."""

    def __init__(self, source: Any, normalisation: Normalisation) -> None:
        count, _, height, width = (int(n) for n in source.shape)
        super().__init__((count, height, width), np.float32)
        self._source, self._normalisation = source, normalisation

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        values = np.asarray(self._source[index, :, rows, columns])
        return np.asarray(self._normalisation.to_unit(values).mean(axis=0))


def split_channels(stack: Stack) -> list[Stack]:
    """One stack for each channel, still lazy."""
    if stack.channels == 1:
        return [stack]
    return [
        replace(stack, slices=source, uncorrected=None, normalisation=stack.normalisation.of_channel(channel))
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


def on_each_channel(
    stack: Stack, change: Callable[[Stack, Progress], Stack], on_progress: OnProgress | None = None
) -> Stack:
    """``change`` applied to every channel by itself, one after the other; what the slices were before stays there."""
    progress, channels = Progress(on_progress), split_channels(stack)
    changed = [
        change(one, progress.part(k / len(channels), (k + 1) / len(channels), f"channel {k + 1}"))
        for k, one in enumerate(channels)
    ]
    return replace(join_channels(changed), uncorrected=stack.own_slices)


def geometry_of(stack: Stack) -> Stack:
    """The stack itself, or with several channels their mean: what shifts and distances are measured on."""
    if stack.channels == 1:
        return stack
    return replace(
        stack,
        slices=MeanOfChannels(stack.slices, stack.normalisation),
        uncorrected=None,
        normalisation=Normalisation(0.0, 1.0, "float32"),
    )
