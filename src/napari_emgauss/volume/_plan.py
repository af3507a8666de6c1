"""What an export will write: settled, checked and sized before anything is rendered."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_emgauss._errors import ConfigError, ExportError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack import Frame

from ._depths import isotropic_depths
from ._provenance import Provenance
from .formats._registry import ExportFormat, export_format, export_format_of, output_formats

_LABELS_KEYS = ("labels", "labelled_slices", "carried_by")


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
    labels : bool
        The values are labels: coarser levels hold one of them, never a mean.
    levels_like : tuple of pairs
        Shape and chunks, each slices, rows and columns, of the levels of an image that this lies beside and is to have
        the same of; empty where the format chooses.
    """

    path: Path
    format: str
    depths_nm: NDArray[np.float64]
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    voxel_size_nm: tuple[float, float, float]
    about: dict[str, Any] = field(default_factory=dict)
    channels: int = 1
    labels: bool = False
    levels_like: tuple[tuple[tuple[int, int, int], tuple[int, int, int]], ...] = ()

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
        return export_format(self.format).kind == "folder"

    def __str__(self) -> str:
        size = " x ".join(str(n) for n in self.pages_shape)
        voxel = " x ".join(f"{s:.4g}" for s in self.voxel_size_nm)
        return f"{size} {self.dtype} voxels of {voxel} nm as {self.format}, {self.nbytes / 1e6:,.0f} MB"


def plan_export(
    frame: Frame,
    path: str | os.PathLike[str],
    *,
    dtype: DTypeLike,
    channels: int = 1,
    provenance: Mapping[str, Any] | None = None,
    spacing_nm: float | None = None,
    z_range_nm: Sequence[float] | None = None,
    format: str | None = None,
    labels: bool = False,
    depths_nm: NDArray[np.float64] | None = None,
) -> ExportPlan:
    """Settle what :func:`export` would write, without writing.

    Parameters
    ----------
    frame : Frame
        Where the model lies.
    path, spacing_nm, z_range_nm, format
        As of :func:`export`.
    dtype : dtype
        Type of the grey values.
    channels : int
        Grey values of each pixel.
    provenance : dict, optional
        The model's; what a reader of the file has to know of it is written into it.
    labels : bool
        The values are labels.
    depths_nm : ndarray, optional
        ``(n,)`` depths to write instead of an even grid; the voxel size is then the median distance between them.

    Raises
    ------
    ExportError
        The format cannot be told from the file's name.
    ConfigError
        The format is not known or needs what is not installed, the z range is not two numbers, or the format cannot
        hold the model's channels, its type of grey values, or so many of them.
    DepthError
        See :func:`isotropic_depths`.
    """
    path = Path(path)
    row = _format_of(path) if format is None else export_format(format)
    if z_range_nm is not None and len(z_range_nm) != 2:
        raise ConfigError(f"A z range is two depths in nm, not {len(z_range_nm)} numbers.")
    y_nm, x_nm = frame.pixel_size_nm
    wanted = float(np.mean((y_nm, x_nm))) if spacing_nm is None else float(spacing_nm)
    z_range = None if z_range_nm is None else (float(z_range_nm[0]), float(z_range_nm[1]))
    depths = isotropic_depths(frame.z_nm, wanted, z_range) if depths_nm is None else depths_nm
    step = float(depths[-1] - depths[0]) / (len(depths) - 1) if depths_nm is None else float(np.median(np.diff(depths)))
    _, height, width = frame.shape
    shape = (len(depths), int(height), int(width))
    grey = np.dtype(dtype)
    size = prod(shape) * channels * grey.itemsize
    if row.instead is not None and (grey.name not in row.dtypes or size > (row.most_bytes or size)):
        row = export_format(row.instead)
    _check_room(row, channels, size)
    row.load_writer()  # refuses a format whose packages are missing, before anything is rendered
    return ExportPlan(
        path,
        row.name,
        depths,
        shape,
        _dtype_in_file(row, grey),
        (step, float(y_nm), float(x_nm)),
        _about(frame, provenance or {}),
        channels,
        labels,
    )


def _format_of(path: Path) -> ExportFormat:
    row = export_format_of(path.name)
    if row is None:
        usual = list(dict.fromkeys(row.ending for row in output_formats()))
        raise ExportError(
            f"The ending of '{path.name}' does not name a format: end it in {', '.join(usual[:-1])} or {usual[-1]}."
        )
    return row


def _check_room(row: ExportFormat, channels: int, size: int) -> None:
    if channels > 1 and not row.has_channels:
        others = dict.fromkeys(other.ending for other in output_formats() if other.has_channels)
        raise ConfigError(
            f"{row.label} holds one grey value per voxel, but this model has {channels} channels",
            remedy=remedy("export one channel", others=", ".join(others)),
        )
    if row.most_bytes is not None and size > row.most_bytes:
        raise ConfigError(
            f"{row.label} holds at most {row.most_bytes / 1e9:.3g} GB, but the volume has {size / 1e9:.3g} GB: choose "
            "another format, or fewer depths."
        )


def _dtype_in_file(row: ExportFormat, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type itself, else the first that holds each of its values; float64 may become float32.

    What is rendered was calculated in single precision: there is nothing in a float64 that a float32 would lose.
    """
    if dtype.name in row.dtypes:
        return dtype
    for name in row.dtypes:
        if np.can_cast(dtype, name, "safe"):
            return np.dtype(name)
    if dtype.name == "float64" and "float32" in row.dtypes:
        return np.dtype(np.float32)
    able = [other.name for other in output_formats() if dtype.name in other.dtypes]
    raise ConfigError(
        f"{row.label} cannot hold grey values of type {dtype.name}, only {', '.join(row.dtypes)}: "
        + (f"write it as {', '.join(able)} instead." if able else "no format here can.")
    )


def _about(frame: Frame, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Which slices were observed and which left out: a reader of the file must be able to tell data from inference."""
    known = Provenance.from_json(provenance)
    stack = known.stack
    about: dict[str, Any] = {"reconstructed_by": "napari-emgauss", "observed_z_nm": [float(z) for z in frame.z_nm]}
    for key in ("source", "name", "channel", "prior_name", "napari_emgauss"):
        if getattr(known, key) is not None:
            about[key] = getattr(known, key)
    told = {
        "filled_slices": stack.left_out_slices,
        "filled_z_nm": stack.left_out_z_nm,
        "partly_filled_slices": stack.masked_fraction,
        "slice_shifts_px": known.slice_shifts_px,
        **{key: provenance.get(key) for key in _LABELS_KEYS},
    }
    return about | {key: value for key, value in told.items() if value}
