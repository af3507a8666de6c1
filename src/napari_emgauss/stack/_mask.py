"""Partial damage: a fold, a tear or a hole that is masked out of its slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss._progress import Progress

from ._channels import on_each_channel
from ._intensity import WholeSliceFilter
from ._slices import SliceView
from ._stack import SliceSource, Stack


@dataclass(frozen=True)
class DamagedRectangle:
    """A rectangle of one slice, in pixels: rows ``y0`` to ``y1``, columns ``x0`` to ``x1`` (ends excluded)."""

    slice_index: int
    y0: int
    y1: int
    x0: int
    x1: int


def mask_damage(stack: Stack, damage: ArrayLike | SliceSource | Sequence[DamagedRectangle]) -> Stack:
    """A stack whose damaged pixels are marked, and taken from the neighbouring slices; read lazily.

    Damaged pixels must teach nobody. A fit leaves them out of its loss (the stack's ``damage`` marks them); priors,
    which look at whole slices, see them replaced by linear interpolation, along z, between the nearest slices that are
    good at that pixel.

    Parameters
    ----------
    stack : Stack
    damage : array-like or sequence of DamagedRectangle
        ``(K, H, W)``, not zero where damaged (a Labels layer's data will do), or rectangles. Of a stack of some
        slices of its file, or of a region of them, an array may have all slices of the file and whole ones.

    Returns
    -------
    Stack
        ``metadata["masked_fraction"]`` tells the damaged part of each slice that has any, numbered as in the file.

    Raises
    ------
    StackError
        The mask does not fit the stack, or a pixel is damaged in every slice.
    """
    count, height, width = stack.shape
    mask: Any = _from_rectangles(damage, stack.shape) if _is_rectangles(damage) else damage
    if not hasattr(mask, "shape"):
        mask = np.asarray(mask)
    in_file = stack.record.selected_slices
    if in_file is not None and len(mask.shape) == 3 and mask.shape[0] > max(*in_file, count - 1) >= count:
        mask = SliceView(mask, in_file)
    region = stack.record.region
    if region is not None and tuple(mask.shape[1:]) == tuple(stack.record.shape_in_file[1:]):
        y0, y1, x0, x1 = region
        mask = SliceView(mask, range(int(mask.shape[0])), (y0, y1, x0, x1))
    if tuple(int(n) for n in mask.shape) != (count, height, width):
        raise StackError(
            f"The damage mask has the shape {tuple(mask.shape)}, but the stack has {stack.shape}: give a mask of "
            "the stack's shape."
        )
    fractions: dict[str, float] = {}
    damaged_slices: set[int] = set()
    numbers = stack.numbers_in_file
    always = np.ones((height, width), dtype=bool)
    for index in range(count):
        damaged = np.asarray(mask[index]) != 0
        always &= damaged
        if damaged.any():
            damaged_slices.add(index)
            fractions[str(numbers[index])] = round(float(damaged.mean()), 6)
    if always.any():
        raise StackError(
            f"{int(always.sum())} pixels are marked as damaged in every slice, so nothing can fill them: leave each "
            "undamaged in some slice."
        )
    if not fractions:
        return stack

    def filled(one: Stack, _: Progress) -> Stack:
        return replace(one, slices=_FilledSlices(one.slices, mask, one.z_nm, frozenset(damaged_slices)))

    return replace(
        on_each_channel(stack, filled), metadata=stack.noting(masked_fraction=fractions).metadata, damage=mask
    )


def read_damage_mask(path: str | Path, shape: tuple[int, int, int] | None = None) -> SliceSource:
    """A damage mask from a file, not zero where damaged; read lazily.

    Parameters
    ----------
    path : path
        An image of the stack's shape in any format that stacks are read from (painted, as a Labels layer saves it); or
        a ``.csv`` or ``.txt`` file of drawn rectangles, folds and tears, see :func:`read_drawn_damage`.
    shape : tuple of int, optional
        Slices, rows and columns of the stack's file; needed for drawn damage.

    Returns
    -------
    array-like
        ``(K, H, W)``.

    Raises
    ------
    StackFileError
        It cannot be read.
    StackError
        Damage is drawn outside the stack.
    """
    from ._drawn_damage import DRAWN_SUFFIXES, DrawnMask, read_drawn_damage
    from ._read import open_file
    from ._source import Selection

    path = Path(path)
    if path.suffix.lower() in DRAWN_SUFFIXES:
        shapes = read_drawn_damage(path)
        if shape is None:
            raise StackError(f"{path.name} holds drawn damage: give the stack's shape with it.")
        return DrawnMask(shapes, shape)
    try:
        return open_file(path, Selection(channel=0)).slices
    except StackError as error:
        raise StackFileError(
            f"The damage mask {path} cannot be read ({error}): give an image of the stack's shape, or a .csv or .txt "
            "of drawn shapes."
        ) from error


def _is_rectangles(damage: object) -> TypeGuard[Sequence[DamagedRectangle]]:
    return isinstance(damage, Sequence) and all(isinstance(item, DamagedRectangle) for item in damage)


def _from_rectangles(rectangles: Sequence[DamagedRectangle], shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    count, height, width = shape
    for item in rectangles:
        if not (0 <= item.slice_index < count and 0 <= item.y0 < item.y1 <= height and 0 <= item.x0 < item.x1 <= width):
            raise StackError(f"{item} does not lie within a stack of {count} x {height} x {width}.")
        mask[item.slice_index, item.y0 : item.y1, item.x0 : item.x1] = True
    return mask


class _FilledSlices(WholeSliceFilter):
    """Slices with their damaged pixels interpolated along z."""

    def __init__(self, source: Any, mask: Any, z_nm: NDArray[np.float64], damaged: frozenset[int]) -> None:
        super().__init__(source)
        self._mask, self._z_nm, self._damaged = mask, z_nm, damaged

    def filtered(self, plane: NDArray[Any], index: int) -> NDArray[np.float64]:
        out = plane.astype(np.float64)
        if index not in self._damaged:
            return out
        wanted = np.asarray(self._mask[index]) != 0
        below, below_z = self._nearest(index, wanted, -1)
        above, above_z = self._nearest(index, wanted, 1)
        here = self._z_nm[index]
        # Where one side has no good pixel (its depth is infinite) the other side counts alone.
        weight = np.where(np.isinf(below_z), 1.0, 0.0)
        both = np.isfinite(below_z) & np.isfinite(above_z)
        weight[both] = (here - below_z[both]) / (above_z[both] - below_z[both])
        out[wanted] = (1 - weight) * below + weight * above
        return out

    def _nearest(
        self, index: int, wanted: NDArray[np.bool_], step: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values and depths of the nearest good pixels on one side, for the wanted pixels."""
        values = np.zeros(int(wanted.sum()))
        depths = np.full(len(values), step * np.inf)
        missing = np.ones(len(values), dtype=bool)
        k = index + step
        while missing.any() and 0 <= k < self._shape[0]:
            good = missing.copy()
            if k in self._damaged:
                good &= ~(np.asarray(self._mask[k])[wanted] != 0)
            if good.any():
                values[good] = np.asarray(self._source[k])[wanted][good]
                depths[good] = self._z_nm[k]
                missing &= ~good
            k += step
        return values, depths
