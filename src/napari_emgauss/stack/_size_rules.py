"""Which voxel sizes are believed: one set of rules for every reader, for layers and for the command line.

What a file says of its voxel size is wrong more often than anything else in it: a printer's 72 dpi, a z step in another
unit than the pixels, numbers without a unit. A size that cannot be is not taken: it is asked about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from napari_emgauss._errors import VoxelSizeError
from napari_emgauss._remedies import remedy

from ._voxel_size import VoxelSize

SMALLEST_NM, LARGEST_NM = 0.05, 1e6
"""Less than an atom, more than any section: such a size is asked about."""
SMALLEST_ANISOTROPY, LARGEST_ANISOTROPY = 0.2, 200.0
"""Distance between slices over the pixel size; beyond, one of the two has another unit."""
# Nothing is cut or milled thinner: a smaller number without a unit is no number of nm.
_THINNEST_SECTION_NM = 1.0
_NM_PER_INCH = 2.54e7
# Dots per inch that scanners, printers and screens have, and that programs write where nobody measured anything. Those
# that make a round number of µm (254, 508, 2540) are left out: people mean them.
_PRINTERS = frozenset(
    {50, 60, 72, 75, 90, 96, 100, 120, 144, 150, 160, 180, 192, 200, 220, 240, 250, 266, 288, 300, 320, 350}
) | frozenset({360, 400, 450, 480, 500, 600, 720, 800, 1000, 1200, 1440, 2400, 4800})


def checked_voxel_size(size: VoxelSize) -> VoxelSize:
    """A voxel size without what cannot be: doubtful sizes become unknown, and ``doubt`` says why.

    Parameters
    ----------
    size : VoxelSize
        As a file or a layer says it.
    """
    if size.doubt:
        return size
    pixel = [s for s in (size.y_nm, size.x_nm) if s is not None]
    known = [s for s in (size.z_nm, *pixel) if s is not None]
    dpi = _printer(pixel)
    if dpi is not None:
        return _doubted(size, f"{dpi} dots per inch, which is a printer's resolution")
    for name in ("z_nm", "y_nm", "x_nm"):
        one = getattr(size, name)
        if one is not None and not SMALLEST_NM <= one <= LARGEST_NM:
            what = "smaller than an atom" if one < SMALLEST_NM else "more than a millimetre"
            return _doubted(size, f"{size}, of which {name[0]} is {what}")
    if size.z_nm is not None and pixel:
        factor = size.z_nm / (sum(pixel) / len(pixel))
        if not SMALLEST_ANISOTROPY <= factor <= LARGEST_ANISOTROPY:
            return _doubted(size, f"{size}, slices {factor:.3g} pixels apart, as if z were in another unit")
    return size if known else VoxelSize()


def without_unit(sizes: Sequence[float | None], source: str, *, usual: str = "") -> VoxelSize:
    """A voxel size ``(z, y, x)`` whose numbers have no unit.

    Numbers that make sense as µm alone are taken as µm, and ``assumed`` says so. Others are taken in the unit that is
    usual in such files, or where there is none, they are unknown.

    Parameters
    ----------
    sizes : sequence of float or None
        ``(z, y, x)``.
    source : str
        Where they are from, for people.
    usual : {"", "nm"}
        The unit that files of this kind usually mean.
    """
    z, y, x = sizes
    as_nm = VoxelSize(z, y, x, source)
    thin = as_nm.z_nm is not None and as_nm.z_nm < _THINNEST_SECTION_NM
    if as_nm == VoxelSize(source=source):
        return VoxelSize()
    in_nm = not checked_voxel_size(as_nm).doubt and not thin
    as_um = _in_micrometres(as_nm)
    in_um = not checked_voxel_size(as_um).doubt
    if not in_nm and in_um:
        numbers = " x ".join("?" if one is None else f"{one:g}" for one in (z, y, x))
        return replace(as_um, assumed=f"the voxel size {numbers} has no unit and is taken as \u00b5m: {as_um}")
    if usual:
        return as_nm
    return replace(VoxelSize(source=source), doubt=f"{as_nm}".replace(" nm", "") + " without a unit")


def check_given(size: VoxelSize) -> None:
    """Refuse a size that somebody typed in another unit than nm.

    Large ones pass, for there are sections of millimetres; nothing is smaller than an atom.

    Raises
    ------
    VoxelSizeError
    """
    known = [s for s in (size.z_nm, size.y_nm, size.x_nm) if s is not None]
    if known and min(known) < SMALLEST_NM:
        as_um = _in_micrometres(size)
        meant = "" if checked_voxel_size(as_um).doubt else f" (in \u00b5m this would be {as_um})"
        raise VoxelSizeError(f"The voxel size {size} is smaller than an atom{meant}", remedy=remedy("give voxel size"))


def _in_micrometres(size: VoxelSize) -> VoxelSize:
    """The same numbers, read as µm."""
    z, y, x = (None if one is None else 1e3 * one for one in (size.z_nm, size.y_nm, size.x_nm))
    return VoxelSize(z, y, x, size.source)


def _printer(pixel: Sequence[float]) -> int | None:
    """Dots per inch, where the pixels are those of a printer or screen."""
    if not pixel:
        return None
    found = {round(_NM_PER_INCH / one) for one in pixel}
    dpi = next(iter(found))
    exact = all(math.isclose(_NM_PER_INCH / one, dpi, rel_tol=2e-4) for one in pixel if dpi)
    return dpi if len(found) == 1 and dpi in _PRINTERS and exact else None


def _doubted(size: VoxelSize, why: str) -> VoxelSize:
    return replace(VoxelSize(source=size.source), doubt=why)
