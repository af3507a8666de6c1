"""A stack from an array that is there already: NumPy, dask, Zarr, or the data of a viewer's layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_emgauss._errors import StackError, VoxelSizeError

from ._channel_slices import channel_sources, view
from ._check import MIN_SLICES, check_and_normalise, check_shape, sampled_indices
from ._size_rules import check_given
from ._skip import parse_slices
from ._stack import Normalisation, SliceSource, Stack, checked_box
from ._voxel_size import VoxelSize, check_anisotropic, resolve_geometry, voxel_size_from_argument


def stack_from_array(
    array: ArrayLike | SliceSource,
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
    """Make a stack from an array, without copying it.

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
    slices: Any = array if hasattr(array, "shape") and hasattr(array, "dtype") else np.asarray(array)
    check_shape(tuple(int(n) for n in slices.shape), slices.dtype)
    if pixel_size_nm is not None:
        pixel = (pixel_size_nm, pixel_size_nm) if isinstance(pixel_size_nm, (int, float)) else tuple(pixel_size_nm)
        if len(pixel) != 2 or not all(np.isfinite(p) and p > 0 for p in pixel):
            raise VoxelSizeError(f"The pixel size must be two positive numbers (y, x) in nm, not {pixel_size_nm}.")
        step = None if voxel_size_nm is None else voxel_size_from_argument(voxel_size_nm).z_nm
        found = VoxelSize(step, float(pixel[0]), float(pixel[1]), source="argument")
    else:
        found = VoxelSize() if voxel_size_nm is None else voxel_size_from_argument(voxel_size_nm)
    return build_stack(
        slices,
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
    region: Sequence[int] | None = None,
    z_range_nm: Sequence[float] | None = None,
) -> Stack:
    """The last step that arrays and files share: depths, left-out slices, checks and grey-value limits.

    Of a ``region`` of the slices, or a range of depths, nothing else is looked at.
    """
    count = int(slices.shape[0])
    if len(slices.shape) == 4 and slices.shape[1] == 1:
        (slices,) = channel_sources(slices)
    if voxel_size.source == "argument":
        check_given(voxel_size)
    z_nm, pixel_size_nm = resolve_geometry(count, voxel_size, z_positions_nm)
    if not allow_isotropic:
        check_anisotropic(z_nm, pixel_size_nm)
    inside = range(count) if z_range_nm is None else slices_within(z_nm, z_range_nm)
    left_out = [k for k in parse_slices(skip, count) if k in inside]
    kept = [k for k in inside if k not in set(left_out)]
    looked_at = slices if region is None else view(slices, range(count), checked_box(region, *slices.shape[-2:]))
    check_shape((len(kept), *(int(n) for n in looked_at.shape[1:])), slices.dtype)
    if normalisation is None or not allow_damaged:
        measured = _measured(looked_at, kept, check=not allow_damaged)
        normalisation = measured if normalisation is None else normalisation
    about = {"voxel_size_source": voxel_size.source, **(metadata or {})}
    if z_positions_nm is not None:
        about.setdefault("z_positions_source", "argument")
    if left_out:
        about["left_out_slices"] = list(left_out)
        about["left_out_z_nm"] = [float(z_nm[k]) for k in left_out]
    if region is not None or len(inside) < count:
        about["shape_in_file"] = [count, int(slices.shape[-2]), int(slices.shape[-1])]
    stack = Stack(slices, z_nm, pixel_size_nm, normalisation, name, source, about)
    stack = stack.select(kept) if len(kept) < count else stack
    return stack if region is None else stack.crop(checked_box(region, *slices.shape[-2:]))


def slices_within(z_nm: NDArray[np.float64], z_range_nm: Sequence[float]) -> range:
    """Slices whose depths lie within a range.

    Raises
    ------
    StackError
        Not two depths in order, or fewer than three slices between them.
    """
    if len(z_range_nm) != 2 or not (np.isfinite(z_range_nm).all() and z_range_nm[0] < z_range_nm[1]):
        raise StackError(f"A z range is two depths in nm, the lower first, not {list(z_range_nm)}.")
    slack = 1e-6 * float(z_nm[-1] - z_nm[0])
    first, last = np.searchsorted(z_nm, (z_range_nm[0] - slack, z_range_nm[1] + slack))
    if last - first < MIN_SLICES:
        raise StackError(
            f"From {z_range_nm[0]:g} to {z_range_nm[1]:g} nm there are {last - first} slices, but a stack needs at "
            "least "
            f"{MIN_SLICES}: the slices of this file lie from {z_nm[0]:g} to {z_nm[-1]:g} nm."
        )
    return range(int(first), int(last))


def _measured(slices: Any, kept: list[int], *, check: bool) -> Normalisation:
    """Grey-value limits, of every channel where there are several."""
    if len(slices.shape) == 3:
        return check_and_normalise(slices, sampled_indices(slices, kept), check=check)
    found = [check_and_normalise(one, sampled_indices(one, kept), check=check) for one in channel_sources(slices)]
    limits = tuple((one.low, one.high) for one in found)
    return Normalisation(min(low for low, _ in limits), max(high for _, high in limits), found[0].dtype, limits)
