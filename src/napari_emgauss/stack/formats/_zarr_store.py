"""The store that Zarr files are read through: nothing from outside the container, no block larger than declared."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.storage import LocalStore, WrapperStore

from napari_emgauss._errors import StackFileError

from ._blocks import KNOWN_CODECS, BlockRule, check_block, check_stored
from ._containers import check_within

# What may happen to values before they are packed: nothing here makes them many more, and nothing runs code, as the
# codec "pickle" would.
_ORDER_ONLY = frozenset(["bytes", "endian", "transpose", "shuffle"])
_FILTERS = _ORDER_ONLY | {"delta", "fixedscaleoffset", "astype", "quantize", "bitround", "packbits"}
# Checksums: how many bytes they add, and on which side of the data where the file does not say.
_CHECKSUMS = {"crc32c": "end", "fletcher32": "end", "jenkins_lookup3": "end", "crc32": "start", "adler32": "start"}
_CHECKSUM_BYTES = 4
_METADATA = frozenset(["zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"])
# Bytes of a place in a shard's index: offset and length.
_INDEX_ENTRY = 16
_LARGEST_METADATA = 64 << 20
_MOST_BLOCKS_A_SHARD = 1 << 22
_NO_BLOCK = 2**64 - 1
# zarr decodes so many blocks at a time that they stay below this together.
_TOGETHER_BYTES = 256 << 20


class GuardedStore(WrapperStore[LocalStore]):
    """A folder of the disk that hands out nothing from elsewhere, and no block that decodes to more than it may.

    Parameters
    ----------
    store : LocalStore
    root : str
        Folder that files must lie in with links followed.
    name : str
        Of the container, for messages.
    rule : BlockRule, optional
        For blocks of the one array that is read; none are handed out without.
    shard : ShardIndex, optional
        How blocks lie in files of many.
    """

    def __init__(
        self,
        store: LocalStore,
        root: str = "",
        name: str = "",
        rule: BlockRule | None = None,
        shard: ShardIndex | None = None,
    ) -> None:
        super().__init__(store)
        self._root = root or os.path.realpath(store.root)
        self._name, self._rule, self._shard = name, rule, shard

    def _with_store(self, store: LocalStore) -> GuardedStore:
        return GuardedStore(store, self._root, self._name, self._rule, self._shard)

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """The bytes of a file of the container, once they are seen to be harmless."""
        file = os.path.join(self._store.root, key)
        check_within(file, self._root, self._name)
        size = os.path.getsize(file) if os.path.isfile(file) else 0
        if key.rsplit("/", 1)[-1] in _METADATA:
            if size > _LARGEST_METADATA:
                raise StackFileError(f"{self._name} is damaged: its metadata take {size / 1e6:,.0f} MB.")
            return await self._store.get(key, prototype, byte_range)
        if self._rule is None:
            raise StackFileError(f"{self._name} was asked for a block before its metadata were read.")
        if byte_range is None:
            check_stored(size, self._shard.of_whole(self._rule) if self._shard else self._rule)
        value = await self._store.get(key, prototype, byte_range)
        if value is not None:
            self._look_at(value.to_bytes(), byte_range)
        return value

    def _look_at(self, data: bytes, byte_range: Any) -> None:
        if self._rule is None:
            return
        if self._shard is None:
            check_block(data, self._rule)
        elif byte_range is None:
            for start, length in self._shard.places(data):
                check_block(data[start : start + length], self._rule)
        elif not self._shard.is_index(byte_range):
            check_block(data, self._rule)

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]) -> list[Any]:
        """As :meth:`get`, one after the other."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def _get_many(self, requests: Iterable[tuple[str, Any, Any]]) -> AsyncIterator[tuple[str, Any]]:
        for key, prototype, byte_range in requests:
            yield key, await self.get(key, prototype, byte_range)


