"""MRC volumes, memory-mapped through mrcfile."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError

from ._array_slices import ArraySlices
from ._source import OpenedFile, Selection
from ._voxel_size import VoxelSize

_ANGSTROM_PER_NM = 10.0
# IMOD marks its files with this number at byte 152; without bit 0 of the next word its bytes are unsigned.
_IMOD_STAMP = 1146047817


def open_mrc(path: Path, selection: Selection) -> OpenedFile:
    """Open an MRC volume or image stack.

    Raises
    ------
    StackFileError
        Not an MRC file, or a truncated one.
    """
    header = _header(path)
    slices = ArraySlices(_map, (path,), selection, "ZYX" if int(header.nz) > 1 else "YX", path.name)
    sizes = []
    for axis, intervals in (("z", "mz"), ("y", "my"), ("x", "mx")):
        cells = int(header[intervals])
        sizes.append(float(header.cella[axis]) / cells / _ANGSTROM_PER_NM if cells > 0 else None)
    # mz is 1 in image stacks: the cell then is one slice thick.
    voxel_size = VoxelSize(sizes[0], sizes[1], sizes[2], source="MRC header")
    known = any((voxel_size.z_nm, voxel_size.y_nm, voxel_size.x_nm))
    return OpenedFile(slices, voxel_size if known else VoxelSize(), "MRC")


def _header(path: Path) -> Any:
    import mrcfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with mrcfile.open(path, mode="r", permissive=True, header_only=True) as file:
                header = file.header
                if header is None:
                    raise ValueError("no header")
                return header
    except (StackError, KeyboardInterrupt):
        raise
    except Exception as error:  # a broken header fails in many ways
        raise StackFileError(
            f"{path.name} cannot be read as an MRC file: it is damaged, or of another format."
        ) from error


def _map(path: Path) -> NDArray[Any]:
    from mrcfile.utils import data_dtype_from_header, data_shape_from_header

    header = _header(path)
    try:
        dtype = data_dtype_from_header(header)
        shape = data_shape_from_header(header)
    except Exception as error:
        raise StackFileError(
            f"{path.name} is no MRC file of grey values: its type {header.mode} is not known."
        ) from error
    offset = header.nbytes + int(header.nsymbt)
    wanted, actual = offset + int(np.prod(shape, dtype=np.float64)) * dtype.itemsize, path.stat().st_size
    if min(shape) < 1 or int(header.nsymbt) < 0:
        raise StackFileError(f"{path.name} is damaged: its header claims the shape {shape}.")
    if wanted > actual:
        raise StackFileError(
            f"{path.name} is truncated: its header claims {wanted / 1e6:,.1f} MB, the file has {actual / 1e6:,.1f} MB."
        )
    with path.open("rb") as file:
        file.seek(152)
        stamp, flags = np.frombuffer(file.read(8), header.mode.dtype)
    if dtype.name == "int8" and stamp == _IMOD_STAMP and not flags & 1:
        dtype = np.dtype(np.uint8)
    return np.memmap(path, dtype, "r", offset, shape)
