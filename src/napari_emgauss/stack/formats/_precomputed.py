"""Volumes as Neuroglancer reads them ("precomputed"), on disk or on a server, through tensorstore."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._address import Address
from napari_emgauss.stack._array_slices import ArraySlices
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize

from ._places import Place, PlacedArray, place_of

_DRIVER = "neuroglancer_precomputed"


def open_precomputed(where: Path | Address, selection: Selection) -> OpenedFile:
    """Open the finest scale of a volume, or the one asked for by its key or number.

    Raises
    ------
    StackFileError
        There is none, it is damaged, or the server fails.
    StackError
        There is no such scale.
    """
    place = place_of(where)
    info = place.read_json("info") if isinstance(where, Address) else _local_info(place)
    if info is None:
        # A folder of images may hold a text called "info".
        if isinstance(where, Path):
            from ._folder import open_image_series

            return open_image_series(where, selection)
        raise StackFileError(f"There is no Neuroglancer volume at {where}.")
    scales = info["scales"]
    if not isinstance(scales, list) or not scales or not all(isinstance(scale, Mapping) for scale in scales):
        raise StackFileError(f"{where.name} is a Neuroglancer volume without any scales.")
    number = _scale(scales, selection.dataset, where.name)
    if isinstance(where, Path):
        _refuse_packed(where, str(scales[number].get("key", "")))
    return _opened(place, where.name, scales, number, selection)


def _local_info(place: Place) -> dict[str, Any] | None:
    try:
        info = place.read_json("info")
    except StackFileError:
        return None
    return info if info is not None and "scales" in info else None


def _refuse_packed(folder: Path, key: str) -> None:
    """Refuse blocks as CloudVolume packs them on disk: under their own names they are missing, which means black."""
    with os.scandir(folder / key) as entries:
        packed = next((e.name for e in entries if e.name.endswith((".gz", ".br", ".zstd"))), "")
    if packed:
        ending = packed[packed.rindex(".") :]
        unpack = f": decompress them with gunzip -r {key}" if ending == ".gz" else ", which cannot be read from a disk"
        raise StackFileError(f"The blocks of {folder.name} are compressed one by one ({ending}){unpack}.")


def _scale(scales: list[Mapping[str, Any]], wanted: str | int | None, name: str) -> int:
    keys = [str(scale.get("key", "")) for scale in scales]
    if wanted is None:
        return 0
    if str(wanted) in keys:
        return keys.index(str(wanted))
    if str(wanted).isdecimal() and int(wanted) < len(scales):
        return int(wanted)
    raise StackError(f"There is no scale {wanted} in {name}: it has {', '.join(keys)}.")


def _opened(place: Place, name: str, scales: list[Mapping[str, Any]], number: int, selection: Selection) -> OpenedFile:
    scale = scales[number]
    try:
        x, y, z = (float(size) for size in scale["resolution"])
        offset = [int(n) for n in scale.get("voxel_offset", (0, 0, 0))]
    except (KeyError, TypeError, ValueError) as error:
        raise StackFileError(f"{name} is damaged: its scale {number} makes no sense.") from error
    arguments = (place, _DRIVER, {"scale_index": number}, True)
    slices = ArraySlices(PlacedArray, arguments, selection, "CZYX", name)
    notes = [slices.note] if slices.note else []
    if any(offset):
        start = " x ".join(str(n) for n in reversed(offset))
        notes.append(f"the volume starts at voxel {start} (z, y, x): slices and pixels are counted from there")
    metadata: dict[str, Any] = {"dataset": str(scale.get("key", number))} if len(scales) > 1 else {}
    return OpenedFile(
        slices,
        VoxelSize(z, y, x, source="Neuroglancer info"),
        "Neuroglancer precomputed",
        tuple(notes),
        metadata=metadata,
        channels=slices.channels,
    )
