"""N5 containers through tensorstore: zarr, since its version 3, no longer reads them."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._array_slices import ArraySlices, guess_axes
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize

from ._bigdataviewer import n5_place, scaled, setup_voxel_size
from ._blocks import BlockRule, check_block, check_claim, check_stored
from ._containers import MOST_FOLDERS, check_within, checked_name, container_of
from ._ngff import letters_of, multiscale_of, size_of_transform, sized
from ._tree import Candidate, choose_array

_ATTRIBUTES = "attributes.json"
_SOURCE = "N5 attributes"
_LARGEST_ATTRIBUTES = 64 << 20
# N5's names for how blocks are packed, and the codec that unpacks them.
_CODECS = {"raw": "", "gzip": "gzip", "bzip2": "bz2", "xz": "lzma", "zstd": "zstd", "blosc": "blosc"}
# tensorstore decodes so many blocks at a time that they stay below this together.
_TOGETHER_BYTES = 256 << 20
_MOST_TOGETHER = 8


def open_n5(path: Path, selection: Selection) -> OpenedFile:
    """Open an array of an N5 container: the one asked for, or the only one that can be meant.

    ``path`` may be a container or anything within: what a group above says of an array counts, up to the outermost. N5
    counts axes from the fastest (x, y, z); a stack has them the other way round.

    Raises
    ------
    StackFileError
        Not an N5 container that can be read.
    StackError
        No stack in it, or several and none chosen.
    """
    container = container_of(path, ".n5", lambda folder: (folder / _ATTRIBUTES).is_file())
    root = os.path.realpath(container)
    here = path.absolute().relative_to(container).as_posix().removeprefix(".")
    try:
        place = _chosen(container, root, here, selection, path.name)
        array = _N5Array(container, root, place)
        attributes = _read(container, root, place)
        letters = axis_letters(attributes, len(array.shape)) or guess_axes(array.shape)
        slices = ArraySlices(_N5Array, (container, root, place), selection, letters, path.name)
        size = _voxel_size(container, root, place)
    except (StackError, KeyboardInterrupt):
        raise
    except Exception as error:  # stores and codecs fail in many ways
        raise StackFileError(f"{path.name} cannot be read as N5: it is damaged or in another format.") from error
    notes = (slices.note,) if slices.note else ()
    shown = place.removeprefix(here).strip("/")
    metadata = {"dataset": shown} if shown else {}
    return OpenedFile(slices, size, "N5", notes, metadata=metadata, channels=slices.channels)


def _chosen(container: Path, root: str, here: str, selection: Selection, name: str) -> str:
    """Path of the array within the container."""
    wanted = "" if selection.dataset is None else checked_name(selection.dataset, name)
    start = f"{here}/{wanted}".strip("/")
    if wanted and not (container / start).is_dir():
        return f"{here}/{choose_array(_arrays(container, root, here), wanted, name)}".strip("/")
    found = _arrays(container, root, start)
    if [one.path for one in found] == [""]:
        return start
    return f"{start}/{choose_array(found, None, f'{name}/{wanted}'.strip('/'))}".strip("/")


def _arrays(container: Path, root: str, start: str) -> list[Candidate]:
    """Every array below a folder of the container, by its path from there."""
    found: list[Candidate] = []
    waiting, seen = [start], 0
    while waiting and seen < MOST_FOLDERS:
        place = waiting.pop()
        seen += 1
        attributes = _read(container, root, place)
        sizes, kind = attributes.get("dimensions"), attributes.get("dataType")
        if isinstance(sizes, list) and isinstance(kind, str):
            try:
                shape = tuple(int(n) for n in reversed(sizes))
                found.append(Candidate(place.removeprefix(start).strip("/"), shape, np.dtype(kind)))
            except (TypeError, ValueError) as error:
                raise StackFileError(f"{container.name} cannot be read as N5: its attributes make no sense.") from error
            continue  # what lies below an array are its blocks
        folders = sorted(one.name for one in (container / place).iterdir() if one.is_dir() and not one.is_symlink())
        waiting += [f"{place}/{folder}".strip("/") for folder in reversed(folders)]
    return found


def _read(container: Path, root: str, place: str) -> dict[str, Any]:
    """Attributes of a group or array; none where there are none, or none that can be read."""
    file = container / place / _ATTRIBUTES
    check_within(file, root, container.name)
    try:
        size = file.stat().st_size
        if size > _LARGEST_ATTRIBUTES:
            raise StackFileError(f"{container.name} is damaged: its attributes take {size / 1e6:,.0f} MB.")
        values = json.loads(file.read_text(encoding="utf-8"))
    except StackFileError:
        raise
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def axis_letters(attributes: Mapping[str, Any], dimensions: int) -> str | None:
    """Axis letters, the slowest first; None where the attributes name none."""
    names = attributes.get("axes")
    if not isinstance(names, list) or len(names) != dimensions:
        return None
    return letters_of(list(reversed(names)))


def _voxel_size(container: Path, root: str, place: str) -> VoxelSize:
    """From BigDataViewer's XML where there is one, else from attributes."""
    viewer = n5_place(place)
    if viewer is not None:
        size = setup_voxel_size(container, viewer[1])
        if size != VoxelSize():
            factors = _numbers(_read(container, root, place).get("downsamplingFactors"))
            return scaled(size, factors or [1.0, 1.0, 1.0])
    return size_by_attributes(lambda name: _read(container, root, name), place)


