"""Volumes as OME-TIFF and ImageJ TIFF, through tifffile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_emgauss.volume._plan import ExportPlan

from ._registry import CLASSIC_TIFF_BYTES


def write_ome_tiff(plan: ExportPlan, planes: Iterator[NDArray[Any]], target: Path) -> None:
    """OME-TIFF: voxel size and the depth of every plane in nm, BigTIFF where needed."""
    z_nm, y_nm, x_nm = plan.voxel_size_nm
    metadata: dict[str, Any] = {
        "axes": _axes(plan),
        "Name": plan.path.name,
        "Description": json.dumps(plan.about),
        "Plane": {
            "PositionZ": [float(z) for z in plan.depths_nm for _ in range(plan.channels)],
            "PositionZUnit": ["nm"] * plan.shape[0] * plan.channels,
        },
    }
    for axis, size in (("Z", z_nm), ("Y", y_nm), ("X", x_nm)):
        metadata[f"PhysicalSize{axis}"] = size
        metadata[f"PhysicalSize{axis}Unit"] = "nm"
    _write(plan, planes, target, metadata, {"ome": True, "bigtiff": plan.nbytes > CLASSIC_TIFF_BYTES})


def write_imagej_tiff(plan: ExportPlan, planes: Iterator[NDArray[Any]], target: Path) -> None:
    """ImageJ TIFF: opens in ImageJ and Fiji with its voxel size in nm."""
    metadata = {
        "axes": _axes(plan),
        "spacing": plan.voxel_size_nm[0],
        "unit": "nm",
        "zorigin": float(plan.depths_nm[0]),
        "Info": json.dumps(plan.about),
    }
    if plan.channels > 1:
        metadata["mode"] = "composite"
    _write(plan, planes, target, metadata, {"imagej": True})


def _axes(plan: ExportPlan) -> str:
    return "ZYX" if plan.channels == 1 else "ZCYX"


def _pages(plan: ExportPlan, planes: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Channel after channel of slice after slice."""
    for plane in planes:
        yield from plane.reshape(plan.channels, *plan.shape[1:])


def _write(
    plan: ExportPlan, planes: Iterator[NDArray[Any]], target: Path, metadata: dict[str, Any], form: dict[str, Any]
) -> None:
    import tifffile

    _, y_nm, x_nm = plan.voxel_size_nm
    with tifffile.TiffWriter(target, **form) as tif:
        tif.write(
            _pages(plan, planes),
            shape=plan.pages_shape,
            dtype=plan.dtype,
            photometric="minisblack",
            metadata=metadata,
            resolution=(1 / x_nm, 1 / y_nm) if "imagej" in form else (1e7 / x_nm, 1e7 / y_nm),
            resolutionunit="NONE" if "imagej" in form else "CENTIMETER",
        )
