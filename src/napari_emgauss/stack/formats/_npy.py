"""NumPy .npy files, memory-mapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackFileError
from napari_emgauss.stack._array_slices import ArraySlices, guess_axes
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize


def open_npy(path: Path, selection: Selection) -> OpenedFile:
    """Open a ``.npy`` file; it says nothing of the voxel size.

    Raises
    ------
    StackFileError
        Not such a file, truncated, or of Python objects (which are never loaded).
    """
    shape = _map(path).shape
    slices = ArraySlices(_map, (path,), selection, guess_axes(shape), path.name)
    notes = (slices.note,) if slices.note else ()
    return OpenedFile(slices, VoxelSize(), "NumPy", notes, channels=slices.channels)


def _map(path: Path) -> NDArray[Any]:
    try:
        # Not np.load, which also opens archives of arrays.
        array = np.lib.format.open_memmap(path, mode="r")
    except PermissionError:
        raise
    except Exception as error:
        raise StackFileError(
            f"{path.name} cannot be read as a NumPy array: it is damaged or not a plain .npy file."
        ) from error
    if array.ndim < 2:
        raise StackFileError(f"{path.name} is not a stack: it has {array.ndim} axes.")
    return array
