"""HDF5 files through h5py: what the axes are, which links may be followed, and no block larger than declared."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack._array_slices import ArraySlices, guess_axes
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize

from ._bigdataviewer import hdf5_place, scaled, setup_voxel_size
from ._blocks import BlockRule, check_block, check_claim, check_stored, is_harmless
from ._hdf5_links import arrays_of, check_storage, neighbour, place_of
from ._ngff import axis_letter, letters_of, sized
from ._tree import TELLING_ATTRIBUTES, Candidate, choose_array, voxel_size_of_attributes

_SOURCE = "HDF5 attributes"
# Numbers under which filters are registered with the HDF Group, and the codec that unpacks what they wrote.
_PACKING_FILTERS = {1: "zlib", 307: "bz2", 32000: "lzf", 32001: "blosc", 32004: "sized", 32015: "zstd"}
_CHECKSUM, _BITSHUFFLE = 3, 32008
_FILTER_NAMES = {
    307: "bzip2",
    32001: "Blosc",
    32004: "LZ4",
    _BITSHUFFLE: "bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32026: "Blosc2",
}


def open_hdf5(path: Path, selection: Selection) -> OpenedFile:
    """Open an array of an HDF5 file: the one asked for, or the only one that can be meant.

    Raises
    ------
    StackFileError
        Not an HDF5 file, a truncated one, one that takes its values from outside its folder, or one that is packed by a
        filter that is not installed.
    StackError
        No stack in it, or several and none chosen.
    """
    try:
        return _open(path, selection)
    except (StackError, KeyboardInterrupt):
        raise
    except Exception as error:  # a broken file can fail anywhere
        raise StackFileError(f"{path.name} cannot be read as HDF5: it is damaged or in another format.") from error


def _open(path: Path, selection: Selection) -> OpenedFile:
    import h5py

    folder = os.path.realpath(path.resolve().parent)
    name, time = _chosen(path, selection, folder)
    place = place_of(path, name, folder)
    if place is None:
        raise StackError(f"There is no array {name} in {path.name}.")
    check_storage(place, folder)
    with h5py.File(place.file, "r") as file:
        dataset = file[place.name]
        _check_filters(dataset, path)
        letters = _axis_letters(dataset)
        size = _tagged_size(dataset)
        if size == VoxelSize():
            size = voxel_size_of_attributes(_attributes_upwards(dataset), _SOURCE)
        shape = tuple(int(n) for n in dataset.shape)
        viewer = hdf5_place(name)
        if viewer is not None:
            size = _big_data_viewer_size(file, place.file, viewer)
    unsigned = viewer is not None
    slices = ArraySlices(HDF5Array, (place.file, place.name, unsigned), time, letters or guess_axes(shape), path.name)
    notes = (slices.note,) if slices.note else ()
    kind = "BigDataViewer HDF5" if viewer is not None else "HDF5"
    return OpenedFile(slices, size, kind, notes, metadata={"dataset": name}, channels=slices.channels)


def _chosen(path: Path, selection: Selection, folder: str) -> tuple[str, Selection]:
    """Path of the array within the file, and what is left to choose in it."""
    found = arrays_of(path, folder)
    if selection.dataset is not None:
        name = str(selection.dataset).strip("/")
        place = place_of(path, name, folder)
        inside = [c for c in found if c.path.startswith(f"{name}/")] if name else found
        if place is None or (inside and name not in {c.path for c in found}):
            if not inside:
                return choose_array(found, name, path.name), selection
            prefix = f"{name}/" if name else ""
            below = [Candidate(c.path.removeprefix(prefix), c.shape, c.dtype) for c in inside]
            return prefix + choose_array(below, None, f"{path.name}/{name}".rstrip("/")), selection
        return name, selection
    places = {c.path: hdf5_place(c.path) for c in found}
    if not any(places.values()):
        return choose_array(found, None, path.name), selection
    # BigDataViewer keeps time points in groups: the finest level of one is an image like any other.
    times = sorted({where[0] for where in places.values() if where})
    if selection.time is None and len(times) > 1:
        raise StackError(f"{path.name} holds {len(times)} time points", remedy=remedy("choose time", last=times[-1]))
    time = times[0] if selection.time is None else selection.time
    finest = [c for c in found if (where := places[c.path]) and where[0] == time and where[2] == 0]
    if not finest:
        raise StackError(f"There is no time point {time} in {path.name}: it holds {', '.join(map(str, times))}.")
    return choose_array(finest, None, path.name), Selection(channel=selection.channel)


def _axis_letters(dataset: Any) -> str | None:
    """Axes as vigra and ilastik tag them, or as the dimensions are labelled; None where nothing tells."""
    tags = _axis_tags(dataset)
    if tags is not None:
        letters = "".join(axis_letter(tag.get("key")) for tag in tags)
        return letters if letters.count("Y") == 1 and letters.count("X") == 1 else None
    labels = [dimension.label for dimension in dataset.dims]
    return letters_of(labels) if labels and all(labels) else None


def _axis_tags(dataset: Any) -> list[Mapping[str, Any]] | None:
    try:
        tags = json.loads(dataset.attrs["axistags"])["axes"]
    except (KeyError, TypeError, ValueError, OSError, RecursionError):
        return None
    fits = isinstance(tags, list) and len(tags) == len(dataset.shape) and all(isinstance(tag, dict) for tag in tags)
    return tags if fits else None


def _tagged_size(dataset: Any) -> VoxelSize:
    """The voxel size that axis tags hold; 0 there means that nobody knows."""
    tags = _axis_tags(dataset) or []
    try:
        units = json.loads(dataset.attrs.get("axis_units", "{}"))
        sizes = {axis_letter(tag.get("key")): float(tag.get("resolution") or 0) for tag in tags}
    except (TypeError, ValueError, OSError, RecursionError):
        return VoxelSize()
    if not any(sizes.get(axis) for axis in "ZYX"):
        return VoxelSize()
    named = {axis_letter(key): unit for key, unit in units.items()} if isinstance(units, dict) else {}
    return sized(sizes, named, "HDF5 axis tags")


def _attributes_upwards(dataset: Any) -> dict[str, Any]:
    """Attributes that may tell the voxel size: the array's own count for more than those of groups above."""
    found: dict[str, Any] = {}
    current = dataset
    while True:
        for name in TELLING_ATTRIBUTES:
            if name not in found and name in current.attrs:
                try:
                    found[name] = current.attrs[name]
                except (TypeError, ValueError, OSError):
                    continue  # of a type that h5py does not read
        if current.name == "/":
            return found
        current = current.parent


