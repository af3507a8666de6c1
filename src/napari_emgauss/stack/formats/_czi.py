"""Zeiss files (``.czi``) through czifile: planes put together of the tiles that are stored."""

from __future__ import annotations

import math
import threading
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._array_slices import ArraySlices
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize

# A plane may be larger than its tiles together, for tiles leave gaps; not by more than this.
_MOST_EMPTY = 64
_NM_PER_METRE = 1e9


def open_czi(path: Path, selection: Selection) -> OpenedFile:
    """Open the image of a Zeiss file at its full resolution.

    Raises
    ------
    StackFileError
        Damaged, or of another format.
    StackError
        Colours, or several scenes, views or phases.
    """
    try:
        array = CziArray(path)
    except (StackError, KeyboardInterrupt):
        raise
    except Exception as error:  # a broken file can fail anywhere
        raise StackFileError(f"{path.name} cannot be read as CZI: it is damaged or in another format.") from error
    size = _voxel_size(array.metadata)
    array.close()
    slices = ArraySlices(CziArray, (path,), selection, "TCZYX", path.name)
    notes = (slices.note,) if slices.note else ()
    return OpenedFile(slices, size, "CZI", notes, channels=slices.channels)


class CziArray:
    """``(T, C, Z, Y, X)``, of which planes are read when they are looked at.

    Raises
    ------
    StackError
        Colours, or several scenes, views or phases.
    """

    def __init__(self, path: Path) -> None:
        import czifile

        self.file = path.open("rb")
        try:
            self._look_through(czifile.CziFile(self.file), path)
        except BaseException:
            self.file.close()
            raise
        self._lock = threading.Lock()

    def _look_through(self, czi: Any, path: Path) -> None:
        self.metadata = str(czi.metadata() or "")
        axes, shape = str(czi.axes), tuple(int(n) for n in czi.shape)
        if not axes.endswith("YX0"):
            raise StackError(f"{path.name} has its axes in the order {axes}: save it as OME-TIFF with ZEN or Fiji.")
        sizes = dict(zip(axes, shape, strict=True))
        if sizes.get("0", 1) > 1:
            raise StackError(f"{path.name} holds a colour image: convert it to grey values first.")
        others = [axis for axis, size in sizes.items() if axis not in "TCZYX0" and size > 1]
        if others:
            what = {"S": "scenes", "V": "views", "H": "phases", "I": "illuminations", "R": "rotations", "B": "blocks"}
            named = " and ".join(f"{sizes[axis]} {what.get(axis, f'parts ({axis})')}" for axis in others)
            raise StackError(f"{path.name} holds {named}: save the one you want as a separate file with ZEN.")
        self.shape = tuple(sizes.get(axis, 1) for axis in "TCZYX")
        self.dtype = np.dtype(czi.dtype)
        start = dict(zip(axes, (int(n) for n in czi.start), strict=True))
        self._tiles: dict[tuple[int, ...], list[tuple[int, int, Any]]] = defaultdict(list)
        stored = 0
        for entry in czi.filtered_subblock_directory:
            if tuple(entry.stored_shape) != tuple(entry.shape):
                continue  # a coarser copy
            place = {axis: int(n) - start[axis] for axis, n in zip(entry.axes, entry.start, strict=True)}
            key = tuple(place.get(axis, 0) for axis in "TCZ")
            self._tiles[key].append((place.get("Y", 0), place.get("X", 0), entry))
            stored += math.prod(int(n) for n in entry.shape)
        if math.prod(self.shape) > _MOST_EMPTY * max(stored, 1):
            raise StackFileError(f"{path.name} is damaged: it claims {self.shape} voxels, of which it holds {stored}.")

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        time, channel, z, rows, columns = key
        if isinstance(z, slice):
            planes = [self._plane(time, channel, k)[rows, columns] for k in range(*z.indices(self.shape[2]))]
            return np.stack(planes)
        return self._plane(time, channel, int(z))[rows, columns]

    def _plane(self, time: int, channel: int, z: int) -> NDArray[Any]:
        plane = np.zeros(self.shape[3:], self.dtype)
        with self._lock:
            for y, x, entry in self._tiles.get((time, channel, z), ()):
                tile = np.asarray(entry.data_segment().data(resize=False)).reshape(entry.shape[-3:-1])
                plane[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
        return plane

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def _voxel_size(metadata: str) -> VoxelSize:
    """From ``Scaling/Items/Distance``, in metres."""
    sizes: dict[str, float] = {}
    try:
        for distance in ElementTree.fromstring(metadata).iter("Distance"):
            value = distance.findtext("Value")
            if distance.get("Id") in ("X", "Y", "Z") and value:
                sizes[str(distance.get("Id"))] = float(value) * _NM_PER_METRE
    except (ElementTree.ParseError, ValueError):
        return VoxelSize()
    return VoxelSize(sizes.get("Z"), sizes.get("Y"), sizes.get("X"), source="CZI metadata")
