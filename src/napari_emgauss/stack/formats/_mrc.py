"""MRC volumes, memory-mapped."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackFileError
from napari_emgauss.stack._array_slices import ArraySlices
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize

_ANGSTROM_PER_NM = 10.0
# IMOD marks its files with this number at byte 152; without bit 0 of the next word its bytes are unsigned.
_IMOD_STAMP = 1146047817
# MRC2014 modes of grey values; complex ones are left out.
_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


def open_mrc(path: Path, selection: Selection) -> OpenedFile:
    """Open an MRC volume or image stack.

    Raises
    ------
    StackFileError
        Not an MRC file, or a truncated one.
    """
    header = _header(path)
    slices = ArraySlices(_map, (path,), selection, "ZYX", path.name)
    sizes = []
    for axis, intervals in (("z", "mz"), ("y", "my"), ("x", "mx")):
        cells = int(header[intervals])
        sizes.append(float(header["cella"][axis]) / cells / _ANGSTROM_PER_NM if cells > 0 else None)
    # mz is 1 in image stacks: the cell then is one slice thick.
    voxel_size = VoxelSize(sizes[0], sizes[1], sizes[2], source="MRC header")
    known = any((voxel_size.z_nm, voxel_size.y_nm, voxel_size.x_nm))
    return OpenedFile(slices, voxel_size if known else VoxelSize(), "MRC")


def _header(path: Path) -> Any:
    """The 1024 bytes at the start, in the byte order the file says, or else in the one in which they make sense.

    Not through ``mrcfile.open``, which also reads the extended header, of whatever size a damaged file claims.
    """
    from mrcfile.dtypes import HEADER_DTYPE

    try:
        with path.open("rb") as file:
            data = file.read(HEADER_DTYPE.itemsize)
    except OSError as error:
        raise StackFileError(f"{path} cannot be opened: {error.strerror}.") from error
    if len(data) == HEADER_DTYPE.itemsize:
        for order in (">", "<") if data[212:214] == b"\x11\x11" else ("<", ">"):
            header = np.frombuffer(data, HEADER_DTYPE.newbyteorder(order))[0]
            plausible = min(header["nx"], header["ny"], header["nz"]) > 0 and header["nsymbt"] >= 0
            if plausible and int(header["mode"]) in _DTYPES:
                return header
    raise StackFileError(f"{path.name} cannot be read as an MRC file: it is damaged, or of another format.")


def _map(path: Path) -> NDArray[Any]:
    header = _header(path)
    dtype = np.dtype(_DTYPES[int(header["mode"])]).newbyteorder(header["nx"].dtype.byteorder)
    shape = (int(header["nz"]), int(header["ny"]), int(header["nx"]))
    offset = header.nbytes + int(header["nsymbt"])
    wanted, actual = offset + prod(shape) * dtype.itemsize, path.stat().st_size
    if wanted > actual:
        raise StackFileError(
            f"{path.name} is truncated: its header claims {wanted / 1e6:,.3f} MB, the file has {actual / 1e6:,.3f} MB."
        )
    with path.open("rb") as file:
        file.seek(152)
        stamp, flags = np.frombuffer(file.read(8), header["nx"].dtype)
    if dtype == np.int8 and stamp == _IMOD_STAMP and not flags & 1:
        dtype = np.dtype(np.uint8)
    return np.memmap(path, dtype, "r", offset, shape)
