"""What an export will write: settled, checked and sized before anything is rendered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError, ExportError

from ._channel_model import channel_count
from ._depths import isotropic_depths
from ._protocol import VolumeModel

ExportFormat = Literal["ome-tiff", "imagej-tiff", "ome-zarr", "ome-zarr-0.5", "mrc"]

_FORMAT_OF_ENDING: dict[str, ExportFormat] = {
    ".ome.tif": "ome-tiff",
    ".ome.tiff": "ome-tiff",
    ".tif": "imagej-tiff",
    ".tiff": "imagej-tiff",
    ".zarr": "ome-zarr",
    ".mrc": "mrc",
    ".rec": "mrc",
    ".map": "mrc",
}
# Classic TIFF counts bytes with 32 bits; the rest is left for the pages' headers and the metadata.
_CLASSIC_TIFF_BYTES = 2**32 - 2**25
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
# MRC2014 has no unsigned bytes and nothing wider than 32 bits: the next type that holds every value.
_MRC_TYPES = {"int8": "int8", "uint8": "uint16", "int16": "int16", "uint16": "uint16", "float16": "float16"}


def export_formats() -> tuple[str, ...]:
    """Names of the formats that can be written."""
    return get_args(ExportFormat)


@dataclass(frozen=True)
class ExportPlan:
    """What will be written.

    Parameters
    ----------
    path : Path
        Where to.
    format : str
        One of :func:`export_formats`.
    depths_nm : ndarray
        ``(n,)`` depth of each slice.
    shape : tuple of int
        Slices, rows, columns.
    dtype : numpy.dtype
        Type of the grey values in the file.
    voxel_size_nm : tuple of float
        ``(z, y, x)``.
    channels : int
        Grey values of each voxel; those of slice after slice come one after the other.
    about : dict
        Provenance written into the file, where the format has room; JSON-compatible.
    """

    path: Path
    format: ExportFormat
    depths_nm: NDArray[np.float64]
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    voxel_size_nm: tuple[float, float, float]
    about: dict[str, Any] = field(default_factory=dict)
    channels: int = 1

    @property
    def nbytes(self) -> int:
        """Size of the grey values, without compression (and, for OME-Zarr, without its coarser levels)."""
        return prod(self.shape) * self.channels * self.dtype.itemsize

    @property
    def pages_shape(self) -> tuple[int, ...]:
        """Shape of the array in the file: slices, channels where there are several, rows, columns."""
        depth, height, width = self.shape
        return self.shape if self.channels == 1 else (depth, self.channels, height, width)

    @property
    def is_folder(self) -> bool:
        """True when a folder is written, not a file."""
        return self.format.startswith("ome-zarr")

    @property
    def bigtiff(self) -> bool:
        """True when a TIFF file needs 64-bit offsets."""
        return self.nbytes > _CLASSIC_TIFF_BYTES

    def __str__(self) -> str:
        size = " x ".join(str(n) for n in self.pages_shape)
        voxel = " x ".join(f"{s:.4g}" for s in self.voxel_size_nm)
        return f"{size} {self.dtype} voxels of {voxel} nm as {self.format}, {self.nbytes / 1e6:,.0f} MB"


def plan_export(
    model: VolumeModel,
    path: str | os.PathLike[str],
    *,
    spacing_nm: float | None = None,
    z_range_nm: Sequence[float] | None = None,
    format: str | None = None,
) -> ExportPlan:
    """Settle what :func:`export` would write, without writing.

    Parameters are those of :func:`export`.

    Raises
    ------
    ExportError
        The format cannot be told from the file's name.
    ConfigError
        The format is not known, the z range is not two numbers, or the format has no room for the model's channels.
    DepthError
        See :func:`isotropic_depths`.
    """
    path = Path(path)
    chosen = _format_of(path) if format is None else format
    if chosen not in export_formats():
        raise ConfigError(f"There is no export format {format!r}: choose one of {', '.join(export_formats())}.")
    if z_range_nm is not None and len(z_range_nm) != 2:
        raise ConfigError(f"A z range is two depths in nm, not {len(z_range_nm)} numbers.")
    channels = channel_count(model)
    if channels > 1 and chosen == "mrc":
        raise ConfigError(
            f"An MRC file holds one grey value per voxel, and this model has {channels} channels: choose one with "
            "channel=, or --channel; or write .ome.tif or .ome.zarr."
        )
    y_nm, x_nm = model.pixel_size_nm
    wanted = float(np.mean((y_nm, x_nm))) if spacing_nm is None else float(spacing_nm)
    z_range = None if z_range_nm is None else (float(z_range_nm[0]), float(z_range_nm[1]))
    depths = isotropic_depths(model.z_nm, wanted, z_range)
    _, height, width = model.shape
    shape = (len(depths), int(height), int(width))
    dtype = np.dtype(model.dtype)
    if chosen == "imagej-tiff" and (
        dtype.name not in _IMAGEJ_TYPES or prod(shape) * channels * dtype.itemsize > _CLASSIC_TIFF_BYTES
    ):
        chosen = "ome-tiff"  # ImageJ opens that as well, and its own form has neither this type nor this size
    if chosen == "mrc":
        dtype = np.dtype(_MRC_TYPES.get(dtype.name, "float32"))
    return ExportPlan(
        path,
        cast("ExportFormat", chosen),
        depths,
        shape,
        dtype,
        (float(depths[-1] - depths[0]) / (len(depths) - 1), float(y_nm), float(x_nm)),
        _about(model),
        channels,
    )


def _format_of(path: Path) -> ExportFormat:
    name = path.name.lower()
    endings = [ending for ending in _FORMAT_OF_ENDING if name.endswith(ending) and len(name) > len(ending)]
    if not endings:
        raise ExportError(
            f"The format cannot be told from the name {path.name}: end it in .ome.tif, .tif, .ome.zarr or .mrc."
        )
    return _FORMAT_OF_ENDING[max(endings, key=len)]


def _about(model: VolumeModel) -> dict[str, Any]:
    """Which slices were observed and which left out: a reader of the file must be able to tell data from inference."""
    provenance = getattr(model, "provenance", None) or {}
    stack = provenance.get("stack") or {}
    about: dict[str, Any] = {"reconstructed_by": "napari-emgauss", "observed_z_nm": [float(z) for z in model.z_nm]}
    for key in ("source", "name", "channel", "prior_name", "napari_emgauss"):
        if provenance.get(key) is not None:
            about[key] = provenance[key]
    if stack.get("left_out_slices"):
        about["filled_slices"] = stack["left_out_slices"]
        if stack.get("left_out_z_nm"):
            about["filled_z_nm"] = stack["left_out_z_nm"]
    if stack.get("masked_fraction"):
        about["partly_filled_slices"] = stack["masked_fraction"]
    if provenance.get("slice_shifts_px"):
        about["slice_shifts_px"] = provenance["slice_shifts_px"]
    return about
