"""Read a stack from a file of any format we know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from napari_emgauss._errors import StackError, StackFileError

from ._array import build_stack
from ._channels import ChannelSlices
from ._check import check_shape
from ._source import OpenedFile, Selection
from ._stack import MAX_CHANNELS, Normalisation, Stack
from ._voxel_size import VoxelSize, resolve_geometry, voxel_size_from_argument

# Ending of a file's name -> module and function that opens it; the longest ending wins.
_OPENERS = {
    ".tif": ("_tiff", "open_tiff"),
    ".tiff": ("_tiff", "open_tiff"),
    ".btf": ("_tiff", "open_tiff"),
    ".lsm": ("_tiff", "open_tiff"),
    ".mrc": ("_mrc", "open_mrc"),
    ".rec": ("_mrc", "open_mrc"),
    ".st": ("_mrc", "open_mrc"),
    ".map": ("_mrc", "open_mrc"),
    ".h5": ("_hdf5", "open_hdf5"),
    ".hdf5": ("_hdf5", "open_hdf5"),
    ".hdf": ("_hdf5", "open_hdf5"),
    ".zarr": ("_zarr", "open_zarr"),
    ".n5": ("_n5", "open_n5"),
    ".npy": ("_npy", "open_npy"),
}


def readable_suffixes() -> tuple[str, ...]:
    """Endings of the file names that can be read."""
    return tuple(sorted(_OPENERS))


def read_stack(
    path: str | Path,
    *,
    voxel_size_nm: Sequence[float] | None = None,
    z_positions_nm: ArrayLike | None = None,
    skip: str | Sequence[int] = (),
    dataset: str | int | None = None,
    channel: int | Sequence[int] | None = None,
    time: int | None = None,
    normalisation: Normalisation | None = None,
    allow_isotropic: bool = False,
    allow_damaged: bool = False,
) -> Stack:
    """Read a stack lazily: slices are read from the file when they are looked at.

    Stacks up to 256 MB are looked through once on opening, so that a bad slice is told at once; of larger ones 16
    slices are.

    Parameters
    ----------
    path : str or Path
        TIFF, OME-TIFF, ImageJ TIFF, LSM; a folder of images, or a pattern such as ``slices/em_*.png``; MRC; HDF5; Zarr
        and OME-Zarr 0.4 and 0.5; N5; NumPy ``.npy``.
    voxel_size_nm : sequence of float, optional
        ``(z, y, x)`` in nm; overrides what the file says.
    z_positions_nm : array-like, optional
        Depth of each slice in nm, increasing.
    skip : str or sequence of int
        Slices to leave out, counted from 0: ``"12,57-59"`` or numbers. They keep their place: depths do not close up.
    dataset : str or int, optional
        Which image, where the file holds several: path within HDF5 and Zarr, level of an OME-Zarr, number in a TIFF.
    channel : int or sequence of int, optional
        Which channels, where the file holds several; by default all, up to 4.
    time : int, optional
        Which time point, where the file holds several.
    normalisation : Normalisation, optional
        Grey-value limits; found from the data by default.
    allow_isotropic : bool
        Accept a z step no larger than the pixels.
    allow_damaged : bool
        Accept empty, constant and NaN slices, to look for them afterwards.

    Returns
    -------
    Stack
        ``metadata["voxel_size_source"]`` says where the voxel size is from, ``metadata["notes"]`` what was assumed.

    Raises
    ------
    StackFileError
        The file is missing, damaged, or of no known format.
    StackError
        It is not a stack of grey-value slices.
    VoxelSizeError
        The voxel size is unknown, or isotropic already.
    """
    path = Path(path)
    opened = _open_channels(path, Selection(dataset, None, time), channel)
    check_shape(tuple(int(n) for n in opened.slices.shape), opened.slices.dtype)
    voxel_size = opened.voxel_size if voxel_size_nm is None else voxel_size_from_argument(voxel_size_nm)
    if z_positions_nm is None and voxel_size_nm is None:
        z_positions_nm = opened.z_nm
    try:
        resolve_geometry(int(opened.slices.shape[0]), voxel_size, z_positions_nm, hint=f" from {path.name}")
        return build_stack(
            opened.slices,
            voxel_size,
            z_positions_nm=z_positions_nm,
            name=stack_name(path),
            source=str(path),
            metadata={"format": opened.format, "notes": list(opened.notes), **opened.metadata},
            normalisation=normalisation,
            skip=skip,
            allow_isotropic=allow_isotropic,
            allow_damaged=allow_damaged,
        )
    except BaseException:
        close = getattr(opened.slices, "close", None)
        if close is not None:
            close()
        raise


def _open_channels(path: Path, selection: Selection, channel: int | Sequence[int] | None) -> OpenedFile:
    """A file's slices with the channels that are wanted: one source a channel, or the only one itself."""
    if channel is None:
        first = open_file(path, selection)
        if first.channels == 1:
            return first
        wanted = list(range(first.channels))
    else:
        wanted = [int(channel)] if isinstance(channel, (int, np.integer)) else [int(c) for c in channel]
        if not wanted or len(set(wanted)) != len(wanted) or len(wanted) > MAX_CHANNELS:
            raise StackError(f"Channels must be 1 to {MAX_CHANNELS} different numbers, not {wanted}.")
        first = open_file(path, replace(selection, channel=wanted[0]))
    if len(wanted) == 1:
        return first
    others = [open_file(path, replace(selection, channel=c)) for c in wanted[1:]]
    return replace(first, slices=ChannelSlices([first.slices, *(one.slices for one in others)]))


