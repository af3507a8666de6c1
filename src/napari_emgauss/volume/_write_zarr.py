"""Volumes as OME-Zarr (NGFF 0.4 on Zarr 2, 0.5 on Zarr 3), with a pyramid that is built while the slices come in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._plan import ExportPlan

_CHUNK = (32, 256, 256)
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
    form: dict[str, Any] = (
        {"dimension_names": ("z", "y", "x")} if newer else {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    )
    levels: list[_Level] = []
    datasets: list[dict[str, Any]] = []
    shape: tuple[int, ...] = plan.shape
    factors: tuple[int, ...] = (1, 1, 1)
    while True:
        name = str(len(levels))
        array = group.create_array(
            name,
            shape=shape,
            chunks=tuple(min(c, n) for c, n in zip(_CHUNK, shape, strict=True)),
            dtype=plan.dtype,
            **form,
        )
        scale = [size * factor for size, factor in zip(plan.voxel_size_nm, factors, strict=True)]
        shift = [size * (factor - 1) / 2 for size, factor in zip(plan.voxel_size_nm, factors, strict=True)]
        shift[0] += float(plan.depths_nm[0])
        transforms = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]
        datasets.append({"path": name, "coordinateTransformations": transforms})
        halved = tuple(2 if size > 1 and step < 2 * min(scale) else 1 for size, step in zip(shape, scale, strict=True))
        more = max(shape) > _COARSEST and 2 in halved
        levels.append(_Level(array, halved if more else None))
        if not more:
            break
        shape = tuple(-(-n // h) for n, h in zip(shape, halved, strict=True))
        factors = tuple(f * h for f, h in zip(factors, halved, strict=True))
    for finer, coarser in pairwise(levels):
        finer.coarser = coarser
    for plane in planes:
        levels[0].push(plane)
    levels[0].finish()
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
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
        self._waiting: list[NDArray[Any]] = []
        self._pair: list[NDArray[Any]] = []
        self._written = 0
        self.coarser: _Level | None = None

    def push(self, plane: NDArray[Any]) -> None:
        """Take the next slice."""
        self._waiting.append(plane)
        if len(self._waiting) == self._array.chunks[0]:
            self._flush()
        if self.coarser is not None and self._halved is not None:
            self._pair.append(plane)
            if len(self._pair) == self._halved[0]:
                self._hand_on()

    def finish(self) -> None:
        """Write what is still waiting, here and below."""
        if self._waiting:
            self._flush()
        if self._pair:
            self._hand_on()
        if self.coarser is not None:
            self.coarser.finish()

    def _flush(self) -> None:
        self._array[self._written : self._written + len(self._waiting)] = np.stack(self._waiting)
        self._written += len(self._waiting)
        self._waiting.clear()

    def _hand_on(self) -> None:
        if self.coarser is None or self._halved is None:
            return
        mean = np.mean(self._pair, axis=0, dtype=np.float64)
        self._pair.clear()
        for axis, factor in enumerate(self._halved[1:]):
            if factor == 2:
                odd = mean.shape[axis] % 2
                # Repeating the last row makes the mean over a last cell that is only half there.
                mean = np.pad(mean, [(0, odd if a == axis else 0) for a in (0, 1)], mode="edge")
                mean = (mean[::2] + mean[1::2]) / 2 if axis == 0 else (mean[:, ::2] + mean[:, 1::2]) / 2
        dtype = self._array.dtype
        self.coarser.push((np.rint(mean) if dtype.kind in "iu" else mean).astype(dtype))
