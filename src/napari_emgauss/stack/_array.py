"""A stack from an array that is there already: NumPy, dask, Zarr, or the data of a viewer's layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_emgauss._errors import VoxelSizeError

from ._channel_slices import channel_sources
from ._check import check_and_normalise, check_shape, sampled_indices
from ._size_rules import check_given
from ._skip import parse_slices
from ._stack import Normalisation, Stack
from ._voxel_size import VoxelSize, check_anisotropic, resolve_geometry, voxel_size_from_argument


def stack_from_array(
    array: Any,
    voxel_size_nm: Sequence[float] | None = None,
    *,
    z_nm: ArrayLike | None = None,
    pixel_size_nm: Sequence[float] | float | None = None,
    name: str = "stack",
    source: str | None = None,
    metadata: dict[str, Any] | None = None,
    normalisation: Normalisation | None = None,
    skip: str | Sequence[int] = (),
    allow_isotropic: bool = False,
    allow_damaged: bool = False,
) -> Stack:
    """Make a stack of an array, without copying it.

    Parameters
    ----------
    array : array-like
        ``(K, H, W)`` grey values, or ``(K, C, H, W)`` of up to 4 channels; anything that can be indexed by slice and
        has ``shape`` and ``dtype``.
    voxel_size_nm : sequence of float, optional
        ``(z, y, x)`` in nm. Or give ``z_nm`` and ``pixel_size_nm``.
    z_nm : array-like, optional
        Depth of each slice in nm, increasing; overrides the z of ``voxel_size_nm``.
    pixel_size_nm : float or sequence of float, optional
        ``(y, x)`` in nm; one number for square pixels.
    name, source, metadata
        Kept in the stack.
    normalisation : Normalisation, optional
        Grey-value limits; found from the data by default.
    skip : str or sequence of int
        Slices to leave out: ``"12,57-59"`` or their numbers, counted from 0.
    allow_isotropic : bool
        Accept a stack whose z step is no larger than its pixels (evaluation does).
    allow_damaged : bool
        Accept empty, constant and NaN slices (to look for them afterwards).

    Returns
    -------
    Stack

    Raises
    ------
    StackError, VoxelSizeError
        See the messages.
    """
    if not (hasattr(array, "shape") and hasattr(array, "dtype")):
        array = np.asarray(array)
    check_shape(tuple(int(n) for n in array.shape), array.dtype)
    if pixel_size_nm is not None:
        pixel = (pixel_size_nm, pixel_size_nm) if isinstance(pixel_size_nm, (int, float)) else tuple(pixel_size_nm)
        if len(pixel) != 2 or not all(np.isfinite(p) and p > 0 for p in pixel):
            raise VoxelSizeError(f"The pixel size must be two positive numbers (y, x) in nm, not {pixel_size_nm}.")
        step = None if voxel_size_nm is None else voxel_size_from_argument(voxel_size_nm).z_nm
        found = VoxelSize(step, float(pixel[0]), float(pixel[1]), source="argument")
    else:
        found = VoxelSize() if voxel_size_nm is None else voxel_size_from_argument(voxel_size_nm)
    return build_stack(
        array,
        found,
        z_positions_nm=z_nm,
        name=name,
        source=source,
        metadata=metadata,
        normalisation=normalisation,
        skip=skip,
        allow_isotropic=allow_isotropic,
        allow_damaged=allow_damaged,
    )


def build_stack(
    slices: Any,
    voxel_size: VoxelSize,
    *,
    z_positions_nm: ArrayLike | None,
    name: str,
    source: str | None,
    metadata: dict[str, Any] | None,
    normalisation: Normalisation | None,
    skip: str | Sequence[int],
    allow_isotropic: bool,
    allow_damaged: bool,
) -> Stack:
    """The last step that arrays and files share: depths, left-out slices, checks and grey-value limits."""
    count = int(slices.shape[0])
    if len(slices.shape) == 4 and slices.shape[1] == 1:
        (slices,) = channel_sources(slices)
    if voxel_size.source == "argument":
        check_given(voxel_size)
    z_nm, pixel_size_nm = resolve_geometry(count, voxel_size, z_positions_nm)
    if not allow_isotropic:
        check_anisotropic(z_nm, pixel_size_nm)
    left_out = parse_slices(skip, count)
    kept = [k for k in range(count) if k not in set(left_out)]
    check_shape((len(kept), *(int(n) for n in slices.shape[1:])), slices.dtype)
    if normalisation is None or not allow_damaged:
        measured = _measured(slices, kept, check=not allow_damaged)
        normalisation = measured if normalisation is None else normalisation
    about = {"voxel_size_source": voxel_size.source, **(metadata or {})}
    if z_positions_nm is not None:
        about["z_positions_source"] = "argument"
    if left_out:
        about["left_out_slices"] = list(left_out)
        about["left_out_z_nm"] = [float(z_nm[k]) for k in left_out]
    stack = Stack(slices, z_nm, pixel_size_nm, normalisation, name, source, about)
    return stack.select(kept) if left_out else stack


def _measured(slices: Any, kept: list[int], *, check: bool) -> Normalisation:
    """Grey-value limits, of every channel where there are several."""
    if len(slices.shape) == 3:
        return check_and_normalise(slices, sampled_indices(slices, kept), check=check)
    found = [check_and_normalise(one, sampled_indices(one, kept), check=check) for one in channel_sources(slices)]
    limits = tuple((one.low, one.high) for one in found)
    return Normalisation(min(low for low, _ in limits), max(high for _, high in limits), found[0].dtype, limits)
