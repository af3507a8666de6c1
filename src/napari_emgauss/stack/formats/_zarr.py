"""Zarr and OME-Zarr, through zarr: a container, or a group or array within one, whose metadata lie above it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._array_slices import ArraySlices, guess_axes
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize

from ._containers import MOST_FOLDERS, checked_name, container_of
from ._ngff import describe_level, letters_of, level_names, multiscale_of, ome_attributes, size_of_transform
from ._tree import Candidate, choose_array, voxel_size_of_attributes
from ._zarr_store import open_array, open_store

MARKS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def open_zarr(path: Path, selection: Selection) -> OpenedFile:
    """Open a Zarr array, or an OME-Zarr image at its finest level (or the level asked for).

    ``path`` may be a container or anything within: what a group above says of an array counts, up to the outermost.

    Raises
    ------
    StackFileError
        Not a Zarr that can be read, or one that leads out of its container.
    StackError
        No stack in it, or several and none chosen.
    """
    container = container_of(path, ".zarr", _is_part)
    try:
        return _Container(path, container).opened(selection)
    except (StackError, KeyboardInterrupt):
        raise
    except Exception as error:  # stores and metadata fail in many ways
        raise StackFileError(f"{path.name} cannot be read as Zarr: it is damaged or in another format.") from error


def _is_part(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in MARKS)


class _Container:
    """A container on disk, and where in it the user points.

    Parameters
    ----------
    path : Path
        What the user named.
    container : Path
        The outermost folder that it belongs to.
    """

    def __init__(self, path: Path, container: Path) -> None:
        self._path, self._root = path, container
        prefix = path.absolute().relative_to(container).as_posix() if path.absolute() != container else ""
        self._prefix = checked_name("" if prefix == "." else prefix, container.name)
        self._store = open_store(container, container)

    def _node(self, name: str) -> Any:
        """Group or array by its path within the container; None where there is none."""
        import zarr

        try:
            return zarr.open(self._store, path=name, mode="r")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def opened(self, selection: Selection) -> OpenedFile:
        """The stack that is meant."""
        wanted = None if selection.dataset is None else checked_name(selection.dataset, self._path.name)
        name = self._chosen(wanted or None)
        array = open_array(self._root, self._root, name)
        kind, letters, size = self._described(name, array)
        axes = letters or guess_axes(array.shape)
        slices = ArraySlices(open_array, (self._root, self._root, name), selection, axes, self._path.name)
        shown = name.removeprefix(self._prefix).strip("/")
        metadata = {"dataset": shown} if shown else {}
        notes = (slices.note,) if slices.note else ()
        return OpenedFile(slices, size, kind, notes, metadata=metadata, channels=slices.channels)

    def _chosen(self, wanted: str | None) -> str:
        """Path, within the container, of the array to read."""
        import zarr

        here = self._node(self._prefix)
        if here is None:
            raise StackFileError(f"{self._path.name} holds no Zarr that can be read.")
        if isinstance(here, zarr.Array):
            if wanted is not None:
                raise StackError(f"{self._path.name} is one array: there is no {wanted} in it.")
            return self._prefix
        if wanted is None:
            return self._of_group(self._prefix, here, None)
        name = f"{self._prefix}/{wanted}".strip("/")
        node = self._node(name)
        if node is None:
            return self._of_group(self._prefix, here, wanted)
        return name if isinstance(node, zarr.Array) else self._of_group(name, node, None)

    def _of_group(self, name: str, group: Any, wanted: str | None) -> str:
        """The array that is meant within a group: of an image its finest level."""
        attributes = dict(group.attrs)
        multiscale = multiscale_of(attributes)
        if multiscale is not None:
            levels = level_names(multiscale)
            if not levels:
                raise StackFileError(f"{self._path.name} is an OME-Zarr without any levels.")
            if wanted is not None and wanted not in levels:
                raise StackError(f"There is no level {wanted} in {self._path.name}: it has {', '.join(levels)}.")
            level = checked_name(wanted or levels[0], self._path.name)
            return f"{name}/{level}".strip("/")
        if "bioformats2raw.layout" in ome_attributes(attributes):
            first = self._node(f"{name}/0".strip("/"))
            if wanted is not None or first is None:
                raise StackError(f"There is no image {wanted or 0} in this OME-Zarr.")
            return self._of_group(f"{name}/0".strip("/"), first, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files that are none of Zarr's
            found = list(self._arrays(name, group))
        shown = self._path.name + (f"/{name}" if name and name != self._prefix else "")
        inside = choose_array(found, wanted, shown)
        return f"{name}/{inside}".strip("/")

    def _arrays(self, name: str, group: Any) -> Iterator[Candidate]:
        """Arrays below a group by their paths within it; of an image its finest level alone."""
        import zarr

        waiting: list[tuple[str, Any]] = [("", group)]
        seen = 0
        while waiting and seen < MOST_FOLDERS:
            within, current = waiting.pop()
            seen += 1
            multiscale = multiscale_of(dict(current.attrs)) if within else None
            levels = level_names(multiscale) if multiscale is not None else []
            if levels:
                level = self._node(f"{name}/{within}/{checked_name(levels[0], self._path.name)}".strip("/"))
                if isinstance(level, zarr.Array):
                    yield Candidate(f"{within}/{levels[0]}", tuple(level.shape), level.dtype)
                    continue
            for child, item in sorted(current.members(), key=lambda one: str(one[0]), reverse=True):
                place = f"{within}/{child}".strip("/")
                if isinstance(item, zarr.Array):
                    yield Candidate(place, tuple(item.shape), item.dtype)
                else:
                    waiting.append((place, item))

    def _described(self, name: str, array: Any) -> tuple[str, str | None, VoxelSize]:
        """Format, axis letters and voxel size: what the array says, or the nearest group above that says anything."""
        node = self._node(name)
        letters = _array_letters(node)
        size = _attribute_size(node)
        parts = name.split("/") if name else []
        for depth in range(len(parts) - 1, -1, -1):
            group = self._node("/".join(parts[:depth]))
            if group is None:
                continue
            multiscale = multiscale_of(dict(group.attrs))
            level = "/".join(parts[depth:])
            if multiscale is not None and level in level_names(multiscale):
                named, found = describe_level(multiscale, level, len(array.shape))
                return "OME-Zarr", named or letters, found if _says(found) else size
            if not _says(size):
                size = _attribute_size(group)
        return "Zarr", letters, size


def _says(size: VoxelSize) -> bool:
    return size != VoxelSize()


def _array_letters(array: Any) -> str | None:
    """Axis letters from the names some writers give (Zarr 3, xarray)."""
    names = getattr(array.metadata, "dimension_names", None) or dict(array.attrs).get("_ARRAY_DIMENSIONS")
    return letters_of(names) if names and len(names) == array.ndim and all(names) else None


def _attribute_size(node: Any) -> VoxelSize:
    attributes = dict(node.attrs)
    if isinstance(attributes.get("transform"), dict):
        found = size_of_transform(attributes["transform"], "Zarr attributes")
        if _says(found):
            return found
    return voxel_size_of_attributes(attributes, "Zarr attributes")
