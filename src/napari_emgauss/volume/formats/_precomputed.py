"""Volumes as Neuroglancer reads them ("precomputed"), through tensorstore: several scales, resolution in nm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.volume._plan import ExportPlan

from ._levels import Level, chunks_of, connected, plan_levels

_CHUNK = (64, 64, 64)


def write_precomputed(plan: ExportPlan, planes: Iterator[NDArray[Any]], target: Path) -> None:
    """Neuroglancer precomputed: raw blocks, or PNG where the format asks for it; a file ``provenance`` beside ``info``.

    The volume starts at the depth of its first slice where that is a whole number of voxels in every scale, else at 0;
    ``provenance`` tells the depth in either case.
    """
    levels = plan_levels(plan.shape, plan.voxel_size_nm)
    start = plan.depths_nm[0] / plan.voxel_size_nm[0]
    whole = abs(start - round(start)) < 1e-6 and all(round(start) % level.factors[0] == 0 for level in levels)
    first = round(start) if whole else 0
    arrays = [_Scale(plan, level, first // level.factors[0], target) for level in levels]
    writer = connected(arrays, levels, labels=plan.labels)
    for plane in planes:
        writer.push(plane)
    writer.finish()
    about = {**plan.about, "first_depth_nm": float(plan.depths_nm[0])}
    provenance = {"description": plan.path.name, "owners": [], "sources": [], "processing": [about]}
    (target / "provenance").write_text(json.dumps(provenance, indent=1), encoding="utf-8")


class _Scale:
    """One scale as an array ``(Z, Y, X)`` or ``(C, Z, Y, X)`` that whole slices are assigned to."""

    def __init__(self, plan: ExportPlan, level: Level, first_slice: int, target: Path) -> None:
        import tensorstore

        z_nm, y_nm, x_nm = level.voxel_size(plan.voxel_size_nm)
        chunks = chunks_of(level.shape, _CHUNK, plan.dtype, plan.channels)
        kind = "segmentation" if plan.labels else "image"
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{target.as_posix()}/"},
            "multiscale_metadata": {"data_type": plan.dtype.name, "num_channels": plan.channels, "type": kind},
            "scale_metadata": {
                "key": f"{x_nm:.6g}_{y_nm:.6g}_{z_nm:.6g}",
                "size": list(level.shape[::-1]),
                "voxel_offset": [0, 0, first_slice],
                "resolution": [x_nm, y_nm, z_nm],
                "chunk_size": list(chunks[::-1]),
                "encoding": "png" if plan.format.endswith("-png") else "raw",
            },
            # Readers other than Neuroglancer take a block that is missing for an error, not for black.
            "store_data_equal_to_fill_value": True,
        }
        # The folder is forced to the disk as a whole when it is complete.
        context = tensorstore.Context({"file_io_sync": False})
        store = tensorstore.open(spec, create=True, open=True, context=context).result()
        self._store = store[tensorstore.d[:].translate_to[0]].T
        self._is_single = plan.channels == 1
        channels = () if self._is_single else (plan.channels,)
        self.shape: tuple[int, ...] = (*channels, *level.shape)
        self.chunks: tuple[int, ...] = (*(1 for _ in channels), *chunks)
        self.dtype = np.dtype(plan.dtype)
        self.ndim = len(self.shape)

    def __setitem__(self, key: Any, values: NDArray[Any]) -> None:
        place = (0, key) if self._is_single else key
        self._store[place].write(values).result()