def size_by_attributes(attributes_of: Callable[[str], Mapping[str, Any]], place: str) -> VoxelSize:
    """From the attributes of the array or of the nearest folder above it that says something.

    Parameters
    ----------
    attributes_of : callable
        Attributes of a group or array by its path; empty where there is none.
    place : str
        Path of the array.
    """
    parts = place.split("/") if place else []
    factors = _numbers(attributes_of(place).get("downsamplingFactors"))
    for depth in range(len(parts), -1, -1):
        attributes = attributes_of("/".join(parts[:depth]))
        level = "/".join(parts[depth:])
        size = _described(attributes, level)
        if size != VoxelSize():
            return size
        size, of_finest = _resolution(attributes)
        if size == VoxelSize():
            continue
        if level:  # said of the whole pyramid, whose finest level is meant
            return scaled(size, factors or _listed_factors(attributes, level) or [1.0, 1.0, 1.0])
        return scaled(size, factors) if factors and of_finest else size
    return VoxelSize()


def _described(attributes: Mapping[str, Any], level: str) -> VoxelSize:
    """The size in a ``transform`` of the array itself, or of one of the levels that a group lists."""
    transform = attributes.get("transform") if not level else None
    multiscale = multiscale_of(attributes)
    if level and multiscale is not None:
        datasets = multiscale.get("datasets") or []
        named = [one for one in datasets if isinstance(one, Mapping) and str(one.get("path")) == level]
        transform = named[0].get("transform") if named else None
    return size_of_transform(transform, _SOURCE) if isinstance(transform, Mapping) else VoxelSize()


def _resolution(attributes: Mapping[str, Any]) -> tuple[VoxelSize, bool]:
    """The size that attributes give in one of the usual ways, x first; and whether it is that of the finest level."""
    told = attributes.get("pixelResolution")
    if isinstance(told, Mapping):
        return _x_first(told.get("dimensions"), told.get("unit")), True
    unit = attributes.get("units", attributes.get("unit", attributes.get("pixelUnit")))
    if isinstance(told, list):
        return _x_first(told, unit), True
    if isinstance(attributes.get("resolution"), list):
        return _x_first(attributes["resolution"], unit), False
    if "pixelWidth" in attributes:  # N5 for ImageJ
        sizes = [attributes.get(f"pixel{side}") for side in ("Width", "Height", "Depth")]
        return _x_first(sizes, unit), False
    return VoxelSize(), False


def _x_first(sizes: Any, unit: Any) -> VoxelSize:
    numbers = _numbers(sizes)
    if numbers is None:
        return VoxelSize()
    listed = unit if isinstance(unit, list) and unit else [unit]
    units = listed[:3] if len(listed) >= 3 else listed[:1] * 3
    return sized(dict(zip("XYZ", numbers, strict=True)), dict(zip("XYZ", units, strict=True)), _SOURCE)


