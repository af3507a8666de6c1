"""The directories of a TIFF file: what each page says of its own bytes, read before anything is decoded.

Pages of one file may differ in compression, strips, tiles, type or size. Libraries that take page 0 for all of them
make noise of the others; so every directory is read, and pages are compared by it. What is read is bounded by the
size of the file: directories that lead in a circle, or claim the same bytes again and again, are damage.
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from napari_emgauss._errors import StackFileError

_MOST_TAGS = 4096
# A directory may share values with others, but a file is not read a hundred times over for its directories.
_MOST_READING = 8
_READING_ALWAYS = 64 << 20
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_FORMS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
# Tags (TIFF 6.0, and 32997 of SGI for volumes) that say how a page's bytes become grey values, with their defaults.
_DEFAULTS: dict[int, tuple[int, ...]] = {
    254: (0,),  # NewSubfileType: 1 reduced picture, 4 mask
    256: (0,),  # ImageWidth
    257: (0,),  # ImageLength
    258: (1,),  # BitsPerSample
    259: (1,),  # Compression
    262: (1,),  # PhotometricInterpretation
    266: (1,),  # FillOrder
    277: (1,),  # SamplesPerPixel
    278: (),  # RowsPerStrip
    284: (1,),  # PlanarConfiguration
    317: (1,),  # Predictor
    322: (),  # TileWidth
    323: (),  # TileLength
    338: (),  # ExtraSamples
    339: (1,),  # SampleFormat
    32997: (1,),  # ImageDepth
    32998: (),  # TileDepth
}
_COLOUR_MAP = 320
_LSM_INFO = 34412
_MOST_VALUES = 64


@dataclass(frozen=True)
class Directory:
    """What one page says of itself.

    Parameters
    ----------
    offset : int
        Where it lies in the file.
    tags : tuple of (int, tuple of int)
        Of each tag that matters, its values.
    colour_map : bytes
        The colour table, where there is one: numbers of 16 bit in this machine's byte order.
    segments : int
        Strips or tiles.
    """

    offset: int
    tags: tuple[tuple[int, tuple[int, ...]], ...]
    colour_map: bytes = b""
    segments: int = 0

    def values(self, tag: int) -> tuple[int, ...]:
        """Values of a tag, its default where the page has none."""
        return dict(self.tags).get(tag, _DEFAULTS[tag])

    def value(self, tag: int) -> int:
        """First value of a tag."""
        found = self.values(tag)
        return found[0] if found else 0

    @property
    def layout(self) -> tuple[object, ...]:
        """Equal for pages that are decoded in the same way."""
        return (*self.tags, self.colour_map, self.segments)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.value(257), self.value(256)

    @property
    def kind(self) -> tuple[int, ...]:
        """What pages of one stack must share: samples, bits and their meaning, depth of a volume."""
        samples = self.value(277)
        return (
            samples,
            self.value(258),
            self.value(339) or 1,
            self.value(284) if samples > 1 else 1,
            self.value(32997),
        )

    @property
    def is_reduced(self) -> bool:
        """A smaller copy of another page, or a mask of one, as the page itself says."""
        return bool(self.value(254) & 5)

    @property
    def is_colour(self) -> bool:
        """Three samples or more that mean colours."""
        return self.value(277) >= 3 and self.value(262) in (2, 5, 6, 8)

    def described(self) -> str:
        """Size and type, for messages."""
        height, width = self.shape
        samples, bits, form, _, depth = self.kind
        what = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}.get(form, "unsigned")
        more = f", {samples} samples a pixel" if samples > 1 else ""
        return f"{f'{depth} x ' if depth > 1 else ''}{height} x {width} pixels of {bits} bit ({what}{more})"


def read_directories(path: Path) -> tuple[Directory, ...]:
    """The directories of a file's main chain, in order; empty where it is no TIFF file.

    Raises
    ------
    StackFileError
        They lead in a circle or past the end of the file, or make more of the file than there is.
    """
    with path.open("rb") as file:
        reader = _Reader(file, path)
        return reader.chain() if reader.is_tiff else ()


class _Reader:
    """Reads directories of one file, and counts what it reads."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._size = path.stat().st_size
        self._is_lsm = False
        self._left = _MOST_READING * self._size + _READING_ALWAYS
        head = file.read(16)
        self._order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        version = struct.unpack(self._order + "H", head[2:4])[0] if self._order and len(head) >= 8 else 0
        self._big = version == 43
        self.is_tiff = bool(self._order) and version in (42, 43) and len(head) >= (16 if self._big else 8)
        if self.is_tiff:
            self._count, self._entry, self._offset = ("Q", 20, "Q") if self._big else ("H", 12, "I")
            (self._first,) = struct.unpack_from(self._order + self._offset, head, 8 if self._big else 4)

    def chain(self) -> tuple[Directory, ...]:
        found: list[Directory] = []
        seen: set[int] = set()
        offset = self._first
        while offset > 0:
            if offset in seen:
                raise StackFileError(f"{self._path.name} is damaged: page {len(seen)} leads back to an earlier one.")
            seen.add(offset)
            read = self._directory(offset)
            if read is None and found:  # what was read would be a part of the stack
                raise StackFileError(f"{self._path.name} is damaged or truncated: page {len(found)} is missing.")
            if read is None:
                break
            directory, offset = read
            found.append(directory)
        return tuple(found)

    def _directory(self, offset: int) -> tuple[Directory, int] | None:
        """One directory, and where the next one is; None where the file ends within it."""
        count = self._number(offset, self._count)
        if count is None or count > _MOST_TAGS:
            return None
        start = offset + struct.calcsize(self._order + self._count)
        entries = self._bytes(start, count * self._entry)
        if len(entries) < count * self._entry:
            return None
        tags, colour_map, segments = self._tags(entries)
        following = self._number(start + count * self._entry, self._offset)
        # A file that ends before it says whether another page follows is cut off, too.
        return Directory(offset, tags, colour_map, segments), self._size if following is None else following

    def _tags(self, entries: bytes) -> tuple[tuple[tuple[int, tuple[int, ...]], ...], bytes, int]:
        form = self._order + ("HHQ" if self._big else "HHI")
        inline, value_at = (8, 12) if self._big else (4, 8)
        tags: dict[int, tuple[int, ...]] = {}
        colour_map, segments = b"", 0
        starts = range(0, len(entries), self._entry)
        self._is_lsm |= any(struct.unpack_from(form, entries, start)[0] == _LSM_INFO for start in starts)
        for start in starts:
            tag, kind, count = struct.unpack_from(form, entries, start)
            size = count * _SIZES.get(kind, 1)
            if size > inline:  # tifffile reads it, however often it is pointed at
                self._spend(min(size, self._size))
            if tag in (273, 324):
                segments = count
            if tag == _COLOUR_MAP or (tag in _DEFAULTS and kind in _FORMS):
                where = start + value_at
                # LSM files keep the bits of two samples elsewhere, though they would fit here.
                if size <= inline and not (self._is_lsm and tag == 258 and count == 2):
                    data = entries[where : where + size]
                else:
                    (place,) = struct.unpack_from(self._order + self._offset, entries, where)
                    data = self._bytes(place, size if tag == _COLOUR_MAP else min(size, _MOST_VALUES * 8))
                if tag == _COLOUR_MAP:
                    table = array("H", data[: len(data) // 2 * 2])
                    if (self._order == "<") != (sys.byteorder == "little"):
                        table.byteswap()
                    colour_map = table.tobytes()
                    continue
                wide = _SIZES[kind]
                data = data[: len(data) // wide * wide]
                values = struct.unpack(f"{self._order}{len(data) // wide}{_FORMS[kind]}", data)
                # Bits and forms are the same for all samples of what we read.
                tags[tag] = values[:1] if tag in (258, 339) and len(set(values)) == 1 else values
        return tuple(sorted(tags.items())), colour_map, segments

    def _number(self, offset: int, form: str) -> int | None:
        data = self._bytes(offset, struct.calcsize(self._order + form))
        if len(data) < struct.calcsize(self._order + form):
            return None
        (value,) = struct.unpack(self._order + form, data)
        return int(value)

    def _bytes(self, offset: int, count: int) -> bytes:
        if not 0 <= offset < self._size:
            return b""
        count = min(count, self._size - offset)
        self._spend(count)
        self._file.seek(offset)
        return self._file.read(count)

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise StackFileError(f"{self._path.name} is damaged: its pages claim the same bytes over and over.")