def _big_data_viewer_size(file: Any, path: Path, where: tuple[int, int, int]) -> VoxelSize:
    _, setup, level = where
    size = setup_voxel_size(path, setup)
    try:
        factors = [float(step) for step in file[f"s{setup:02d}/resolutions"][level]]
    except (KeyError, IndexError, TypeError, ValueError):
        factors = [1.0, 1.0, 1.0]
    return scaled(size, factors) if len(factors) == 3 else size


def _filters(dataset: Any) -> list[tuple[int, tuple[int, ...]]]:
    """Numbers and settings of the filters that an array's blocks went through, in that order."""
    creation = dataset.id.get_create_plist()
    return [(int(one[0]), tuple(one[2])) for one in map(creation.get_filter, range(creation.get_nfilters()))]


def _check_filters(dataset: Any, path: Path) -> None:
    """Refuse an array that is packed by what is not installed.

    Raises
    ------
    StackFileError
    """
    import h5py

    missing = [code for code, _ in _filters(dataset) if not h5py.h5z.filter_avail(code)]
    if missing:
        with suppress(ImportError):
            import hdf5plugin  # noqa: F401  # it registers its filters
        missing = [code for code in missing if not h5py.h5z.filter_avail(code)]
    if missing:
        name = _FILTER_NAMES.get(missing[0], f"number {missing[0]}")
        raise StackFileError(
            f"{path.name} is compressed with the HDF5 filter {name}, which is missing: pip install hdf5plugin."
        )


