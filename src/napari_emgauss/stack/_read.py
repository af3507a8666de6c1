"""Read a stack from a file of any format we know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_emgauss._errors import StackError, StackFileError

from ._address import address_of
from ._array import build_stack
from ._channel_slices import ChannelSlices
from ._check import check_shape
from ._size_rules import checked_voxel_size
from ._source import OpenedFile, Selection
from ._stack import MAX_CHANNELS, Normalisation, Stack, checked_box
from ._voxel_size import VoxelSize, resolve_geometry, voxel_size_from_argument
from .formats._registry import format_of, readable_suffixes


def read_stack(
    path: str | Path,
    *,
    voxel_size_nm: Sequence[float] | None = None,
    z_positions_nm: ArrayLike | None = None,
    skip: str | Sequence[int] = (),
    dataset: str | int | None = None,
    channel: int | Sequence[int] | None = None,
    time: int | None = None,
    region: Sequence[int] | None = None,
    z_range_nm: Sequence[float] | None = None,
    normalisation: Normalisation | None = None,
    allow_isotropic: bool = False,
    allow_damaged: bool = False,
) -> Stack:
    """Read a stack lazily: slices are read from the file when they are needed.

    Stacks of up to 256 MB are checked completely on opening, so that a bad slice is reported at once; of larger
    stacks, 16 slices are checked.

    Parameters
    ----------
    path : str or Path
        A file or folder of one of the :func:`input_formats`, a pattern of images such as ``slices/em_*.png``, or the
        address of an OME-Zarr, N5 or Neuroglancer volume on a server: ``https://...``, ``s3://...``, ``gs://...``.
    voxel_size_nm : sequence of float, optional
        ``(z, y, x)`` in nm; overrides what the file says.
    z_positions_nm : array-like, optional
        Depth of each slice in nm, increasing.
    skip : str or sequence of int
        Slices to leave out, counted from 0: ``"12,57-59"`` or numbers. The other slices keep their depths.
    dataset : str or int, optional
        Which image, if the file holds several; `InputFormat.dataset` says what that means in each format.
    channel : int or sequence of int, optional
        Which channels, if the file holds several; by default all, up to 4.
    time : int, optional
        Which time point, if the file holds several.
    region : sequence of int, optional
        ``(y0, y1, x0, x1)`` in pixels: read this rectangle of every slice and nothing else.
    z_range_nm : sequence of float, optional
        First and last depth in nm: read the slices between them and nothing else. They keep their depths, and their
        numbers in the file.
    normalisation : Normalisation, optional
        Grey-value limits; found by default from the data, those of the region alone.
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
    opened = open_channels(path, Selection(dataset, None, time), channel)
    found = checked_voxel_size(opened.voxel_size)
    notes = [*opened.notes, *([found.assumed] if found.assumed and voxel_size_nm is None else [])]
    shape = tuple(int(n) for n in opened.slices.shape)
    if region is not None:
        y0, y1, x0, x1 = checked_box(region, *shape[-2:])
        shape = (*shape[:-2], y1 - y0, x1 - x0)
    check_shape(shape, opened.slices.dtype)
    voxel_size = found if voxel_size_nm is None else voxel_size_from_argument(voxel_size_nm)
    about = {**_chosen(dataset, channel, time), **opened.metadata}
    if z_positions_nm is None:
        z_positions_nm = opened.z_nm if voxel_size_nm is None else None
        if z_positions_nm is None and opened.slice_numbers is not None and voxel_size.z_nm is not None:
            z_positions_nm = [k * voxel_size.z_nm for k in opened.slice_numbers]
        if z_positions_nm is not None:
            about["z_positions_source"] = "the file"
    try:
        resolve_geometry(int(opened.slices.shape[0]), voxel_size, z_positions_nm, hint=f" from {path.name}")
        return build_stack(
            opened.slices,
            voxel_size,
            z_positions_nm=z_positions_nm,
            name=stack_name(path),
            source=str(address_of(path) or path),
            metadata={"format": opened.format, "notes": notes, **about},
            normalisation=normalisation,
            skip=skip,
            allow_isotropic=allow_isotropic,
            allow_damaged=allow_damaged,
            region=region,
            z_range_nm=z_range_nm,
        )
    except BaseException:
        close = getattr(opened.slices, "close", None)
        if close is not None:
            close()
        raise


def _chosen(dataset: str | int | None, channel: int | Sequence[int] | None, time: int | None) -> dict[str, Any]:
    """What of a file was chosen, so that the same is found again."""
    chosen: dict[str, Any] = {} if dataset is None else {"dataset": str(dataset)}
    if channel is not None:
        several = [channel] if isinstance(channel, (int, np.integer)) else channel
        chosen["channels_in_file"] = [int(c) for c in several]
    return chosen if time is None else {**chosen, "time_in_file": int(time)}


def open_channels(path: Path, selection: Selection, channel: int | Sequence[int] | None) -> OpenedFile:
    """A file's slices with the channels that are wanted: one source a channel, or the only one itself.

    Errors are those of :func:`open_file`.
    """
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
    with _plain_errors(path):
        return checked_voxel_size(format_of(path).read_size(path, Selection(dataset)))


def open_file(path: Path, selection: Selection) -> OpenedFile:
    """Open a file as slices, without checks.

    Raises
    ------
    StackFileError
        It is missing, damaged, or of no known format, or a package to read it is missing.
    StackError
        It holds no stack, or several and none is chosen.
    """
    with _plain_errors(path):
        return format_of(path).open(path, selection)


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """What any opener may meet, as our own errors."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise StackFileError(
            f"Reading {path.name} needs the package {error.name}: pip install {error.name}."
        ) from error
    except PermissionError as error:
        raise StackFileError(f"{path} cannot be opened: permission denied.") from error


def stack_name(path: Path) -> str:
    """File name without its ending, for titles."""
    name = (address_of(path) or path).name
    for ending in sorted((*readable_suffixes(), ".ome"), key=len, reverse=True):
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name
