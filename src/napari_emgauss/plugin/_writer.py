"""Saving an image layer as OME-TIFF with its voxel size, which napari's own writer drops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_emgauss._errors import ExportError
from napari_emgauss._files import whole
from napari_emgauss._paths import is_inside, same_file
from napari_emgauss.volume import Provenance


def write_ome_tiff(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """For npe2: write one image layer; ``data`` may be lazy, and is a list of levels where the layer is multiscale.

    Raises
    ------
    ExportError
        Not a grey volume, the file is one that an open layer was read from, or it cannot be written. Nothing is left
        behind.
    """
    from napari_emgauss.plugin.view._continuous_layer import KEY, LayerRecord

    from ._background import wait_responsively

    record = meta.get("metadata", {}).get(KEY)
    _check_not_a_source(path, data, record)
    if isinstance(record, LayerRecord) and record.kind == "continuous":
        return [_write_model(path, record)]
    levels = data[0] if meta.get("multiscale") else data
    shape = tuple(int(n) for n in levels.shape)
    if len(shape) != 3 or meta.get("rgb"):
        raise ExportError(f"Only grey volumes (z, y, x) can be saved as OME-TIFF, not an image of shape {shape}.")
    wait_responsively(lambda: write_volume(Path(path), levels, meta))
    return [path]


def _check_not_a_source(path: str, data: Any, record: Any) -> None:
    """Refuse to write over what layers were read from: napari asks whether to replace a file, but not which one it is.

    Raises
    ------
    ExportError
    """
    read_from = next((one for one in _sources(data, record) if same_file(path, one) or is_inside(path, one)), None)
    if read_from is not None:
        raise ExportError(
            f"“{Path(path).name}” would overwrite “{Path(read_from).name}”, which an open layer was read from: "
            "choose another name."
        )


def _sources(data: Any, record: Any) -> Iterator[str]:
    """Files that the layers of the viewers, these data, and the model that they show come from."""
    from napari_emgauss.plugin.view._viewers import viewers

    for viewer in viewers():
        for layer in viewer.layers:
            if layer.source.path is not None:
                yield str(layer.source.path)
    while data is not None:  # a part of a mapped file is mapped, too
        if isinstance(data, np.memmap) and data.filename is not None:
            yield str(data.filename)
        data = getattr(data, "base", None)
    told = getattr(getattr(record, "model", None), "provenance", None)
    if told and (source := Provenance.from_json(told).source):
        yield str(source)


def _write_model(path: str, record: Any) -> str:
    """The slices of a continuous layer are written where they are rendered, in a child process."""
    from napari_emgauss.plugin.process._export_child import ExportRequest
    from napari_emgauss.plugin.process._export_job import export_job
    from napari_emgauss.plugin.process._job import JobDone
    from napari_emgauss.plugin.view._layer_look import kept_slices

    from ._background import wait_responsively
    from ._preferences import preferences

    request = ExportRequest(
        path,
        spacing_nm=record.shown_step_nm,
        format="ome-tiff",
        overwrite=True,  # napari has asked
        device=preferences().device,
        look=record.look,
    )

    def run() -> str:
        for message in export_job(record.model, request, kept_slices(record)).messages():
            if isinstance(message, JobDone):
                return str(message.result.path)
        raise ExportError(f"{path} was not written.")

    return wait_responsively(run)


def write_volume(path: Path, values: Any, meta: dict[str, Any]) -> None:
    """Write ``(z, y, x)`` values slice by slice, whole or not at all.

    Raises
    ------
    ExportError
        The file cannot be written.
    """
    import tifffile

    sizes = ome_sizes(meta)
    shape, dtype = tuple(int(n) for n in values.shape), np.dtype(values.dtype)
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    slices = (np.ascontiguousarray(np.asarray(values[k]), dtype=dtype) for k in range(shape[0]))
    big = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize > 2**32 - 2**25
    with whole(path) as part, tifffile.TiffWriter(part, bigtiff=big, ome=True) as file:
        file.write(slices, shape=shape, dtype=dtype, photometric="minisblack", metadata={"axes": "ZYX", **sizes})


def ome_sizes(meta: dict[str, Any]) -> dict[str, Any]:
    """Physical sizes for the OME header from a layer's scale and units.

    Pixels without a unit are written as they are when a scale was set (OME would call them µm, so they are called nm as
    everywhere in the plugin), and left out when it was not: unknown is unknown.
    """
    scale = [float(s) for s in meta.get("scale", (1, 1, 1))[-3:]]
    units = list(meta.get("units", ("pixel",) * 3))[-3:]
    lengths = [getattr(unit, "dimensionality", None) == {"[length]": 1} for unit in units]
    if not all(lengths):
        if np.allclose(scale, 1):
            return {}
        units = ["nm"] * 3
    else:
        units = [f"{unit:~}" for unit in units]
    sizes: dict[str, Any] = {}
    for axis, size, unit in zip("ZYX", scale, units, strict=True):
        sizes[f"PhysicalSize{axis}"], sizes[f"PhysicalSize{axis}Unit"] = size, unit
    return sizes
