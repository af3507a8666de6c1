"""NIfTI-1 and NIfTI-2 files through nibabel."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._array_slices import ArraySlices
from napari_emgauss.stack._size_rules import without_unit
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize, nm_per_unit

# Axes of a NIfTI file, first to last: the first three are of space, then time, then what kinds of values there are.
_AXES = "XYZTC"
# Deflate packs at most 1032 bytes into one.
_MOST_PACKED = 1032
# Of a compressed file so many slices are unpacked together: stepping back means starting over.
_UNPACKED_BYTES = 64 << 20


def open_nifti(path: Path, selection: Selection) -> OpenedFile:
    """Open a NIfTI image; its first three axes are x, y and z as they are stored, whatever the patient's side.

    Raises
    ------
    StackFileError
        Damaged, cut off, or of another format.
    StackError
        Colours or complex values.
    """
    try:
        array = NiftiArray(path)
    except (StackError, KeyboardInterrupt):
        raise
    except Exception as error:  # a broken file can fail anywhere
        raise StackFileError(f"{path.name} cannot be read as NIfTI: it is damaged or in another format.") from error
    header = array.header
    axes = _AXES[: len(array.shape)][::-1]
    slices = ArraySlices(NiftiArray, (path,), selection, axes, path.name)
    notes = [slices.note, array.note, _orientation(header)]
    return OpenedFile(
        slices, _voxel_size(header), "NIfTI", tuple(note for note in notes if note), channels=slices.channels
    )


class NiftiArray:
    """``(..., Z, Y, X)`` grey values, scaled as the header says.

    Raises
    ------
    StackError
        Colours or complex values.
    StackFileError
        The file is shorter than its header says.
    """

    def __init__(self, path: Path) -> None:
        import nibabel

        image = nibabel.load(path, mmap=True, keep_file_open=True)
        self.header = image.header
        self._values = image.dataobj
        self._lock = threading.Lock()  # a compressed file has one place where it is read
        stored = self.header.get_data_dtype()
        if stored.kind not in "iuf" or stored.itemsize > 8:
            raise StackError(f"{path.name} holds {_kind(stored)}, not grey values: convert it first.")
        shape = tuple(int(n) for n in self.header.get_data_shape())
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) not in (3, 4, 5) or min(shape) < 1:
            raise StackError(f"{path.name} is not a stack of slices: its shape is {shape}.")
        self.shape = shape[::-1]
        slope, intercept = float(self._values.slope), float(self._values.inter)
        self._is_scaled = (slope, intercept) != (1.0, 0.0)
        self.note = ""
        self.dtype = stored.newbyteorder("=")
        if self._is_scaled:
            self.note = (
                f"grey values are scaled as the header says: {slope:g} times the number stored, plus {intercept:g}"
            )
            small = stored.itemsize <= 2 or stored == np.float32
            self.dtype = np.dtype(np.float32 if small else np.float64)
        length = int(self._values.offset) + math.prod(shape) * stored.itemsize
        self.is_compressed = path.suffix.lower() == ".gz"
        if length > path.stat().st_size * (_MOST_PACKED if self.is_compressed else 1):
            raise StackFileError(f"{path.name} is cut off: it does not hold the {math.prod(shape)} values it claims.")
        plane = shape[0] * shape[1] * self.dtype.itemsize
        depth = min(shape[2], max(1, _UNPACKED_BYTES // plane)) if self.is_compressed else 1
        self.chunks = (*(1 for _ in shape[3:]), depth, shape[1], shape[0])

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        with self._lock:
            values = np.asarray(self._values[tuple(key[::-1]) + (0,) * (self._values.ndim - len(key))])
        return values.T.astype(self.dtype, copy=False)


def _kind(dtype: np.dtype[Any]) -> str:
    return "colours" if dtype.fields else "complex values" if dtype.kind == "c" else f"values of the type {dtype}"


def _voxel_size(header: Any) -> VoxelSize:
    x, y, z = (abs(float(size)) for size in header.get_zooms()[:3])
    # nibabel's own way to ask for the unit fails where a damaged header has a code that the format does not know.
    unit = {1: "meter", 2: "mm", 3: "micron"}.get(int(header["xyzt_units"]) % 8, "")
    factor = nm_per_unit({"micron": "um", "meter": "m"}.get(unit, unit))
    if factor is None:
        return without_unit((z, y, x), "NIfTI header")
    return VoxelSize(z * factor, y * factor, x * factor, source="NIfTI header")


def _orientation(header: Any) -> str:
    """What the file says of the patient's sides, which is told and not followed."""
    from nibabel import aff2axcodes

    if not (int(header["sform_code"]) or int(header["qform_code"])):
        return ""
    codes = "".join(str(code) for code in aff2axcodes(header.get_best_affine()) if code)
    return f"axes are taken in the order stored (x, y, z towards {codes}), not turned to the patient's"
