"""What every file format gives when it is opened: slices, and what is known of their voxel size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._voxel_size import VoxelSize

if TYPE_CHECKING:
    from ._stack import SliceSource


@dataclass(frozen=True)
class Selection:
    """Which part of a file is the stack, where it holds more than one.

    Parameters
    ----------
    dataset : str or int, optional
        Path within an HDF5 or Zarr file, or number of a TIFF series; found by itself where there is only one.
    channel, time : int, optional
        Which channel and time point.
    """

    dataset: str | int | None = None
    channel: int | None = None
    time: int | None = None


@dataclass(frozen=True)
class OpenedFile:
    """Slices of a file, not yet read.

    Parameters
    ----------
    slices : SliceSource
        ``(K, H, W)``.
    voxel_size : VoxelSize
        As far as the file says.
    format : str
        For people: ``"OME-TIFF"``, ``"MRC"``, ...
    notes : tuple of str
        What had to be assumed.
    z_nm : list of float, optional
        Depth of each slice where the file gives it.
    slice_numbers : list of int, optional
        Of each slice, counted from the first, where some are known to be missing: they keep their place in depth.
    channels : int
        How many channels the file has, where none was chosen; ``slices`` are those of the first.
    metadata : dict
        More for the stack's provenance; JSON-compatible.
    """

    slices: SliceSource
    voxel_size: VoxelSize
    format: str
    notes: tuple[str, ...] = ()
    z_nm: list[float] | None = None
    slice_numbers: list[int] | None = None
    channels: int = 1
    metadata: dict[str, Any] = field(default_factory=dict)