def read_voxel_size(path: str | Path, *, dataset: str | int | None = None) -> VoxelSize:
    """What a file says of its voxel size, without reading slices; sizes it does not tell are None.

    Raises
    ------
    StackFileError
        The file is missing, damaged, or of no known format.
    """
    path = Path(path)
    module, _ = opener_of(path)
    if module == "_tiff":
        from napari_emgauss.stack.formats._tiff import read_tiff_voxel_size

        return read_tiff_voxel_size(path, Selection(dataset))
    opened = open_file(path, Selection(dataset))
    return opened.voxel_size


def opener_of(path: Path) -> tuple[str, str]:
    """Module and function that open ``path``.

    Raises
    ------
    StackFileError
        It is missing, or of no known format.
    """
    if not path.exists():
        if set("*?[") & set(path.name) and path.parent.is_dir():
            return "_folder", "open_pattern"
        raise StackFileError(f"There is no file {path}.")
    if path.is_dir():
        is_zarr = any((path / file).exists() for file in ("zarr.json", ".zgroup", ".zarray", ".zattrs"))
        if is_zarr:
            return "_zarr", "open_zarr"
        is_n5 = path.suffix.lower() == ".n5" or (path / "attributes.json").is_file()
        return ("_n5", "open_n5") if is_n5 else ("_folder", "open_folder")
    name = path.name.lower()
    endings = [ending for ending in _OPENERS if name.endswith(ending)]
    if endings:
        return _OPENERS[max(endings, key=len)]
    raise StackFileError(f"{path.name} is of no format that can be read: known are {', '.join(readable_suffixes())}.")


def open_file(path: Path, selection: Selection) -> OpenedFile:
    """Open a file as slices, without checks."""
    module, function = opener_of(path)
    try:
        opener: Callable[[Path, Selection], OpenedFile] = getattr(
            import_module(f"napari_emgauss.stack.formats.{module}"), function
        )
        return opener(path, selection)
    except ModuleNotFoundError as error:
        raise StackFileError(
            f"Reading {path.name} needs the package {error.name}: pip install 'napari-emgauss[formats]'."
        ) from error
    except PermissionError as error:
        raise StackFileError(f"{path} cannot be opened: permission denied.") from error


def stack_name(path: Path) -> str:
    """File name without its ending, for titles."""
    name = path.name
    for ending in sorted((*readable_suffixes(), ".ome"), key=len, reverse=True):
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name
