"""Depths of slices: from a file, or from a nominal thickness with exceptions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackFileError, VoxelSizeError

from ._voxel_size import to_nm


def read_z_positions(path: str | Path, *, unit: str = "nm") -> NDArray[np.float64]:
    """Depth of each slice from a text file.

    One depth a line; of lines with several columns (comma, semicolon, tab or blank between them) the last counts, so
    that ``slice, z`` tables can be given as they are. Empty lines, lines after ``#`` and one line of headings are
    passed over.

    Parameters
    ----------
    path : path
    unit : str
        Of the numbers.

    Returns
    -------
    ndarray
        ``(K,)`` float64, nm, increasing.

    Raises
    ------
    StackFileError
        The file is missing, or not a text of numbers.
    VoxelSizeError
        The depths do not increase.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StackFileError(
            f"The z positions {path} cannot be read: give a text file with one depth per line."
        ) from error
    depths: list[float] = []
    headings = 0
    for number, line in enumerate(lines, start=1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        last = [part for part in re.split(r"[,;\s]+", text) if part][-1:]
        try:
            depths.append(float(last[0]))
        except (ValueError, IndexError):
            headings += 1
            if depths or headings > 1:
                raise StackFileError(f"Line {number} of {path.name} is not a depth: {text[:40]!r}.") from None
    z_nm = np.array(depths, dtype=np.float64) * to_nm(1.0, unit)
    if len(z_nm) < 2:
        raise StackFileError(f"{path.name} holds {len(z_nm)} depths: give one for each slice.")
    if not np.isfinite(z_nm).all() or (np.diff(z_nm) <= 0).any():
        wrong = int(np.argmin(np.diff(z_nm) > 0)) + 1
        raise VoxelSizeError(
            f"The depths in {path.name} must increase from slice to slice; that of slice {wrong} does not."
        )
    return z_nm


def z_from_thickness(
    count: int, thickness_nm: float, overrides: Mapping[int, float] | None = None
) -> NDArray[np.float64]:
    """Depths of slices that are ``thickness_nm`` apart, but for some.

    Parameters
    ----------
    count : int
        Slices.
    thickness_nm : float
        Nominal distance from a slice to the next.
    overrides : mapping of int to float, optional
        Slice -> its own distance to the next one, nm.

    Returns
    -------
    ndarray
        ``(count,)``, nm, from 0.

    Raises
    ------
    VoxelSizeError
        A thickness is not positive, or of a slice that is not there.
    """
    steps = np.full(max(count - 1, 0), float(thickness_nm))
    for index, own in (overrides or {}).items():
        if not 0 <= index < count - 1:
            raise VoxelSizeError(f"There is no slice after slice {index}: the stack has {count} slices.")
        steps[index] = own
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise VoxelSizeError("Every distance between slices must be a positive number of nm.")
    return np.concatenate([[0.0], np.cumsum(steps)])
