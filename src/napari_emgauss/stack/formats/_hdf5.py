"""HDF5 files through h5py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._array_slices import ArraySlices, guess_axes
from napari_emgauss.stack._source import OpenedFile, Selection

from ._tree import Candidate, choose_array, voxel_size_of_attributes


def open_hdf5(path: Path, selection: Selection) -> OpenedFile:
    """Open an array of an HDF5 file: the one asked for, or the only one that can be meant.

    Raises
    ------
    StackFileError
        Not an HDF5 file, or a truncated one.
    StackError
        No stack in it, or several and none chosen.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            found: list[Candidate] = []

            def visit(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset) and item.shape is not None:
                    found.append(Candidate(name, tuple(item.shape), item.dtype))

            file.visititems(visit)
            chosen = choose_array(found, selection.dataset, path.name)
            dataset = file[chosen]
            attributes = dict(file.attrs) | dict(dataset.parent.attrs) | dict(dataset.attrs)
            shape = tuple(dataset.shape)
    except (StackError, KeyboardInterrupt):
        raise
    except Exception as error:  # a broken file can fail anywhere
        raise StackFileError(f"{path.name} cannot be read as HDF5: it is damaged, or of another format.") from error
    voxel_size = voxel_size_of_attributes(attributes, "HDF5 attributes")
    slices = ArraySlices(_dataset, (path, chosen), selection, guess_axes(shape), path.name)
    notes = (slices.note,) if slices.note else ()
    return OpenedFile(slices, voxel_size, "HDF5", notes, metadata={"dataset": chosen}, channels=slices.channels)


def _dataset(path: Path, name: str) -> Any:
    import h5py

    return h5py.File(path, "r")[name]
