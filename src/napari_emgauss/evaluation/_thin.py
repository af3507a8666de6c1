"""An anisotropic stack made of an isotropic volume, with the truth kept aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError, StackError, VoxelSizeError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack import Stack, read_stack, stack_from_array

Sampling = Literal["point", "slab"]

ISOTROPIC_TOLERANCE = 0.1  # FIB-SEM steps are stated to a few percent
MIN_KEPT = 3


@dataclass(frozen=True)
class Thinned:
    """A stack with slices taken out, and what was there.

    Parameters
    ----------
    stack : Stack
        The kept slices: all that a method sees.
    truth : ndarray
        ``(D, H, W)`` float32, unit range of the stack: every slice from the first to the last kept one.
    z_nm : ndarray
        ``(D,)`` depth of each slice of the truth, nm.
    distance : ndarray
        ``(D,)`` distance of each to the nearest kept slice, in slices.
    factor : int
        One slice in so many was kept.
    sampling : str
        ``point``: kept as they were. ``slab``: each kept slice is the mean over ``factor`` slices around it.
    """

    stack: Stack
    truth: NDArray[np.float32]
    z_nm: NDArray[np.float64]
    distance: NDArray[np.float64]
    factor: int
    sampling: Sampling

    @property
    def dropped(self) -> NDArray[np.bool_]:
        """``(D,)`` True for slices that no method has seen as such."""
        if self.sampling == "slab":
            return np.ones(len(self.z_nm), dtype=bool)
        return self.distance > 0


def check_one_channel(stack: Stack) -> None:
    """Refuse several channels: a score is of one grey value.

    Raises
    ------
    StackError
        See there.
    """
    if stack.channels > 1:
        raise StackError(
            f"The stack has {stack.channels} channels, but a score is of one", remedy=remedy("choose one channel")
        )


def read_volume(path: str | Path, *, voxel_size_nm: Sequence[float] | None = None) -> Stack:
    """Read a volume that is isotropic, or believed to be: as :func:`read_stack`, without its demand for anisotropy.

    Parameters
    ----------
    path : str or Path
        A file that :func:`napari_emgauss.read_stack` reads.
    voxel_size_nm : sequence of float, optional
        ``(z, y, x)``; what the file says by default.
    """
    return read_stack(path, voxel_size_nm=voxel_size_nm, allow_isotropic=True, allow_damaged=True)


def thin(
    volume: Stack,
    factor: int,
    *,
    sampling: Sampling = "point",
    axis: int = 0,
    crop: tuple[int, int, int] | None = None,
) -> Thinned:
    """Take slices out of an isotropic volume.

    Parameters
    ----------
    volume : Stack
        The truth.
    factor : int
        Keep slices 0, ``factor``, 2 ``factor``, ...
    sampling : str
        ``point`` keeps slices as they are, which is what thin sections do. ``slab`` averages each block of ``factor``
        slices into one at the block's centre, which is what thick optical sections do.
    axis : int
        Axis to thin out; the others become rows and columns, in their order.
    crop : tuple of int, optional
        Use the first ``(z, y, x)`` voxels only, counted in the file's axes.

    Raises
    ------
    ConfigError
        The factor is below 2, or leaves fewer than 3 slices; an axis, crop or sampling that does not exist.
    VoxelSizeError
        The volume is not isotropic: it has no truth between its slices.
    """
    if factor < 2:
        raise ConfigError(f"The factor is {factor}, but must be at least 2, or no slice is dropped.")
    if axis not in (0, 1, 2):
        raise ConfigError(f"The axis is {axis}, but must be 0 (z), 1 (y) or 2 (x).")
    if sampling not in ("point", "slab"):
        raise ConfigError(f"The sampling is '{sampling}', but must be point or slab.")
    check_one_channel(volume)
    step_nm = _isotropic_step_nm(volume)
    values = _cropped(volume, crop)
    values = np.moveaxis(values, axis, 0)
    kept, depths = _kept_slices(values, factor, sampling)
    if len(depths) < MIN_KEPT:
        needed = factor * (MIN_KEPT - 1) + 1 if sampling == "point" else factor * MIN_KEPT
        raise ConfigError(
            f"Keeping one of every {factor} of {len(values)} slices leaves {len(depths)}, but at least {MIN_KEPT} are "
            f"needed: choose a smaller factor, or a volume of {needed} slices or more."
        )
    pixel_size_nm = (step_nm, step_nm)
    point = stack_from_array(
        values[::factor],  # grey-value limits come from kept slices only: nothing of the truth leaks
        z_nm=np.arange(len(values[::factor])) * factor * step_nm,
        pixel_size_nm=pixel_size_nm,
        name=volume.name,
        normalisation=volume.normalisation if np.dtype(values.dtype).itemsize == 1 else None,
    )
    stack = replace(point, slices=np.ascontiguousarray(kept), z_nm=depths * step_nm)
    if sampling == "slab":
        stack = replace(stack, normalisation=replace(point.normalisation, dtype="float32"))
    within = np.arange(int(np.ceil(depths[0])), int(np.floor(depths[-1])) + 1)
    truth = point.normalisation.to_unit(values[within])
    distance = np.abs(within[:, None] - depths[None, :]).min(axis=1)
    z_nm = np.asarray(within * step_nm, dtype=np.float64)
    return Thinned(stack, truth, z_nm, np.asarray(distance, dtype=np.float64), factor, sampling)


def slices_of_truth(labels: Stack, thinned: Thinned, axis: int, crop: tuple[int, int, int] | None) -> NDArray[Any]:
    """Values ``(D, H, W)`` of another volume on the grid of the one that was thinned, where that has its truth."""
    z, y, x = crop or labels.shape
    values: NDArray[Any] = np.stack([np.asarray(labels.slices[k])[:y, :x] for k in range(z)])
    values = np.moveaxis(values, axis, 0)
    step_nm = float(np.diff(thinned.z_nm[:2])[0])
    numbers = np.rint(thinned.z_nm / step_nm).astype(int)
    return np.ascontiguousarray(values[numbers])


def _kept_slices(
    values: NDArray[np.generic], factor: int, sampling: Sampling
) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """The slices that a method sees, and their depths in slices."""
    if sampling == "point":
        return values[::factor], np.arange(0, len(values), factor, dtype=np.float64)
    blocks = len(values) // factor
    whole = values[: blocks * factor].reshape(blocks, factor, *values.shape[1:])
    centres = np.arange(blocks, dtype=np.float64) * factor + (factor - 1) / 2
    return whole.mean(axis=1, dtype=np.float64).astype(np.float32), centres


def _isotropic_step_nm(volume: Stack) -> float:
    sizes = np.array([float(np.median(np.diff(volume.z_nm))), *volume.pixel_size_nm])
    if sizes.max() > sizes.min() * (1 + ISOTROPIC_TOLERANCE):
        z, y, x = sizes
        raise VoxelSizeError(
            f"The volume has voxels of {z:g} × {y:g} × {x:g} nm (z, y, x), but an evaluation needs isotropic "
            "ones: to compare methods on an anisotropic stack, use 'emgauss score'."
        )
    return float(sizes.mean())


def _cropped(volume: Stack, crop: tuple[int, int, int] | None) -> NDArray[np.generic]:
    shape = volume.shape
    if crop is None:
        crop = shape
    if any(not 1 <= wanted <= there for wanted, there in zip(crop, shape, strict=True)):
        raise ConfigError(f"A crop of {crop} voxels (z, y, x) does not fit into the volume of {shape}.")
    z, y, x = crop
    values: NDArray[np.generic] = np.stack([np.asarray(volume.slices[k])[:y, :x] for k in range(z)])
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise StackError("The volume holds NaN or infinite values, which cannot be scored", remedy=remedy("crop away"))
    return values
