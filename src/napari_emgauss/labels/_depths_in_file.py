"""Where the file of a volume says that its slices lie."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._container import depths_in_zarr

_POSITION = re.compile(r'\bPositionZ="([^"]+)"')
_UNIT = re.compile(r'\bPositionZUnit="([^"]+)"')


def depths_in_file(path: str | os.PathLike[str], count: int) -> NDArray[np.float64] | None:
    """Depths, nm, of the slices of a volume, as the OME-TIFF and OME-Zarr files say them that an export writes.

    Parameters
    ----------
    path : path
        Of the volume.
    count : int
        How many slices it has.

    Returns
    -------
    ndarray or None
        ``(count,)``, increasing; None where the file does not say it.
    """
    path = Path(path)
    if path.is_dir():
        return depths_in_zarr(path, count)
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            text = file.ome_metadata or ""
        depths = np.array([float(value) for value in _POSITION.findall(text)])
    except (OSError, ValueError, tifffile.TiffFileError):
        return None
    if len(depths) != count or set(_UNIT.findall(text)) != {"nm"} or (np.diff(depths) <= 0).any():
        return None
    return depths
