"""Voxel size: what a file says, in which unit, and what is still unknown."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_emgauss._errors import UnknownVoxelSizeError, VoxelSizeError
from napari_emgauss._remedies import remedy

_NM_PER_UNIT = {
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
    "cm": 1e7,
    "centimeter": 1e7,
    "centimetre": 1e7,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "um": 1e3,
    "\u00b5m": 1e3,  # micro sign
    "\u03bcm": 1e3,  # Greek mu
    "micron": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "\u00e5": 0.1,  # A with ring, lower case
    "angstrom": 0.1,
    "\u00e5ngstr\u00f6m": 0.1,
    "pm": 1e-3,
    "picometer": 1e-3,
    "picometre": 1e-3,
    "inch": 2.54e7,
    "in": 2.54e7,
}


def nm_per_unit(unit: str | None) -> float | None:
    r"""How many nm one ``unit`` of length is; None when it is no length (``pixel``) or not known.

    Understands OME, ImageJ, NGFF and SI spellings, singular and plural, and ImageJ's escaped ``\u00B5m``.
    """
    if unit is None:
        return None
    # NFKC turns the Angstrom sign U+212B into the letter; ImageJ escapes what is not ASCII.
    text = unit.strip().replace("\\u00B5", "\u00b5").replace("\\u00b5", "\u00b5").replace("\\u00C5", "\u00c5")
    text = unicodedata.normalize("NFKC", text).lower() if text != "\u00b5m" else text
    for spelling in (text, text.removesuffix("s")):
        if spelling in _NM_PER_UNIT:
            return _NM_PER_UNIT[spelling]
    return None


def to_nm(value: float, unit: str) -> float:
    """A length in ``unit`` as nm.

    Raises
    ------
    VoxelSizeError
        The unit is not one of length.
    """
    factor = nm_per_unit(unit)
    if factor is None:
        raise VoxelSizeError(f"{unit!r} is not a unit of length: use m, mm, \u00b5m, nm, pm or \u00c5.")
    return float(value) * factor


def _positive(value: float | None) -> float | None:
    """A size as it is, or None when it cannot be one: files write 0, NaN or -1 where nothing is known."""
    if value is None or not math.isfinite(value) or value <= 0:
        return None
    return float(value)


@dataclass(frozen=True)
class VoxelSize:
    """Voxel size in nm, where known.

    Parameters
    ----------
    z_nm, y_nm, x_nm : float or None
        Distance between slices and pixel size; None where unknown.
    source : str
        Where it is from, for people: ``"OME metadata"``, ``"ImageJ metadata"``, ``"argument"``, ``"unknown"``.
    doubt : str
        What the file says and nobody should believe, for people; the sizes are then None.
    assumed : str
        What had to be assumed, for people.
    """

    z_nm: float | None = None
    y_nm: float | None = None
    x_nm: float | None = None
    source: str = "unknown"
    doubt: str = ""
    assumed: str = ""

    def __post_init__(self) -> None:
        for name in ("z_nm", "y_nm", "x_nm"):
            object.__setattr__(self, name, _positive(getattr(self, name)))

    @property
    def complete(self) -> bool:
        """True when all three sizes are known."""
        return None not in (self.z_nm, self.y_nm, self.x_nm)

    def __str__(self) -> str:
        parts = ("?" if size is None else f"{size:.6g}" for size in (self.z_nm, self.y_nm, self.x_nm))
        return f"{' x '.join(parts)} nm (z, y, x)"


def voxel_size_from_argument(voxel_size_nm: Sequence[float]) -> VoxelSize:
    """Three positive numbers ``(z, y, x)`` in nm, given by the user.

    Raises
    ------
    VoxelSizeError
        Not three, or not positive.
    """
    try:
        sizes = [float(size) for size in voxel_size_nm]
    except (TypeError, ValueError) as error:
        raise VoxelSizeError("The voxel size must be three numbers (z, y, x) in nm.") from error
    if len(sizes) != 3:
        raise VoxelSizeError(f"The voxel size must be three numbers (z, y, x) in nm; {len(sizes)} were given.")
    if not all(math.isfinite(size) and size > 0 for size in sizes):
        raise VoxelSizeError(f"The voxel size must be positive, but it is {sizes} nm (z, y, x).")
    return VoxelSize(sizes[0], sizes[1], sizes[2], source="argument")


def resolve_geometry(
    count: int, found: VoxelSize, z_positions_nm: ArrayLike | None, *, hint: str = ""
) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Depth of each of ``count`` slices and the pixel size ``(y, x)``, in nm.

    ``hint`` is a half-sentence on what the file says, for the message when something is missing.

    Raises
    ------
    VoxelSizeError
        Something is unknown, or the depths do not fit the slices.
    """
    if found.y_nm is None or found.x_nm is None or (found.z_nm is None and z_positions_nm is None):
        missing = "z step" if None not in (found.y_nm, found.x_nm) else "voxel size"
        known = f" (known: {found})" if any((found.z_nm, found.y_nm, found.x_nm)) else ""
        if found.doubt:
            known = f" (its {found.source} says {found.doubt})"
        raise UnknownVoxelSizeError(
            f"The {missing} is unknown{hint}{known}", remedy=remedy("give voxel size"), doubt=found.doubt
        )
    if z_positions_nm is None:
        step = float(found.z_nm or 0.0)
        z_nm = np.arange(count, dtype=np.float64) * step
    else:
        z_nm = np.asarray(z_positions_nm, dtype=np.float64)
        if z_nm.shape != (count,):
            raise VoxelSizeError(f"{z_nm.size} z positions were given for {count} slices: give one for each slice.")
        if not np.isfinite(z_nm).all() or (np.diff(z_nm) <= 0).any():
            raise VoxelSizeError("The z positions must be finite numbers in nm that increase from slice to slice.")
    return z_nm, (found.y_nm, found.x_nm)


def check_anisotropic(z_nm: NDArray[np.float64], pixel_size_nm: tuple[float, float]) -> None:
    """Refuse a stack whose slices lie as close as its pixels: there is nothing to fill in.

    Raises
    ------
    VoxelSizeError
        The median z step is at most 1.02 pixels (2 % for voxel sizes rounded in the file).
    """
    step, pixel = float(np.median(np.diff(z_nm))), float(np.mean(pixel_size_nm))
    if step <= 1.02 * pixel:
        raise VoxelSizeError(
            f"The z step ({step:.4g} nm) is no larger than the pixel size ({pixel:.4g} nm), so this stack is isotropic "
            "already",
            remedy=remedy("accept isotropic"),
        )
