"""Compressed parts of TIFF pages: how large each would become is known before it is decoded.

Codecs of bytes (LZW, Deflate, Zstandard, ...) are told how much may come out. Codecs of pictures (JPEG, JPEG 2000, PNG,
JPEG XL) believe the size in their own stream, which in a hostile file has nothing to do with the page's: 1 KB
may ask for gigabytes. So that size is read first, and a part that would be larger than its place is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from napari_emgauss._errors import StackFileError

# Compression tags (TIFF 6.0 and registered since) of codecs that stop at the number of bytes they are told.
_BYTES = {1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 34926, 50000}
_JPEG = {6, 7, 34892, 33007}
_JPEG_2000 = {33003, 33004, 33005, 34712}
_PNG, _JPEG_XL = {34933}, {50002, 52546}
# Deflate cannot shrink data by more than about 1030 to 1, other codecs hardly so; a page that claims more is broken.
_LARGEST_RATIO = 2000
# What is large must be likely, too: real slices shrink less than this.
_LARGE_BYTES, _LIKELY_RATIO = 256 << 20, 100
_LARGEST_TILE_BYTES = 64 << 20


def check_page(page: Any, name: str, file_bytes: int) -> None:
    """Refuse a page that claims more than its bytes in the file can become, or is compressed in a way we do not read.

    Parameters
    ----------
    page : tifffile.TiffPage or tifffile.TiffFrame
    name : str
        Of the file, for messages.
    file_bytes : int
        Size of the file.

    Raises
    ------
    StackFileError
    """
    form = page.keyframe
    compression, claimed = int(form.compression), int(form.nbytes)
    if compression not in _BYTES | _JPEG | _JPEG_2000 | _PNG | _JPEG_XL:
        how = getattr(form.compression, "name", str(compression))
        raise StackFileError(
            f"{name} is compressed as {how}, which is not supported: save it with Deflate, LZW or no compression."
        )
    actual = max(1, min(file_bytes, sum(page.databytecounts)))
    if compression == 1:
        actual = max(1, file_bytes)
    ratio = 1 if compression == 1 else _LARGEST_RATIO
    unlikely = compression != 1 and claimed > 2 * _LARGE_BYTES and claimed > _LIKELY_RATIO * actual
    if (claimed > ratio * actual and claimed > 1 << 16) or unlikely:
        raise StackFileError(
            f"{name} is damaged or truncated: "
            f"it claims {claimed / 1e6:.0f} MB a page, but the file has {actual / 1e6:.2g} MB for it."
        )
    if form.is_tiled:
        tile = form.tilelength * form.tilewidth * form.tiledepth * form.samplesperpixel * form.dtype.itemsize
        if tile > max(_LARGEST_TILE_BYTES, 4 * claimed):
            raise StackFileError(f"{name} is damaged: it claims tiles of {tile / 1e6:.0f} MB, larger than its pages.")


def check_segment(data: bytes, form: Any, pixels: int, name: str) -> None:
    """Refuse a strip or tile that would be decoded into more than its place in the page.

    Parameters
    ----------
    data : bytes
        As it is in the file.
    form : tifffile.TiffPage
        Whose compression and type of values count.
    pixels : int
        Rows times columns times planes of its place.
    name : str
        Of the file, for messages.

    Raises
    ------
    StackFileError
    """
    compression = int(form.compression)
    claimed = pixels * form.samplesperpixel * form.dtype.itemsize
    if compression != 1 and claimed > _LARGE_BYTES and claimed > _LIKELY_RATIO * len(data):
        raise StackFileError(
            f"{name} is damaged: {len(data)} bytes of it claim to become {claimed / 1e6:.0f} MB of grey values."
        )
    for kinds, measure in _MEASURES:
        if compression not in kinds:
            continue
        try:
            found = measure(bytes(data))
        except (struct.error, IndexError, ValueError) as error:
            raise StackFileError(f"{name} is damaged: a part of it has no size.") from error
        height, width, layers = found
        if height * width > pixels or layers > max(4, form.samplesperpixel):
            raise StackFileError(
                f"{name} is damaged: a part of it claims {height} x {width} pixels, more than its place holds."
            )


def jpeg_size(data: bytes) -> tuple[int, int, int]:
    """Rows, columns and components of a JPEG stream (ITU T.81, B.2.2)."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at += 1
            continue
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, layers = struct.unpack_from(">HHB", data, at + 5)
            return height, width, layers
        if marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    raise ValueError("no frame header")


def _jpeg_2000_size(data: bytes) -> tuple[int, int, int]:
    """Of a JPEG 2000 codestream, bare or in the boxes of a JP2 file (ISO 15444-1, A.5.1 and I.4)."""
    start = 0
    if data[:2] != b"\xff\x4f":
        while True:
            length, kind = struct.unpack_from(">I4s", data, start)
            head = 8
            if length == 1:
                (length,) = struct.unpack_from(">Q", data, start + 8)
                head = 16
            if kind == b"jp2c":
                start += head
                break
            if length < head:
                raise ValueError("no codestream")
            start += length
    if data[start : start + 4] != b"\xff\x4f\xff\x51":
        raise ValueError("no size")
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (layers,) = struct.unpack_from(">H", data, start + 40)
    return bottom - top, right - left, layers


def png_size(data: bytes) -> tuple[int, int, int]:
    """Rows and columns of a PNG file (ISO 15948, 11.2.2), and 1."""
    if data[12:16] != b"IHDR":
        raise ValueError("no header")
    width, height = struct.unpack_from(">II", data, 16)
    return height, width, 1


def _jpeg_xl_size(data: bytes) -> tuple[int, int, int]:
    """Of a JPEG XL codestream (ISO 18181-1, D.2 and D.3); pictures that move are refused."""
    if data[:2] != b"\xff\x0a":
        at = 0
        while data[at + 4 : at + 8] not in (b"jxlc", b"jxlp"):
            (length,) = struct.unpack_from(">I", data, at)
            if length < 8:
                raise ValueError("no codestream")
            at += length
        data = data[at + (8 if data[at + 4 : at + 8] == b"jxlc" else 12) :]
    if data[:2] != b"\xff\x0a":
        raise ValueError("no codestream")
    number, position = int.from_bytes(data[2:40], "little"), 0

    def bits(count: int) -> int:
        nonlocal position
        position += count
        return number >> (position - count) & ((1 << count) - 1)

    def size() -> tuple[int, int]:
        small = bits(1)

        def side() -> int:
            return (bits(5) + 1) * 8 if small else bits((9, 13, 18, 30)[bits(2)]) + 1

        height, ratio = side(), bits(3)
        if ratio == 0:
            return height, side()
        wide, high = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
        return height, height * wide // high

    height, width = size()
    if not bits(1) and bits(1):  # not all as usual, and with extra fields
        bits(3)  # orientation
        if bits(1):
            size()
        if bits(1) or bits(1):  # a preview, or frames of a film
            raise ValueError("more than one picture")
    return height, width, 1


_MEASURES: tuple[tuple[set[int], Callable[[bytes], tuple[int, int, int]]], ...] = (
    (_JPEG, jpeg_size),
    (_JPEG_2000, _jpeg_2000_size),
    (_PNG, png_size),
    (_JPEG_XL, _jpeg_xl_size),
)
