"""Imaris files (``.ims``): HDF5 whose blocks are padded and whose sizes are written as letters."""

from __future__ import annotations

import math
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
        raise StackFileError(f"{path.name} cannot be read as Imaris: it is damaged, or of another format.") from error
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

        self.file = h5py.File(path, "r")
        level = self.file[_FINEST]
        self._times = _ordered(level, "TimePoint")
        self._channels = _ordered(level[self._times[0]], "Channel")
        group = level[self._times[0]][self._channels[0]]
        data, said = group["Data"], _texts(group.attrs)
        size = tuple(int(said.get(f"ImageSize{axis}", data.shape[place])) for place, axis in enumerate("ZYX"))
        if data.ndim != 3 or any(not 0 < own <= stored for own, stored in zip(size, data.shape, strict=True)):
            raise StackFileError(f"{path.name} is damaged: its image of {size} voxels is stored as {data.shape}.")
        self.shape = (len(self._times), len(self._channels), *size)
        self.dtype = data.dtype
        self.chunks = (1, 1, *data.chunks) if data.chunks else None

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        time, channel, z, rows, columns = key
        data = self.file[_FINEST][self._times[time]][self._channels[channel]]["Data"]
        # The ranges end within the image, so the padding is never reached.
        return np.asarray(data[z, slice(*rows.indices(self.shape[3])), slice(*columns.indices(self.shape[4]))])

    def close(self) -> None:
        """Close the file."""
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
    note = f"the file's unit of length, {unit!r}, is not known" if factor is None else ""
    return VoxelSize(sizes[0], sizes[1], sizes[2], source="Imaris extents"), note
