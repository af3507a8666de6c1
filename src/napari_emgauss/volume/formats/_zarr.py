"""Volumes as OME-Zarr (NGFF 0.4 on Zarr 2, 0.5 on Zarr 3), with a pyramid that is built while the slices come in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.volume._plan import ExportPlan

_CHUNK = (32, 256, 256)
# Slices wait until a row of chunks is full; those of very wide slices are made less deep, so that this is enough.
_WAITING_BYTES = 256 << 20
# Rows of a slice that are averaged at once for the next level: float64 of a whole wide slice is eight times the slice.
_MEAN_PIXELS = 4 << 20
# The pyramid ends when a level fits on a screen.
_COARSEST = 256


def write_ome_zarr(plan: ExportPlan, planes: Iterator[NDArray[Any]], target: Path) -> None:
    """OME-Zarr: levels halve the finest axes until they are alike, then all; metadata in nm.

    A coarse voxel is the mean of those below it, so its centre lies ``(factor - 1) / 2`` fine voxels further on: each
    level has that as translation, on top of the depth of the first slice.
    """
    import zarr

    newer = plan.format == "ome-zarr-0.5"
    group = zarr.open_group(str(target), mode="w", zarr_format=3 if newer else 2)
    names = "zyx" if plan.channels == 1 else "czyx"
    form: dict[str, Any] = (
        {"dimension_names": tuple(names)} if newer else {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    )
    levels: list[_LevelOfChannels] = []
    first = () if plan.channels == 1 else (plan.channels,)
    # NGFF asks for a scale of the channel axis as well.
    one, zero = [1.0] * len(first), [0.0] * len(first)
    datasets: list[dict[str, Any]] = []
    shape: tuple[int, ...] = plan.shape
    factors: tuple[int, ...] = (1, 1, 1)
    while True:
        name = str(len(levels))
        array = group.create_array(
            name,
            shape=(*first, *shape),
            chunks=(*(1 for _ in first), *_chunks(shape, plan.dtype, plan.channels)),
            dtype=plan.dtype,
            **form,
        )
        scale = [size * factor for size, factor in zip(plan.voxel_size_nm, factors, strict=True)]
        shift = [size * (factor - 1) / 2 for size, factor in zip(plan.voxel_size_nm, factors, strict=True)]
        shift[0] += float(plan.depths_nm[0])
        transforms: list[dict[str, Any]] = [
            {"type": "scale", "scale": one + scale},
            {"type": "translation", "translation": zero + shift},
        ]
        datasets.append({"path": name, "coordinateTransformations": transforms})
        halved = tuple(2 if size > 1 and step < 2 * min(scale) else 1 for size, step in zip(shape, scale, strict=True))
        more = max(shape) > _COARSEST and 2 in halved
        levels.append(_LevelOfChannels(array, halved if more else None))
        if not more:
            break
        shape = tuple(-(-n // h) for n, h in zip(shape, halved, strict=True))
        factors = tuple(f * h for f, h in zip(factors, halved, strict=True))
    for finer, coarser in pairwise(levels):
        finer.lead_to(coarser)
    for plane in planes:
        levels[0].push(plane)
    levels[0].finish()
    axes = [
        {"name": axis, "type": "channel"} if axis == "c" else {"name": axis, "type": "space", "unit": "nanometer"}
        for axis in names
    ]
    multiscale = {
        "name": plan.path.name,
        "axes": axes,
        "datasets": datasets,
        "type": "mean",
        "metadata": plan.about,
    }
    if newer:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    else:
        group.attrs["multiscales"] = [{"version": "0.4", **multiscale}]


class _ChannelOfArray:
    """``(Z, Y, X)`` of one channel of a Zarr array ``(C, Z, Y, X)``, as far as a level needs it."""

    def __init__(self, array: Any, channel: int) -> None:
        self._array, self._channel = array, channel
        self.shape, self.chunks, self.dtype = array.shape[1:], array.chunks[1:], array.dtype

    def __setitem__(self, key: Any, values: NDArray[Any]) -> None:
        self._array[self._channel, key] = values


class _LevelOfChannels:
    """One level of every channel, or of the only one.

    Parameters
    ----------
    array : zarr.Array
        ``(Z, Y, X)``, or ``(C, Z, Y, X)``.
    halved : tuple of int or None
        See :class:`_Level`.
    """

    def __init__(self, array: Any, halved: tuple[int, ...] | None) -> None:
        arrays = [array] if array.ndim == 3 else [_ChannelOfArray(array, c) for c in range(array.shape[0])]
        self._levels = [_Level(one, halved) for one in arrays]

    def lead_to(self, coarser: _LevelOfChannels) -> None:
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
    array : zarr.Array
    halved : tuple of int or None
        By how much the next level is coarser along z, y and x; None for the last.
    """

    def __init__(self, array: Any, halved: tuple[int, ...] | None) -> None:
        self._array, self._halved = array, halved
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


def _chunks(shape: tuple[int, ...], dtype: np.dtype[Any], channels: int = 1) -> tuple[int, ...]:
    """Chunks of the usual size, less deep (by halves) where as many slices would take too much memory."""
    depth, height, width = (min(c, n) for c, n in zip(_CHUNK, shape, strict=True))
    while depth > 1 and depth * channels * shape[1] * shape[2] * dtype.itemsize > _WAITING_BYTES:
        depth = -(-depth // 2)
    return depth, height, width
