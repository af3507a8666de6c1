"""The header of an AmiraMesh file: which fields it has, of what type and size, and where their values start."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from napari_emgauss._errors import StackFileError

_TYPES = {"byte": "u1", "short": "i2", "ushort": "u2", "int": "i4", "float": "f4", "double": "f8", "complex": "c8"}
# The header names materials and keeps a history; far more than that is no header.
_LONGEST_HEADER = 32 << 20
_FIRST_LINE = re.compile(
    r"#\s*(?:AmiraMesh|Avizo|HyperMesh)\s+(?:3D\s+)?(ASCII|BINARY(?:-LITTLE-ENDIAN)?)", re.IGNORECASE
)
_DEFINE = re.compile(r"^[ \t]*define[ \t]+(\w+)((?:[ \t]+\d{1,9})+)", re.MULTILINE)
_FIELD = re.compile(
    r"^[ \t]*(\w+)[ \t]*\{\s*(\w+)(?:\[(\d{1,9})\])?\s+(\w+)\s*\}[ \t]*=?[ \t]*@(\d{1,9})(?:\((\w+),\s*(\d{1,18})\))?",
    re.MULTILINE,
)
_SECTION = re.compile(rb"[\r\n\s]*@(\d+)[ \t]*\r?\n")


@dataclass(frozen=True)
class AmiraField:
    """One array of the file.

    Parameters
    ----------
    name, place : str
        What it is called, and what it is defined on: ``Lattice`` for voxels.
    shape : tuple of int
        ``(Z, Y, X)`` of a lattice.
    dtype : numpy.dtype
        In the file's byte order.
    values : int
        How many each voxel has.
    section : int
        The number of the part of the file that holds it.
    coding : str
        ``""``, ``HxByteRLE`` or ``HxZip``.
    length : int
        Bytes in the file; -1 where they are text.
    """

    name: str
    place: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    values: int
    section: int
    coding: str
    length: int


@dataclass(frozen=True)
class AmiraHeader:
    """What an AmiraMesh file says of itself; ``start`` is where the first section's mark lies."""

    is_text: bool
    fields: tuple[AmiraField, ...]
    text: str
    start: int

    def quoted(self, name: str) -> str:
        """A parameter in quotation marks; empty where there is none."""
        found = re.search(rf'\b{name}\s+"([^"]*)"', self.text)
        return found[1] if found else ""

    @property
    def bounding_box(self) -> tuple[float, ...]:
        """Centres of the first and last voxel, ``x0 x1 y0 y1 z0 z1``; empty where there is none."""
        found = re.search(r"\bBoundingBox\s+((?:[^\s,]+\s+){5}[^\s,]+)", self.text)
        try:
            return tuple(float(number) for number in found[1].split()) if found else ()
        except ValueError:
            return ()

    def offset_of(self, field: AmiraField, path: Path) -> int:
        """Where the values of a field start.

        Raises
        ------
        StackFileError
            The sections do not follow each other as the header says.
        """
        ordered = sorted({other.section: other for other in self.fields}.values(), key=lambda other: other.section)
        with path.open("rb") as file:
            at = self.start
            for other in ordered:
                at = _section_at(file, at, other.section, path)
                if other.section == field.section:
                    return at
                at += other.length
        raise StackFileError(f"{path.name} is damaged: it has no section @{field.section}.")


def _section_at(file: BinaryIO, at: int, number: int, path: Path) -> int:
    file.seek(at)
    found = _SECTION.match(file.read(256))
    if found is None or int(found[1]) != number:
        raise StackFileError(f"{path.name} is damaged or cut off: its section @{number} is not where it should be.")
    return at + found.end()


def read_amira_header(path: Path) -> AmiraHeader:
    """Read the header.

    Raises
    ------
    StackFileError
        Of another format, or damaged.
    """
    with path.open("rb") as file:
        beginning = file.read(4096)
        kind = _FIRST_LINE.match(beginning.decode("latin-1"))
        if kind is None:
            raise StackFileError(f"{path.name} cannot be read as AmiraMesh: it is damaged or in another format.")
        while (end := _end_of_header(beginning)) < 0:
            more = file.read(1 << 20)
            if not more or len(beginning) > _LONGEST_HEADER:
                raise StackFileError(f"{path.name} is cut off: its header does not end.")
            beginning += more
    text = _decoded(beginning[:end])
    is_text = kind[1].upper() == "ASCII"
    order = "<" if kind[1].upper().endswith("LITTLE-ENDIAN") else ">"
    sizes = {name: tuple(int(n) for n in numbers.split()) for name, numbers in _DEFINE.findall(text)}
    fields = []
    for place, type_name, values, name, section, coding, length in _FIELD.findall(text):
        if type_name not in _TYPES or place not in sizes:
            continue
        dtype = np.dtype(order + _TYPES[type_name]) if type_name != "byte" else np.dtype("u1")
        shape, per_voxel = sizes[place][::-1], int(values or 1)
        plain = -1 if is_text else math.prod(shape) * per_voxel * dtype.itemsize
        size = int(length) if coding else plain
        fields.append(AmiraField(name, place, shape, dtype, per_voxel, int(section), coding, size))
    return AmiraHeader(is_text, tuple(fields), text, end)


def _end_of_header(start: bytes) -> int:
    """Where the mark of the first section lies: a line of its own."""
    found = re.search(rb"\n@\d+[ \t]*\r?\n", start)
    return -1 if found is None else found.start()


def _decoded(header: bytes) -> str:
    try:
        return header.decode("utf-8")
    except UnicodeDecodeError:
        return header.decode("latin-1")
