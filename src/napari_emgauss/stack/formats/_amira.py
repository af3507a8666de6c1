"""AmiraMesh files (``.am``) of Amira and Avizo: bytes in either order, text, run-length coded or zipped bytes."""

from __future__ import annotations

import math
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._array_slices import ArraySlices
from napari_emgauss.stack._size_rules import without_unit
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize, nm_per_unit

from ._amira_header import AmiraField, AmiraHeader, read_amira_header
from ._tree import Candidate, choose_array

_SOURCE = "AmiraMesh bounding box"
# How many bytes one may stand for: Deflate's limit, and a run's.
_MOST_PACKED = {"HxZip": 1032, "HxByteRLE": 64}
# What is unpacked goes to a temporary file when it is larger.
_IN_MEMORY_BYTES = 256 << 20
_READ_BYTES = 4 << 20


def open_amira(path: Path, selection: Selection) -> OpenedFile:
    """Open a field of voxels: the one asked for by its name, or the only one.

    Raises
    ------
    StackFileError
        Damaged, cut off, or of another format.
    StackError
        No grey values in it, or several fields and none chosen.
    """
    header = read_amira_header(path)
    lattices = [field for field in header.fields if field.place == "Lattice" and len(field.shape) == 3]
    if not lattices:
        raise StackError(f"{path.name} holds no voxels (a surface, lines or points?): only lattices are read.")
    chosen = choose_array([Candidate(f.name, f.shape, f.dtype) for f in lattices], selection.dataset, path.name)
    field = next(field for field in lattices if field.name == chosen)
    if field.values > 1 or field.dtype.kind == "c":
        kind = "complex values" if field.dtype.kind == "c" else f"{field.values} values for each voxel"
        raise StackError(f"{path.name} holds {kind}, not grey values: convert it in Amira first.")
    offset = header.offset_of(field, path)
    check_length(field, offset, path)
    slices = ArraySlices(_array, (path, field, offset), selection, "ZYX", path.name)
    size, note = _voxel_size(header, field.shape)
    metadata = {"dataset": chosen} if len(lattices) > 1 else {}
    return OpenedFile(slices, size, "AmiraMesh", (note,) if note else (), metadata=metadata)


def check_length(field: AmiraField, offset: int, path: Path) -> None:
    """Refuse a field that the file cannot hold, before memory is taken for it.

    Raises
    ------
    StackFileError
    """
    count, there = math.prod(field.shape), path.stat().st_size - offset
    # A number as text has at least one digit and what parts it from the next.
    least = 2 * count - 1 if field.length < 0 else field.length
    most = count * field.dtype.itemsize
    if field.coding and field.coding not in _MOST_PACKED:
        raise StackFileError(
            f"{path.name} is compressed as {field.coding}, which is not supported: save it uncompressed in Amira."
        )
    if field.coding == "HxByteRLE" and field.dtype.itemsize > 1:
        raise StackFileError(f"{path.name} holds run-length coded {field.dtype} values: save it uncompressed in Amira.")
    if count < 1 or least > there or (field.coding and most > field.length * _MOST_PACKED[field.coding]):
        raise StackFileError(f"{path.name} is cut off: it does not hold the {count} values it claims.")


def _array(path: Path, field: AmiraField, offset: int) -> NDArray[Any]:
    """``(Z, Y, X)``: a memory map, or what was unpacked."""
    if field.length < 0:
        return _from_text(path, field, offset)
    if not field.coding:
        return np.memmap(path, field.dtype, "r", offset, field.shape)
    values = _room(math.prod(field.shape) * field.dtype.itemsize)
    filled = 0
    for part in _unzipped(path, field, offset) if field.coding == "HxZip" else _runs(path, field, offset):
        if filled + len(part) > values.size:
            filled = -1
            break
        values[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
        filled += len(part)
    if filled != values.size:
        raise StackFileError(
            f"{path.name} is damaged: it does not decompress to the {math.prod(field.shape)} values claimed."
        )
    return values.view(field.dtype).reshape(field.shape)


def _room(count: int) -> NDArray[np.uint8]:
    if count <= _IN_MEMORY_BYTES:
        return np.empty(count, np.uint8)
    with tempfile.TemporaryFile() as file:  # the map keeps it until nobody looks any more
        return np.memmap(file, np.uint8, "w+", shape=(count,))


def _packed(path: Path, field: AmiraField, offset: int) -> Any:
    with path.open("rb") as file:
        file.seek(offset)
        left = field.length
        while left > 0 and (part := file.read(min(_READ_BYTES, left))):
            left -= len(part)
            yield part


def _unzipped(path: Path, field: AmiraField, offset: int) -> Any:
    stream = zlib.decompressobj()
    try:
        for part in _packed(path, field, offset):
            while part:
                yield stream.decompress(part, _READ_BYTES)
                part = stream.unconsumed_tail
        yield stream.flush()
    except zlib.error as error:
        raise StackFileError(f"{path.name} is damaged: {error}.") from error


def _runs(path: Path, field: AmiraField, offset: int) -> Any:
    """A count and a value to repeat, or a count with its highest bit set and so many values."""
    packed = b"".join(_packed(path, field, offset))
    at, out = 0, bytearray()
    while at + 1 < len(packed):
        count = packed[at]
        if count & 0x80:
            count &= 0x7F
            out += packed[at + 1 : at + 1 + count]
            at += 1 + count
        else:
            out += packed[at + 1 : at + 2] * count
            at += 2
        if len(out) > _READ_BYTES:
            yield out
            out = bytearray()
    yield out


def _from_text(path: Path, field: AmiraField, offset: int) -> NDArray[Any]:
    with path.open("rb") as file:
        file.seek(offset)
        text = file.read()
    end = text.find(b"\n@")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what is no number is only warned of
            numbers = np.fromstring((text if end < 0 else text[:end]).decode("latin-1"), np.float64, sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise StackFileError(f"{path.name} is damaged: its text is not all numbers.") from error
    if numbers.size != math.prod(field.shape):
        raise StackFileError(
            f"{path.name} is cut off: it holds {numbers.size} of the {math.prod(field.shape)} values it claims."
        )
    dtype = field.dtype.newbyteorder("=")
    with np.errstate(invalid="ignore"):
        exact = dtype.kind == "f" or np.array_equal(numbers.astype(dtype), numbers)
    if not exact:
        raise StackFileError(f"{path.name} is damaged: it holds numbers that are not {dtype}.")
    return numbers.astype(dtype).reshape(field.shape)


def _voxel_size(header: AmiraHeader, shape: tuple[int, ...]) -> tuple[VoxelSize, str]:
    """From the centres of the first and last voxel."""
    box = header.bounding_box
    kind = header.quoted("CoordType") or "uniform"
    if kind.lower() != "uniform":
        return VoxelSize(), f"the file's coordinates are {kind}, not uniform: its voxel size is not used"
    if len(box) != 6:
        return VoxelSize(), ""
    ends = ((box[4], box[5]), (box[2], box[3]), (box[0], box[1]))
    steps = [abs(last - first) / (n - 1) if n > 1 else None for (first, last), n in zip(ends, shape, strict=True)]
    unit = header.quoted("Coordinates")
    if not unit:
        return without_unit(steps, _SOURCE), ""
    factor = nm_per_unit(unit)
    if factor is None:
        return VoxelSize(), f"the file's unit of length, {unit!r}, is unknown: its voxel size is not used"
    z, y, x = (None if step is None else step * factor for step in steps)
    return VoxelSize(z, y, x, source=_SOURCE), ""
