"""Imaris files (``.ims``): HDF5 whose blocks are padded and whose sizes are written as letters."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._array_slices import ArraySlices
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize, nm_per_unit

from ._hdf5 import HDF5Array, guarded_array
from ._hdf5_links import place_of

_FINEST = "DataSet/ResolutionLevel 0"


def open_imaris(path: Path, selection: Selection) -> OpenedFile:
    """Open the finest level of an Imaris file.

    Raises
    ------
    StackFileError
        Not an Imaris file, or a damaged one.
    """
    import h5py

    try:
        array = ImarisArray(path)
        with h5py.File(path, "r") as file:
            extent = _texts(file["DataSetInfo/Image"].attrs)
    except (StackFileError, KeyboardInterrupt):
        raise
    except Exception as error:  # a broken file can fail anywhere
        raise StackFileError(f"{path.name} cannot be read as Imaris: it is damaged or in another format.") from error
    size, note = _voxel_size(extent, array.shape[-3:])
    array.close()
    slices = ArraySlices(ImarisArray, (path,), selection, "TCZYX", path.name)
    notes = tuple(text for text in (slices.note, note) if text)
    return OpenedFile(slices, size, "Imaris", notes, channels=slices.channels)


class ImarisArray:
    """``(T, C, Z, Y, X)`` of the finest level, without the padding of its blocks.

    Raises
    ------
    StackFileError
        The file is damaged.
    """

    def __init__(self, path: Path) -> None:
        import h5py

        self._path = path
        self._arrays: dict[str, HDF5Array] = {}
        self.file = h5py.File(path, "r")
        self._times = _ordered(self._group(_FINEST), "TimePoint")
        first = f"{_FINEST}/{self._times[0]}"
        self._channels = _ordered(self._group(first), "Channel")
        group = self._group(f"{first}/{self._channels[0]}")
        self._group(f"{first}/{self._channels[0]}/Data")
        data, said = group["Data"], _texts(group.attrs)
        size = tuple(int(said.get(f"ImageSize{axis}", data.shape[place])) for place, axis in enumerate("ZYX"))
        if data.ndim != 3 or any(not 0 < own <= stored for own, stored in zip(size, data.shape, strict=True)):
            raise StackFileError(f"{path.name} is damaged: its image of {size} voxels is stored as {data.shape}.")
        self.shape = (len(self._times), len(self._channels), *size)
        self.dtype = data.dtype
        self.chunks = (1, 1, *data.chunks) if data.chunks else None

    def _group(self, name: str) -> Any:
        """A group of the file itself: links that lead out of it are refused before HDF5 follows them."""
        place = place_of(self._path, name, os.path.realpath(self._path.resolve().parent))
        if place is None or place.file != self._path:
            raise StackFileError(f"{self._path.name} is damaged, or takes its image from another file.")
        return self.file[name]

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        time, channel, z, rows, columns = key
        name = f"{_FINEST}/{self._times[time]}/{self._channels[channel]}/Data"
        data = self._arrays.get(name)
        if data is None:
            data = self._arrays[name] = guarded_array(self._path, name)
        # The ranges end within the image, so the padding is never reached.
        return np.asarray(data[z, slice(*rows.indices(self.shape[3])), slice(*columns.indices(self.shape[4]))])

    def close(self) -> None:
        """Close the file."""
        for array in self._arrays.values():
            array.file.close()
        self.file.close()


def _ordered(group: Any, kind: str) -> list[str]:
    """Names such as ``Channel 10`` in the order of their numbers."""
    found = [(int(match[1]), name) for name in group if (match := re.fullmatch(rf"{kind} (\d+)", name))]
    if not found:
        raise StackError(f"There is no {kind} in the file.")
    return [name for _, name in sorted(found)]


def _texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Attributes, which Imaris writes as arrays of single letters."""
    return {name: _text(value) for name, value in attributes.items()}


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    letters = np.atleast_1d(np.asarray(value)).tolist()
    return "".join(c.decode("utf-8", "replace") if isinstance(c, bytes) else str(c) for c in letters)


def _voxel_size(extent: Mapping[str, str], shape: tuple[int, ...]) -> tuple[VoxelSize, str]:
    """From the corners of the volume, which span whole voxels; their unit is µm unless the file says another."""
    unit = extent.get("Unit", "um")
    factor = nm_per_unit(unit)
    sizes: list[float | None] = []
    for place, count in zip((2, 1, 0), shape, strict=True):
        try:
            span = float(extent[f"ExtMax{place}"]) - float(extent[f"ExtMin{place}"])
        except (KeyError, ValueError):
            span = math.nan
        sizes.append(None if factor is None else abs(span) / count * factor)
    note = f"the file's unit of length, {unit!r}, is unknown" if factor is None else ""
    return VoxelSize(sizes[0], sizes[1], sizes[2], source="Imaris extents"), note
