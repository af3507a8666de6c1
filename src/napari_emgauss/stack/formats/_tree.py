"""Finding the stack, and its voxel size, among the arrays of an HDF5 or Zarr file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from napari_emgauss._errors import StackError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack._voxel_size import VoxelSize, nm_per_unit

# Last parts of the paths under which people keep grey values, as opposed to labels and masks.
_USUAL_NAMES = ("raw", "data", "image", "images", "volume", "exported_data", "em", "main", "s0", "0")
# Attributes that hold a voxel size (z, y, x), and the unit they are in where no other attribute tells.
_SIZE_ATTRIBUTES = {
    "element_size_um": "um",  # ilastik, the HDF5 plugin of Fiji, PlantSeg
    "voxel_size_nm": "nm",
    "voxel_size": "nm",
    "resolution": "nm",  # CREMI, SNEMI
    "pixel_size": "nm",
}
_UNIT_ATTRIBUTES = ("units", "unit", "resolution_unit", "voxel_size_unit")


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
    fitting = [c for c in candidates if np.dtype(c.dtype).kind in "iuf" and 3 <= len(c.shape) <= 5 and max(c.shape) > 3]
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


def _listed(candidates: Sequence[Candidate]) -> str:
    names = [f"{c.path} {c.shape}" for c in candidates[:6]]
    more = len(candidates) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "") if names else "none"


def voxel_size_of_attributes(attributes: Mapping[str, Any], source: str) -> VoxelSize:
    """A voxel size kept in one of the usual attributes; unknown when there is none.

    Lists are ``(z, y, x)`` like the array; a unit attribute counts for all of them, except for ``element_size_um``.
    """
    for name, usual_unit in _SIZE_ATTRIBUTES.items():
        if name not in attributes:
            continue
        try:
            sizes = np.asarray(attributes[name], dtype=np.float64).ravel()[-3:]
        except (TypeError, ValueError):
            continue
        unit: Any = usual_unit
        if not name.endswith(("_um", "_nm")):
            unit = next((attributes[key] for key in _UNIT_ATTRIBUTES if key in attributes), usual_unit)
        if isinstance(unit, (list, tuple, np.ndarray)):
            unit = unit[-1] if len(unit) else usual_unit
        factor = nm_per_unit(unit.decode() if isinstance(unit, bytes) else str(unit))
        if len(sizes) == 3 and factor is not None:
            z, y, x = (float(size) * factor for size in sizes)
            return VoxelSize(z, y, x, source=source)
    return VoxelSize()