def _rule(dataset: Any, name: str) -> BlockRule | None:
    """What blocks of an array may be; None where nothing packs them, or a filter that bounds what it writes."""
    codec, tail = "", 0
    for code, settings in _filters(dataset):
        packs = _PACKING_FILTERS.get(code)
        if code == _BITSHUFFLE and len(settings) > 4 and settings[4]:
            packs = "sized"
        if packs and codec:
            raise StackFileError(f"{name} is compressed twice, which no program does: it is not read.")
        codec = packs or codec
        tail += 4 if code == _CHECKSUM and codec else 0
    declared = prod(dataset.chunks or ()) * np.dtype(dataset.dtype).itemsize
    return BlockRule(codec, declared, tail=tail) if codec else None


def _mapped_raw_data(path: Path, dataset: Any, dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Values that lie plainly in a file beside; None where they lie in the HDF5 file.

    HDF5 would look for that file where the program was started.
    """
    creation = dataset.id.get_create_plist()
    if creation.get_external_count() == 0:
        return None
    name, offset, _ = creation.get_external(0)
    other = neighbour(path, os.fsdecode(name), os.path.realpath(path.resolve().parent))
    if creation.get_external_count() > 1 or offset + prod(dataset.shape) * dtype.itemsize > other.stat().st_size:
        raise StackFileError(f"{path.name} keeps its values in other files, in a way that is not supported.")
    return np.memmap(other, dtype, "r", offset, dataset.shape)


def guarded_array(path: Path, name: str) -> HDF5Array:
    """An array by its path within a file: links are followed within the folder, and its blocks looked at.

    Raises
    ------
    StackFileError
        There is none, or it leads out of the folder.
    """
    folder = os.path.realpath(path.resolve().parent)
    place = place_of(path, name, folder)
    if place is None:
        raise StackFileError(f"{path.name} is damaged: there is no {name} in it.")
    check_storage(place, folder)
    return HDF5Array(place.file, place.name)


class HDF5Array:
    """An array whose blocks are looked at before HDF5 unpacks them.

    Parameters
    ----------
    path : Path
        The file that holds it.
    name : str
        Its path there.
    unsigned : bool
        Whether 16-bit values mean numbers without sign, as BigDataViewer's do.
    """

    def __init__(self, path: Path, name: str, unsigned: bool = False) -> None:
        import h5py

        self.file = h5py.File(path, "r")
        self._name = path.name
        self._dataset = self.file[name]
        _check_filters(self._dataset, path)
        self.shape, self.chunks = self._dataset.shape, self._dataset.chunks
        stored = np.dtype(self._dataset.dtype)
        self._unsigned = unsigned and stored.kind == "i" and stored.itemsize == 2
        self.dtype = stored.newbyteorder("=") if not self._unsigned else np.dtype(np.uint16)
        self._rule = _rule(self._dataset, self._name) if self.chunks else None
        self._outside = _mapped_raw_data(path, self._dataset, stored)

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        if self._rule is not None:
            for start in self._block_starts(key):
                self._look_at(start, self._rule)
        values = np.asarray((self._dataset if self._outside is None else self._outside)[key])
        return values.astype(np.int16, copy=False).view(np.uint16) if self._unsigned else values

    def _block_starts(self, key: tuple[Any, ...]) -> Iterator[tuple[int, ...]]:
        """Where the blocks begin that a selection of integers and ranges touches."""
        along = []
        for part, size, step in zip(key, self.shape, self.chunks, strict=True):
            positions = range(*part.indices(size)) if isinstance(part, slice) else range(int(part), int(part) + 1)
            if not positions:
                return
            low, high = min(positions), max(positions)
            along.append(range(low // step * step, high + 1, step))
        yield from product(*along)

    def _look_at(self, start: tuple[int, ...], rule: BlockRule) -> None:
        info = self._dataset.id.get_chunk_info_by_coord(start)
        if info.byte_offset is None or info.filter_mask:  # not written, or not packed
            return
        check_stored(info.size, rule)
        check_claim(info.size, rule)
        if not is_harmless(info.size, rule):
            _, data = self._dataset.id.read_direct_chunk(start)
            check_block(data, rule)
