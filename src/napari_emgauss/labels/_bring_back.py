"""From the isotropic volume back to the slices that were observed: labels, masks, probabilities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_emgauss._errors import ConfigError, DepthError, ExportError
from napari_emgauss._files import whole
from napari_emgauss.stack import HasFrame, SliceSource

from ._source import move_slice
from ._types import holds, smallest_type

BackMethod: TypeAlias = Literal["nearest", "majority"]

_SAME_DEPTH = 1e-6


def bring_back(
    volume: SliceSource,
    grid_z_nm: ArrayLike,
    slice_z_nm: ArrayLike,
    *,
    method: BackMethod = "nearest",
    thickness_nm: float | None = None,
    offsets_px: ArrayLike | None = None,
    unlabelled: int = 0,
) -> NDArray[Any]:
    """What a volume says of the source's slices.

    Parameters
    ----------
    volume : SliceSource
        ``(N, H, W)`` on the isotropic grid: labels of any integer type, or a probability of any float type.
    grid_z_nm : array-like
        ``(N,)`` depth of each of its slices, nm, increasing.
    slice_z_nm : array-like
        ``(K,)`` depths to bring it back to.
    method : {"nearest", "majority"}
        ``nearest`` takes the slice of the volume at that depth, where there is one, else the nearest; of a probability
        what lies between its two neighbours, linearly. ``majority`` looks at all slices within ``thickness_nm``: of
        labels the most frequent (of several the one nearest to the middle), of a probability the mean.
    thickness_nm : float, optional
        How thick a slice is; the median distance of ``slice_z_nm`` by default.
    offsets_px : array-like, optional
        ``(K, 2)`` rows and columns by which what is on a slice lies off from where the volume has it, see
        :class:`~napari_emgauss.volume.SourceSlices`; edges repeat themselves.
    unlabelled : int
        What is written on slices that the volume does not reach (see :func:`depths_covered`); NaN for a probability.

    Returns
    -------
    ndarray
        ``(K, H, W)`` in the volume's type.

    Raises
    ------
    ConfigError
        No such method, as many depths as slices are not given, or a value that the volume's type does not have.
    DepthError
        The volume reaches no slice at all.
    """
    grid, wanted = (np.asarray(z, dtype=np.float64) for z in (grid_z_nm, slice_z_nm))
    dtype = np.dtype(volume.dtype)
    if method not in get_args(BackMethod):
        raise ConfigError(f"Labels cannot be brought back by {method!r}: choose nearest or majority.")
    if grid.shape != (int(volume.shape[0]),):
        raise ConfigError(
            f"The volume has {volume.shape[0]} slices, but its grid has {grid.size}: give the spacing and the z "
            "range that "
            "it was exported with."
        )
    if dtype.kind in "iub" and not holds(dtype, unlabelled):
        raise ConfigError(f"The volume is of type {dtype}, which has no value {unlabelled} for what is not labelled.")
    reached = depths_covered(grid, wanted)
    if not reached.any():
        raise DepthError(
            f"The volume reaches from {grid[0]:g} to {grid[-1]:g} nm, where no slice lies: those are at "
            f"{wanted.min():g} to {wanted.max():g} nm."
        )
    offsets = np.zeros((len(wanted), 2)) if offsets_px is None else np.asarray(offsets_px, dtype=np.float64)
    out = np.full(
        (len(wanted), *(int(n) for n in volume.shape[1:])), np.nan if dtype.kind == "f" else unlabelled, dtype
    )
    thick = float(np.median(np.diff(wanted))) if thickness_nm is None and len(wanted) > 1 else float(thickness_nm or 0)
    for k in np.flatnonzero(reached):
        image = _at(volume, grid, float(wanted[k]), method, thick)
        out[k] = move_slice(image, -offsets[k])
    return out


def depths_covered(grid_z_nm: ArrayLike, slice_z_nm: ArrayLike) -> NDArray[np.bool_]:
    """``(K,)``, True for slices that lie within a volume of the depths ``grid_z_nm``."""
    grid, wanted = (np.asarray(z, dtype=np.float64) for z in (grid_z_nm, slice_z_nm))
    slack = _slack(grid)
    return np.asarray((wanted >= grid[0] - slack) & (wanted <= grid[-1] + slack))


def _slack(grid: NDArray[np.float64]) -> float:
    return _SAME_DEPTH * max(float(grid[-1] - grid[0]), 1.0)


def _at(
    volume: SliceSource, grid: NDArray[np.float64], depth: float, method: BackMethod, thickness_nm: float
) -> NDArray[Any]:
    nearest, slack = int(np.argmin(np.abs(grid - depth))), _slack(grid)
    if method == "nearest":
        return _nearest(volume, grid, depth, nearest, slack)
    within = np.flatnonzero(np.abs(grid - depth) <= thickness_nm / 2 + slack)
    chosen = within if len(within) else np.array([nearest])
    # The nearest first: it wins where several are as frequent.
    chosen = chosen[np.argsort(np.abs(grid[chosen] - depth), kind="stable")]
    return _majority([np.asarray(volume[int(n)]) for n in chosen])


def _nearest(volume: SliceSource, grid: NDArray[np.float64], depth: float, nearest: int, slack: float) -> NDArray[Any]:
    if np.dtype(volume.dtype).kind != "f" or abs(grid[nearest] - depth) <= slack:
        return np.asarray(volume[nearest])
    below = int(np.clip(np.searchsorted(grid, depth), 1, len(grid) - 1))
    share = (depth - grid[below - 1]) / (grid[below] - grid[below - 1])
    mixed: NDArray[Any] = (1 - share) * np.asarray(volume[below - 1]) + share * np.asarray(volume[below])
    return mixed


def _majority(images: list[NDArray[Any]]) -> NDArray[Any]:
    if images[0].dtype.kind == "f":
        return np.asarray(np.mean(images, axis=0))
    stacked = np.stack(images)
    votes = np.stack([(stacked == image).sum(axis=0) for image in images])
    # argmax takes the first of equal counts, which is the nearest to the middle.
    return np.asarray(np.take_along_axis(stacked, votes.argmax(axis=0)[None], axis=0)[0])


def write_slices(path: str | os.PathLike[str], values: NDArray[Any], frame: HasFrame) -> None:
    """Write what was brought back as OME-TIFF: one page for each observed slice, its voxel size and depths with it.

    Parameters
    ----------
    path : path
        ``.ome.tif`` or ``.tif``.
    values : ndarray
        ``(K, H, W)``. A type that OME-TIFF does not have becomes the smallest that holds the labels.
    frame : HasFrame
        The model, or its stack: says depths and pixel size.

    Raises
    ------
    ExportError
        The ending is another, or the file cannot be written; nothing is left behind.
    """
    import tifffile

    from napari_emgauss.volume import export_format

    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ExportError(f"'{path}' should end in .ome.tif: slices are written as OME-TIFF.")
    row = export_format("ome-tiff")
    if values.dtype.name not in row.dtypes:
        values = values.astype(_type_in_file(values, row.dtypes, row.label))
    z_nm = np.asarray(frame.z_nm, dtype=np.float64)
    y_nm, x_nm = frame.pixel_size_nm
    metadata = {
        "axes": "ZYX",
        "PhysicalSizeX": x_nm,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": y_nm,
        "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": float(np.median(np.diff(z_nm))),
        "PhysicalSizeZUnit": "nm",
        "Plane": {"PositionZ": [float(z) for z in z_nm], "PositionZUnit": ["nm"] * len(z_nm)},
    }
    with whole(path) as part:
        # The temporary name does not end in .ome.tif, so that it is said.
        tifffile.imwrite(part, values, ome=True, photometric="minisblack", compression="zlib", metadata=metadata)


def _type_in_file(values: NDArray[Any], dtypes: Sequence[str], label: str) -> np.dtype[Any]:
    if values.dtype.kind == "f":
        return np.dtype(np.float32)  # half precision
    return smallest_type(int(values.min()), int(values.max()), dtypes, label)
