"""Leica files (``.lif``) through liffile."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._array_slices import ArraySlices
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize

from ._tree import Candidate, choose_array

_NM_PER_METRE = 1e9


def open_lif(path: Path, selection: Selection) -> OpenedFile:
    """Open an image of a Leica file: the one asked for by its name or number, or the only stack.

    Raises
    ------
    StackFileError
        Damaged, or of another format.
    StackError
        No stack in it, or several and none chosen.
    """
    import liffile

    try:
        with path.open("rb") as handle, liffile.LifFile(handle, squeeze=False) as file:
            found = [
                Candidate(str(number), tuple(int(n) for n in image.shape), np.dtype(image.dtype))
                for number, image in enumerate(file.images)
            ]
            names = [str(image.name) for image in file.images]
        wanted = None if selection.dataset is None else str(selection.dataset)
        chosen = int(choose_array(found, str(names.index(wanted)) if wanted in names else wanted, path.name))
        array = LifArray(path, chosen)
    except (StackError, KeyboardInterrupt):
        raise
    except Exception as error:  # a broken file can fail anywhere
        raise StackFileError(f"{path.name} cannot be read as LIF: it is damaged or in another format.") from error
    z, y, x = (array.steps.get(axis) for axis in "ZYX")
    size = VoxelSize(z, y, x, source="LIF metadata")
    array.close()
    slices = ArraySlices(LifArray, (path, chosen), selection, "TCZYX", path.name)
    notes = (slices.note,) if slices.note else ()
    metadata = {"dataset": names[chosen]} if len(names) > 1 else {}
    return OpenedFile(slices, size, "LIF", notes, metadata=metadata, channels=slices.channels)


class LifArray:
    """``(T, C, Z, Y, X)`` of one image, of which planes are read when they are looked at.

    Raises
    ------
    StackError
        It has axes that no stack has.
    """

    def __init__(self, path: Path, number: int) -> None:
        import liffile

        self.file = path.open("rb")
        try:
            self._look_at(liffile.LifFile(self.file, squeeze=False).images[number], path)
        except BaseException:
            self.file.close()
            raise
        self._lock = threading.Lock()

    def _look_at(self, image: Any, path: Path) -> None:
        self._image = image
        sizes = {str(axis): int(n) for axis, n in self._image.sizes.items()}
        others = [axis for axis, n in sizes.items() if axis not in "TCZYX" and n > 1]
        if others or "Y" not in sizes or "X" not in sizes:
            what = {"S": "colours", "M": "tiles of a mosaic", "H": "lifetimes"}.get("".join(others), "axes of its own")
            raise StackError(f"{path.name} holds {what}: save the stack as OME-TIFF with LAS X or Fiji.")
        self._indices = sizes
        self.shape = tuple(sizes.get(axis, 1) for axis in "TCZYX")
        self.dtype = np.dtype(self._image.dtype)
        self.steps = {
            axis: abs(float(at[-1] - at[0])) / (len(at) - 1) * _NM_PER_METRE
            for axis, at in self._image.coords.items()
            if len(at) > 1 and axis in "ZYX"
        }

    def __getitem__(self, key: tuple[Any, ...]) -> NDArray[Any]:
        time, channel, z, rows, columns = key
        if isinstance(z, slice):
            return np.stack([self[time, channel, k, rows, columns] for k in range(*z.indices(self.shape[2]))])
        asked = {axis: int(n) for axis, n in zip("TCZ", (time, channel, z), strict=True) if axis in self._indices}
        with self._lock:
            plane = np.asarray(self._image.frame(**asked))
        return plane.reshape(self.shape[3:])[rows, columns]

    def close(self) -> None:
        """Close the file."""
        self.file.close()
