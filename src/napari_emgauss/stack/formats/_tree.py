"""Finding the stack, and its voxel size, among the arrays of an HDF5 or Zarr file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from napari_emgauss._errors import StackError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack._size_rules import without_unit
from napari_emgauss.stack._voxel_size import VoxelSize, nm_per_unit

# Last parts of the paths under which people keep grey values, as opposed to labels and masks.
_USUAL_NAMES = ("raw", "data", "image", "images", "volume", "exported_data", "em", "main", "s0", "0")
# Attributes that hold a voxel size (z, y, x), and the unit that their name says.
_SIZE_ATTRIBUTES = {
    "element_size_um": "um",  # ilastik, the HDF5 plugin of Fiji, PlantSeg
    "voxel_size_nm": "nm",
    "voxel_size": "",
    "resolution": "",  # CREMI, SNEMI
    "pixel_size": "",
}
_UNIT_ATTRIBUTES = ("units", "unit", "resolution_unit", "voxel_size_unit")
TELLING_ATTRIBUTES = (*_SIZE_ATTRIBUTES, *_UNIT_ATTRIBUTES)
"""Every attribute that :func:`voxel_size_of_attributes` looks at."""


@dataclass(frozen=True)
class Candidate:
    """An array of a file that might be the stack."""

    path: str
    shape: tuple[int, ...]
    dtype: Any


def choose_array(candidates: Sequence[Candidate], wanted: str | int | None, name: str) -> str:
    """Path of the array to read.

    Raises
    ------
    StackError
        There is none, or several and none is asked for.
    """
    if wanted is not None:
        path = str(wanted).strip("/")
        if path not in {candidate.path for candidate in candidates}:
            raise StackError(f"There is no array {wanted} in {name}: it holds {_listed(candidates)}.")
        return path
    fitting = [
        c
        for c in finest_only(candidates)
        if np.dtype(c.dtype).kind in "iuf" and 3 <= len(c.shape) <= 5 and max(c.shape) > 3
    ]
    if not fitting:
        raise StackError(f"{name} holds no stack: its arrays are {_listed(candidates)}.")
    usual = [c for c in fitting if c.path.rsplit("/", 1)[-1].lower() in _USUAL_NAMES]
    for group in (fitting, usual):
        if len(group) == 1:
            return group[0].path
    largest = max(prod(c.shape) for c in fitting)
    first = [c for c in fitting if prod(c.shape) == largest]
    if len(first) == 1:
        return first[0].path
    raise StackError(
        f"{name} holds several arrays, {_listed(fitting)}", remedy=remedy("choose dataset", example=first[0].path)
    )


def _may_be_stack(candidate: Candidate) -> bool:
    kept = [size for size in candidate.shape if size != 1]
    return np.dtype(candidate.dtype).kind in "iuf" and 3 <= len(kept) <= 5 and max(kept) > 3


def _listed(candidates: Sequence[Candidate]) -> str:
    names = [f"{c.path} {c.shape}" for c in candidates[:6]]
    more = len(candidates) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "") if names else "none"


def voxel_size_of_attributes(attributes: Mapping[str, Any], source: str) -> VoxelSize:
    """A voxel size kept in one of the usual attributes; unknown when there is none.

    Lists are ``(z, y, x)`` like the array. A unit attribute counts for all of them, or has one for each; without one
    the rules for numbers without a unit hold.
    """
    for name, unit_of_name in _SIZE_ATTRIBUTES.items():
        if name not in attributes:
            continue
        try:
            sizes = [float(size) for size in np.asarray(attributes[name], dtype=np.float64).ravel()[-3:]]
        except (TypeError, ValueError):
            continue
        if len(sizes) != 3:
            continue
        told = next((attributes[key] for key in _UNIT_ATTRIBUTES if key in attributes), None)
        units = [unit_of_name] * 3 if unit_of_name else _three_units(told)
        if units is None:
            return without_unit(sizes, source, usual="nm")
        factors = [nm_per_unit(unit) for unit in units]
        if any(factor is not None for factor in factors):
            z, y, x = (None if f is None else size * f for size, f in zip(sizes, factors, strict=True))
            return VoxelSize(z, y, x, source=source)
    return VoxelSize()


def _three_units(told: Any) -> list[str] | None:
    """Units of the last three axes, from one for all or a list; None where nothing is said."""
    if isinstance(told, (list, tuple, np.ndarray)):
        listed = [_text(unit) for unit in np.asarray(told).ravel().tolist()]
        return listed[-3:] if len(listed) >= 3 else (listed * 3 if len(listed) == 1 else None)
    return None if told is None or not _text(told) else [_text(told)] * 3


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def finest_only(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The arrays without the coarser levels ``s1``, ``s2``, ... of a pyramid whose ``s0`` is there."""
    paths = {candidate.path for candidate in candidates}

    def is_coarser(path: str) -> bool:
        folder, _, name = path.rpartition("/")
        level = name.removeprefix("s")
        return name != level and level.isdecimal() and int(level) > 0 and f"{folder}/s0".lstrip("/") in paths

    return [candidate for candidate in candidates if not is_coarser(candidate.path)]
