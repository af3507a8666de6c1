"""N5 containers through tensorstore: zarr, since its version 3, no longer reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._array_slices import ArraySlices, guess_axes
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize, nm_per_unit

from ._tree import Candidate, choose_array

_ATTRIBUTES = "attributes.json"
# A container of more folders than this is searched no further: the array has to be named.
_MOST_FOLDERS = 2000


def open_n5(path: Path, selection: Selection) -> OpenedFile:
    """Open an array of an N5 container: the one asked for, or the only one that can be meant.

    N5 counts axes from the fastest (x, y, z); a stack has them the other way round.

    Raises
    ------
    StackFileError
        Not an N5 container that can be read, or tensorstore is not installed.
    StackError
        No stack in it, or several and none chosen.
    """
    try:
        import tensorstore  # noqa: F401
    except ImportError as error:
        raise StackFileError(
            f"{path.name} is N5, which needs tensorstore: pip install 'napari-emgauss[n5]', "
            "or convert it to Zarr or TIFF."
        ) from error
    found = _arrays(path)
    # Of a pyramid s0, s1, ... the finest level is meant.
    finest = [one for one in found if one.path.rsplit("/", 1)[-1] == "s0"]
    chosen = choose_array(
        found if selection.dataset is not None or len(finest) != 1 else finest, selection.dataset, path.name
    )
    try:
        shape = tuple(int(n) for n in _array(path, chosen).shape)
        slices = ArraySlices(_array, (path, chosen), selection, guess_axes(shape), path.name)
    except (StackError, KeyboardInterrupt):
        raise
    except Exception as error:  # stores and codecs fail in many ways
        raise StackFileError(f"{path.name} cannot be read as N5: it is damaged, or of another format.") from error
    notes = (slices.note,) if slices.note else ()
    metadata = {"dataset": chosen} if chosen else {}
    return OpenedFile(slices, _voxel_size(path, chosen), "N5", notes, metadata=metadata, channels=slices.channels)


def _arrays(path: Path) -> list[Candidate]:
    """Every array below the container, by its path within."""
    found: list[Candidate] = []
    waiting, seen = [path], 0
    while waiting and seen < _MOST_FOLDERS:
        folder = waiting.pop()
        seen += 1
        attributes = _read(folder)
        sizes, kind = attributes.get("dimensions"), attributes.get("dataType")
        if isinstance(sizes, list) and isinstance(kind, str):
            try:
                shape = tuple(int(n) for n in reversed(sizes))
                found.append(Candidate(folder.relative_to(path).as_posix().removeprefix("."), shape, np.dtype(kind)))
            except (TypeError, ValueError) as error:
                raise StackFileError(f"{path.name} cannot be read as N5: its attributes make no sense.") from error
            continue  # what lies below an array are its blocks
        waiting += sorted((one for one in folder.iterdir() if one.is_dir()), reverse=True)
    return found


def _read(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / _ATTRIBUTES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _voxel_size(path: Path, name: str) -> VoxelSize:
    """From the attributes of the array or of a folder above it: ``pixelResolution`` or ``resolution``, x first."""
    folder = path / name
    for _ in range(len(Path(name).parts) + 1):
        attributes = _read(folder)
        told = attributes.get("pixelResolution")
        sizes = told.get("dimensions") if isinstance(told, dict) else attributes.get("resolution")
        unit = told.get("unit") if isinstance(told, dict) else attributes.get("units", attributes.get("unit"))
        unit = unit[0] if isinstance(unit, list) and unit else unit
        factor = nm_per_unit(str(unit)) if unit is not None else None
        if isinstance(sizes, list) and len(sizes) >= 3 and factor is not None:
            try:
                x, y, z = (float(size) * factor for size in sizes[:3])
            except (TypeError, ValueError):
                return VoxelSize()
            steps = attributes.get("downsamplingFactors")
            if isinstance(told, dict) and isinstance(steps, list) and len(steps) == 3:
                x, y, z = (size * float(step) for size, step in zip((x, y, z), steps, strict=True))
            return VoxelSize(z, y, x, source="N5 attributes")
        folder = folder.parent
    return VoxelSize()


class _N5Array:
    """The array with its axes turned round and its blocks told, as slices are read from it."""

    def __init__(self, store: Any) -> None:
        self._store = store.T
        self.shape = tuple(int(n) for n in self._store.shape)
        self.dtype = np.dtype(store.dtype.numpy_dtype)
        self.chunks = tuple(int(n) for n in reversed(store.chunk_layout.read_chunk.shape))

    def __getitem__(self, key: Any) -> Any:
        return self._store[key].read().result()


def _array(path: Path, name: str) -> _N5Array:
    import tensorstore

    where = {"driver": "file", "path": str((path / name).resolve())}
    return _N5Array(tensorstore.open({"driver": "n5", "kvstore": where}, read=True, open=True).result())
