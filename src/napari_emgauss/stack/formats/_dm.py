"""Gatan DigitalMicrograph files, DM3 and DM4: their tags through ncempy, their images as a memory map."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._array_slices import ArraySlices, guess_axes
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize, nm_per_unit

from ._tree import Candidate, choose_array

# Numbers of the types of grey values; the other ones are complex values, packed transforms and colours.
_DTYPES = {1: "<i2", 2: "<f4", 6: "u1", 7: "<i4", 9: "i1", 10: "<u2", 11: "<u4", 12: "<f8"}
_KINDS = {3: "complex values", 13: "complex values", 5: "a Fourier transform", 8: "colours", 23: "colours"}


@dataclass(frozen=True)
class _Image:
    """One image of a file, ``(Z, Y, X)`` or ``(Y, X)``, and where its values lie."""

    name: str
    shape: tuple[int, ...]
    type_number: int
    offset: int
    length: int
    scales: tuple[float, ...]
    units: tuple[str, ...]

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """None for what is no grey value."""
        return np.dtype(_DTYPES[self.type_number]) if self.type_number in _DTYPES else None


def open_dm(path: Path, selection: Selection) -> OpenedFile:
    """Open an image of a DM3 or DM4 file: the one asked for by its number, or the only stack.

    Raises
    ------
    StackFileError
        Damaged, cut off, or of another format.
    StackError
        No stack of grey values in it, or several and none chosen.
    """
    images = read_images(path)
    candidates = [Candidate(image.name, image.shape, image.dtype or np.dtype("c8")) for image in images]
    chosen = choose_array(candidates, selection.dataset, path.name)
    image = next(image for image in images if image.name == chosen)
    check_image(image, path)
    slices = ArraySlices(_mapped, (path, image), selection, guess_axes(image.shape), path.name)
    notes = (slices.note,) if slices.note else ()
    metadata = {"dataset": image.name} if len(images) > 1 else {}
    return OpenedFile(slices, voxel_size_of(image), _format(path), notes, metadata=metadata, channels=slices.channels)


def read_dm_picture(path: Path) -> tuple[NDArray[Any], VoxelSize]:
    """The only picture ``(H, W)`` of a file, and its pixel size; z is unknown.

    Raises
    ------
    StackFileError, StackError
        Damaged, no grey values, or not one picture.
    """
    found = [image for image in read_images(path) if len([n for n in image.shape if n > 1]) >= 2]
    if len(found) != 1 or len([n for n in found[0].shape if n > 1]) != 2:
        raise StackError(
            f"{path.name} is not a single image: it holds {', '.join(str(i.shape) for i in found) or 'none'}."
        )
    (image,) = found
    check_image(image, path)
    size = voxel_size_of(image)
    values = _mapped(path, image).reshape([n for n in image.shape if n > 1])
    return values, VoxelSize(None, size.y_nm, size.x_nm, source=size.source)


def voxel_size_of(image: _Image) -> VoxelSize:
    """The scales of the last three axes in nm; those of a diffraction pattern, a time or nothing are unknown."""
    sizes: list[float | None] = [None] * 3
    for place, (scale, unit) in enumerate(zip(image.scales[-3:][::-1], image.units[-3:][::-1], strict=True)):
        factor = nm_per_unit(unit)
        sizes[place] = None if factor is None else scale * factor
    return VoxelSize(sizes[2], sizes[1], sizes[0], source="DigitalMicrograph tags")


def read_images(path: Path) -> list[_Image]:
    """The images of a file without its thumbnail.

    Raises
    ------
    StackFileError
        Damaged, or of another format.
    """
    with path.open("rb") as file:
        start = file.read(16)
    version = int.from_bytes(start[:4], "big")
    at = {3: 8, 4: 12}.get(version)
    if at is None or len(start) < 16:
        raise StackFileError(f"{path.name} cannot be read as DM3 or DM4: it is damaged or in another format.")
    if int.from_bytes(start[at : at + 4], "big") != 1:
        raise StackFileError(
            f"{path.name} was written in the byte order of old Macintosh computers, which is not supported: save it "
            "again "
            "with DigitalMicrograph, or as TIFF with Fiji."
        )
    from ncempy.io.dm import fileDM

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # its counters of tags overflow harmlessly in large files
            # Not through a memory map, which cannot be closed while what failed to be read looks into it.
            with fileDM(path, on_memory=False) as file_of_tags:
                tags: Mapping[str, Any] = dict(file_of_tags.allTags)
        return [image for number in _numbers(tags) if (image := _image(tags, number)) is not None]
    except Exception as error:  # a broken file can fail anywhere
        raise StackFileError(
            f"{path.name} cannot be read as DM3 or DM4: it is damaged or in another format."
        ) from error


def _numbers(tags: Mapping[str, Any]) -> list[int]:
    """Numbers of the images, from 1, without those that are thumbnails of others."""
    numbers = {int(parts[2]) for tag in tags if len(parts := tag.split(".")) > 4 and parts[1] == "ImageList"}
    thumbnails = {int(tags[tag]) + 1 for tag in tags if tag.startswith(".Thumbnails.") and tag.endswith(".ImageIndex")}
    return sorted(numbers - thumbnails) or sorted(numbers)


def _image(tags: Mapping[str, Any], number: int) -> _Image | None:
    data = f".ImageList.{number}.ImageData."
    if f"{data}Data.arrayOffset" not in tags:
        return None
    axes = range(1, 1 + sum(f"{data}Dimensions.{axis}" in tags for axis in range(1, 6)))
    # The first axis of the file is x.
    scale = [float(tags.get(f"{data}Calibrations.Dimension.{axis}.Scale", 0)) for axis in axes]
    unit = [str(tags.get(f"{data}Calibrations.Dimension.{axis}.Units") or "") for axis in axes]
    return _Image(
        str(number),
        tuple(int(tags[f"{data}Dimensions.{axis}"]) for axis in reversed(axes)),
        int(tags[f"{data}DataType"]),
        int(tags[f"{data}Data.arrayOffset"]),
        int(tags[f"{data}Data.arraySize"]),
        tuple(reversed(scale)),
        tuple(reversed(unit)),
    )


def check_image(image: _Image, path: Path) -> None:
    """Refuse what is no grey values, and what is not all there.

    Raises
    ------
    StackError, StackFileError
    """
    if image.dtype is None:
        kind = _KINDS.get(image.type_number, f"values of the type {image.type_number}")
        raise StackError(f"{path.name} holds {kind}, not grey values: convert it with DigitalMicrograph or Fiji.")
    if min(image.shape, default=0) < 1:
        raise StackFileError(f"{path.name} is damaged: its image has the shape {image.shape}.")
    needed = math.prod(image.shape) * image.dtype.itemsize
    if needed > image.length or image.offset + needed > path.stat().st_size:
        raise StackFileError(f"{path.name} is cut off: it does not hold the {math.prod(image.shape)} values it claims.")


def _mapped(path: Path, image: _Image) -> Any:
    return np.memmap(path, _DTYPES[image.type_number], "r", image.offset, image.shape)


def _format(path: Path) -> str:
    with path.open("rb") as file:
        return f"DM{int.from_bytes(file.read(4), 'big')}"
