"""What a compressed block of a file may decode to: never more than the file declares.

Decoders make room as they go: a few KB of zeros, compressed well, become gigabytes. So each block is looked at before
the format's own library decodes it. Where the codec writes down the size of what it packed, that is compared; where it
does not, and the block could become large, it is decoded step by step and only as far as it may go.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Protocol

from napari_emgauss._errors import StackFileError

# A block of which the file declares more must have some substance.
LARGE_BLOCK_BYTES = 256 << 20
# Real images are hardly ever compressed further.
_MOST_COMPRESSION = 200
# What is decoded without a look, for even the densest stream ends within it.
_HARMLESS_BYTES = 64 << 20
# Headers, checksums, and what codecs add to what they cannot pack.
_MOST_OVERHEAD = 1 << 16
# Largest factor by which Deflate and LZF can compress.
_LARGEST_FACTOR = {"zlib": 1032, "gzip": 1032, "lzf": 100}
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# Also the end of the marks of older versions.
_ZSTD_MARK_END = _ZSTD_MAGIC[1:]

KNOWN_CODECS = ("", "zlib", "gzip", "bz2", "lzma", "zstd", "blosc", "lz4", "lzf", "sized")
"""Codecs that :func:`check_block` can look into; the empty one is none at all, ``sized`` one whose blocks begin with
their size in eight bytes (LZ4 and bitshuffle in HDF5)."""


@dataclass(frozen=True)
class BlockRule:
    """What blocks of an array may be.

    Parameters
    ----------
    codec : str
        One of `KNOWN_CODECS`.
    declared : int
        Bytes of a whole block when it is decoded, as the file's metadata say.
    streams : bool
        Whether the decoder goes on past the size that a block's own header names.
    head, tail : int
        Bytes of checksums before and after what the codec packed.
    """

    codec: str
    declared: int
    streams: bool = False
    head: int = 0
    tail: int = 0


class _Decompressor(Protocol):
    unused_data: bytes
    eof: bool

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def check_stored(size: int, rule: BlockRule) -> None:
    """Refuse a block that takes much more of the file than what it holds, before it is read.

    Raises
    ------
    StackFileError
    """
    if size > rule.declared + rule.declared // 8 + _MOST_OVERHEAD:
        raise StackFileError(f"a block of {rule.declared:,} bytes takes {size:,} bytes in the file: it is damaged.")


def check_claim(size: int, rule: BlockRule) -> None:
    """Refuse a large block of which the file has far too little.

    Raises
    ------
    StackFileError
    """
    if rule.declared > max(LARGE_BLOCK_BYTES, size * _MOST_COMPRESSION):
        raise StackFileError(
            f"a block claims {rule.declared / 1e6:,.0f} MB, of which the file holds {size / 1e6:,.2g} MB: "
            "it is damaged, or empty; write it again in smaller blocks."
        )


def is_harmless(size: int, rule: BlockRule) -> bool:
    """Whether a block of ``size`` bytes cannot decode to much, whatever it holds."""
    factor = 1 if rule.codec == "" else _LARGEST_FACTOR.get(rule.codec)
    return factor is not None and size * factor <= max(rule.declared, _HARMLESS_BYTES)


def check_block(data: bytes | memoryview, rule: BlockRule) -> None:
    """Refuse a block that decodes to more than it may.

    What is no valid stream of its codec passes: the decoder itself refuses it.

    Raises
    ------
    StackFileError
    """
    if rule.head or rule.tail:
        data = bytes(data)[rule.head : len(data) - rule.tail]
    check_stored(len(data), rule)
    check_claim(len(data), rule)
    if _named_size(data, rule) > rule.declared:
        raise _too_much(rule)
    if is_harmless(len(data), rule):
        return
    if rule.codec in ("zlib", "gzip"):
        _decode_bounded(bytes(data), rule, lambda: zlib.decompressobj(wbits=47))  # either kind of header
    elif rule.codec == "bz2":
        _decode_bounded(bytes(data), rule, bz2.BZ2Decompressor)
    elif rule.codec == "lzma":
        _decode_bounded(bytes(data), rule, lzma.LZMADecompressor)
    elif (
        rule.codec == "zstd" and (rule.streams or _named_size(data, rule) < 0 or _may_go_on(data))
    ) or rule.codec == "lzf":
        _decode_by_imagecodecs(data, rule)


def _named_size(data: bytes | memoryview, rule: BlockRule) -> int:
    """Decoded size that the head of a block names; -1 where it names none."""
    head = bytes(data[:18])
    if rule.codec == "sized" and len(head) >= 8:
        return int(struct.unpack_from(">Q", head)[0])
    if rule.codec == "blosc" and len(head) >= 16:
        return int(struct.unpack_from("<I", head, 4)[0])
    if rule.codec == "lz4" and len(head) >= 4:
        return int(struct.unpack_from("<I", head)[0])
    if rule.codec == "zstd" and head.startswith(_ZSTD_MAGIC) and len(head) >= 6:
        return _zstd_content_size(head)
    return -1


def _zstd_content_size(head: bytes) -> int:
    """Content size of a Zstandard frame (RFC 8878, 3.1.1.1); -1 where the frame has none."""
    descriptor = head[4]
    single_segment = bool(descriptor & 0x20)
    at = 5 + (not single_segment) + (0, 1, 2, 4)[descriptor & 3]
    width = (1 if single_segment else 0, 2, 4, 8)[descriptor >> 6]
    if width == 0 or len(head) < at + width:
        return -1
    return int.from_bytes(head[at : at + width], "little") + (256 if width == 2 else 0)


def _may_go_on(data: bytes | memoryview) -> bool:
    """Whether another frame may follow the first."""
    return _ZSTD_MARK_END in bytes(data[4:])


def _decode_bounded(data: bytes, rule: BlockRule, start: Any) -> None:
    """Decode step by step, member after member, and stop where it becomes too much."""
    left, step = rule.declared, 4 << 20
    while data:
        stream: _Decompressor = start()
        fed = data
        while not stream.eof:
            try:
                part = stream.decompress(fed, min(step, left + 1))
            except (zlib.error, OSError, EOFError, lzma.LZMAError):
                return
            left -= len(part)
            if left < 0:
                raise _too_much(rule)
            fed = getattr(stream, "unconsumed_tail", b"")
            if not part and not fed:
                return  # cut off
        data = stream.unused_data


def _decode_by_imagecodecs(data: bytes | memoryview, rule: BlockRule) -> None:
    """Decode into a room of the declared size; the codec says where that is too small."""
    import imagecodecs

    room = bytearray(max(1, rule.declared))
    try:
        getattr(imagecodecs, f"{rule.codec}_decode")(data, out=room)
    except Exception as error:  # each codec has an error of its own
        if "too small" in str(error) or "not large enough" in str(error):
            raise _too_much(rule) from None


def _too_much(rule: BlockRule) -> StackFileError:
    return StackFileError(
        f"a block of {rule.declared:,} bytes decodes to more than that: "
        "the file is damaged, or made to exhaust the memory."
    )