class ShardIndex:
    """Where blocks lie in a file of many (Zarr 3, ``sharding_indexed``).

    Parameters
    ----------
    blocks : int
        How many lie in a file.
    checked : bool
        Whether a checksum follows the index.
    at_start : bool
        Whether the index comes first.
    """

    def __init__(self, blocks: int, checked: bool, at_start: bool) -> None:
        self._blocks, self._bytes = blocks, _INDEX_ENTRY * blocks
        self._whole = self._bytes + (_CHECKSUM_BYTES if checked else 0)
        self._at_start = at_start

    def of_whole(self, rule: BlockRule) -> BlockRule:
        """What a whole file may be: as many blocks, each perhaps a little longer than what it holds, and the index."""
        return BlockRule("", self._whole + self._blocks * (rule.declared + rule.declared // 8 + (1 << 10)))

    def is_index(self, byte_range: Any) -> bool:
        """Whether a request is for the index and not for a block."""
        if self._at_start:
            return isinstance(byte_range, RangeByteRequest) and (byte_range.start, byte_range.end) == (0, self._whole)
        return isinstance(byte_range, SuffixByteRequest)

    def places(self, data: bytes) -> list[tuple[int, int]]:
        """Start and length of each block in a whole file; none where the index is cut off."""
        start = 0 if self._at_start else len(data) - self._whole
        index = data[max(0, start) :][: self._bytes]
        if start < 0 or len(index) < self._bytes:
            return []
        numbers = struct.unpack(f"<{self._bytes // 8}Q", index)
        places = zip(numbers[::2], numbers[1::2], strict=True)
        return [(first, length) for first, length in places if _NO_BLOCK not in (first, length)]


def open_store(root: Path, within: Path) -> GuardedStore:
    """A store for the folder ``root`` of the container ``within``."""
    return GuardedStore(LocalStore(root, read_only=True), os.path.realpath(within), within.name)


def open_array(root: Path, within: Path, name: str) -> Any:
    """The array ``name`` of the folder ``root``, whose blocks are looked at before they are decoded.

    Raises
    ------
    StackFileError
        It is packed in a way that cannot be looked into.
    """
    import zarr

    looked_at = zarr.open_array(open_store(root, within), path=name, mode="r")
    rule, shard = rules_of(looked_at, within.name)
    store = GuardedStore(LocalStore(root, read_only=True), os.path.realpath(within), within.name, rule, shard)
    return _FewAtATime(zarr.open_array(store, path=name, mode="r"), rule.declared)


class _FewAtATime:
    """An array of which as many blocks are decoded at a time as memory should hold."""

    def __init__(self, array: Any, block_bytes: int) -> None:
        self._array = array
        self._together = max(1, _TOGETHER_BYTES // max(1, block_bytes))
        self.shape, self.dtype, self.chunks = array.shape, array.dtype, array.chunks

    def __getitem__(self, key: Any) -> Any:
        import zarr

        usual = int(zarr.config.get("async.concurrency"))
        if self._together >= usual:
            return self._array[key]
        with zarr.config.set({"async.concurrency": self._together}):
            return self._array[key]


def rules_of(array: Any, name: str) -> tuple[BlockRule, ShardIndex | None]:
    """What blocks of an array may be, from its metadata.

    Raises
    ------
    StackFileError
        A codec is unknown, or there are several that compress, or too many blocks lie in a file.
    """
    metadata = array.metadata.to_dict()
    shard = None
    if metadata["zarr_format"] == 2:
        steps = [*(metadata.get("filters") or []), metadata.get("compressor")]
        pipeline = [(str(step["id"]), step) for step in steps if step]
    else:
        pipeline = _named(metadata["codecs"])
        if [codec for codec, _ in pipeline] == ["sharding_indexed"]:
            settings = pipeline[0][1]
            shard = _shard_index(array, settings, name)
            pipeline = _named(settings["codecs"])
    elements = prod(int(n) for n in array.chunks)
    return _rule(pipeline, elements, np.dtype(array.dtype).itemsize, name), shard


def _named(codecs: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Names and settings of Zarr 3 codecs."""
    return [(str(c["name"]).removeprefix("numcodecs."), c.get("configuration") or {}) for c in codecs]


def _shard_index(array: Any, settings: Mapping[str, Any], name: str) -> ShardIndex:
    blocks = prod(-(-int(s) // int(c)) for s, c in zip(array.shards, array.chunks, strict=True))
    steps = [codec for codec, _ in _named(settings["index_codecs"])]
    if blocks > _MOST_BLOCKS_A_SHARD or steps not in (["bytes"], ["bytes", "crc32c"]):
        raise StackFileError(f"{name} keeps its blocks in shards of a kind that is not supported.")
    location = settings.get("index_location", "end")
    return ShardIndex(blocks, "crc32c" in steps, str(getattr(location, "value", location)) == "start")


def _rule(pipeline: Sequence[tuple[str, Mapping[str, Any]]], elements: int, itemsize: int, name: str) -> BlockRule:
    codec, head, tail, inside, width = "", 0, 0, 0, itemsize
    for step, settings in pipeline:
        packs = step in KNOWN_CODECS
        if step in _CHECKSUMS:
            at_start = settings.get("location", _CHECKSUMS[step]) == "start"
            if not codec:
                inside += _CHECKSUM_BYTES
            elif at_start:
                head += _CHECKSUM_BYTES
            else:
                tail += _CHECKSUM_BYTES
            continue
        raw_lzma = step == "lzma" and settings.get("format", 1) not in (0, 1, 2)
        if codec or raw_lzma or not (packs or step in _FILTERS):
            raise StackFileError(f"{name} is compressed with the codec '{step}' in a way that is not supported.")
        if packs:
            codec = step
        elif step not in _ORDER_ONLY:
            width = max(8, itemsize)  # what filters such as "delta" keep may be wider than the values
    return BlockRule(codec, elements * width + inside, head=head, tail=tail)