def _numbers(values: Any) -> list[float] | None:
    """The first three of a list of numbers; None where it is none."""
    try:
        return [float(value) for value in values[:3]] if isinstance(values, list) and len(values) >= 3 else None
    except (TypeError, ValueError):
        return None


def _listed_factors(attributes: Mapping[str, Any], level: str) -> list[float] | None:
    """Factors of a level ``s1`` by the list ``scales`` that some groups have."""
    scales, number = attributes.get("scales"), level.removeprefix("s")
    if isinstance(scales, list) and number.isdecimal() and int(number) < len(scales):
        return _numbers(scales[int(number)])
    return None


class _N5Array:
    """An array with its axes turned round, whose blocks are looked at before they are decoded.

    Parameters
    ----------
    container : Path
    root : str
        The container with links followed.
    place : str
        Path of the array within.
    """

    def __init__(self, container: Path, root: str, place: str) -> None:
        import tensorstore

        self._folder, self._root, self._name = container / place, root, container.name
        about = _read(container, root, place)
        compression = about.get("compression")
        kind = str(compression.get("type", "")) if isinstance(compression, Mapping) else "raw"
        if kind not in _CODECS:
            raise StackFileError(f"{container.name} is compressed with '{kind}', which is not supported.")
        block = tuple(int(n) for n in reversed(about["blockSize"]))
        itemsize = np.dtype(str(about["dataType"])).itemsize
        # tensorstore decodes as long as a stream goes on, whatever its own header says.
        self._rule = BlockRule(_CODECS[kind], prod(block) * itemsize, streams=True)
        together = max(1, min(_MOST_TOGETHER, _TOGETHER_BYTES // max(1, self._rule.declared)))
        limits = {"data_copy_concurrency": {"limit": together}, "file_io_concurrency": {"limit": together}}
        where = {"driver": "file", "path": str(self._folder.resolve())}
        spec = {"driver": "n5", "kvstore": where, "context": limits}
        store = tensorstore.open(spec, read=True, open=True).result()
        self._store = store.T
        self.shape = tuple(int(n) for n in self._store.shape)
        self.dtype = np.dtype(store.dtype.numpy_dtype)
        self.chunks = block

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        for place in self._blocks(key):
            self._look_at(place)
        return self._store[key].read().result()

    def _blocks(self, key: tuple[Any, ...]) -> Iterator[tuple[int, ...]]:
        """Numbers of the blocks, x first, that a selection of integers and ranges touches."""
        along = []
        for part, size, step in zip(key, self.shape, self.chunks, strict=True):
            positions = range(*part.indices(size)) if isinstance(part, slice) else range(int(part), int(part) + 1)
            if not positions:
                return
            along.append(range(min(positions) // step, max(positions) // step + 1))
        yield from (tuple(reversed(place)) for place in product(*along))

    def _look_at(self, place: tuple[int, ...]) -> None:
        """Refuse a block that lies elsewhere, or that decodes to more than it may."""
        file = self._folder.joinpath(*map(str, place))
        check_within(file, self._root, self._name)
        try:
            size = file.stat().st_size
        except OSError:
            return  # not written: all zeros
        check_stored(size, self._rule)
        check_claim(size, self._rule)
        data = file.read_bytes()
        # Two numbers, then the length of each axis: all big-endian.
        if len(data) < 4:
            return
        mode, axes = struct.unpack_from(">HH", data)
        head = 4 + 4 * axes
        if mode != 0 or axes != len(self.shape) or len(data) < head:
            raise StackFileError(f"block {'/'.join(map(str, place))} is damaged, or of a kind that is not supported.")
        lengths = struct.unpack_from(f">{axes}I", data, 4)
        if any(length > most for length, most in zip(lengths, reversed(self.chunks), strict=True)):
            raise StackFileError(f"block {'/'.join(map(str, place))} is larger than its array says.")
        check_block(memoryview(data)[head:], self._rule)
