"""A folder (or pattern) of single images, one a slice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._slices import LazySlices
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize

_TIFF = (".tif", ".tiff")
IMAGE_SUFFIXES = (*_TIFF, ".png", ".jpg", ".jpeg", ".bmp", ".pgm")


class ImageFileSlices(LazySlices):
    """One slice a file; each file is opened when its slice is read.

    Parameters
    ----------
    paths : sequence of Path
        In the order of depth.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        first = read_grey_image(self._paths[0])
        super().__init__((len(self._paths), *first.shape), first.dtype)

    def __reduce__(self) -> Any:
        return ImageFileSlices, (self._paths,)

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        path = self._paths[index]
        image = read_grey_image(path)
        if image.shape != self._shape[1:] or image.dtype.newbyteorder("=") != self._dtype:
            height, width = self._shape[1:]
            raise StackError(
                f"Slice {index}, {path.name}, is {image.shape[0]} x {image.shape[1]} {image.dtype}, "
                f"but the first, {self._paths[0].name}, is {height} x {width} {self._dtype}."
            )
        return image[rows, columns].astype(self._dtype, copy=False)


def read_grey_image(path: Path) -> NDArray[Any]:
    """One image as ``(H, W)``; grey values saved as RGB are taken, true colours are not.

    Raises
    ------
    StackFileError
        It cannot be read.
    StackError
        It is a colour image, or more than one image.
    """
    try:
        if path.suffix.lower() in _TIFF:
            import tifffile

            image = np.asarray(tifffile.imread(path, maxworkers=1))
        else:
            import imageio.v3 as iio

            image = np.asarray(iio.imread(path))
    except Exception as error:  # decoders raise errors of many kinds
        raise StackFileError(f"{path.name} cannot be read as an image: it is damaged, or of another format.") from error
    image = np.squeeze(image)
    if image.ndim == 3 and image.shape[-1] in (2, 3, 4):
        colours = image[..., : 1 if image.shape[-1] == 2 else 3]
        if not (colours == colours[..., :1]).all():
            raise StackError(f"{path.name} is an RGB image: convert it to grey values (in Fiji: Image > Type > 8-bit).")
        image = colours[..., 0]
    if image.ndim != 2:
        raise StackError(f"{path.name} is no single image: it has the shape {image.shape}.")
    return image


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts ``slice2`` before ``slice10``."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def open_image_series(path: Path, selection: Selection) -> OpenedFile:
    """Open the images of a folder, or those that a pattern such as ``slices/em_*.png`` matches."""
    return open_folder(path, selection) if path.is_dir() else open_pattern(path, selection)


def open_folder(path: Path, selection: Selection) -> OpenedFile:
    """Open the images of a folder as one stack, in the natural order of their names.

    Raises
    ------
    StackError
        No images, or fewer than a stack needs.
    """
    files = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    return open_images(files, path.name)


def open_pattern(path: Path, selection: Selection) -> OpenedFile:
    """Open the images that a pattern such as ``slices/em_*.png`` matches."""
    files = [p for p in path.parent.glob(path.name) if p.suffix.lower() in IMAGE_SUFFIXES]
    return open_images(files, str(path))


def open_images(files: Sequence[Path], name: str) -> OpenedFile:
    """Open image files as one stack, in the natural order of their names."""
    if not files:
        raise StackFileError(f"There are no images in {name}: known are {', '.join(IMAGE_SUFFIXES)}.")
    notes = []
    counts = Counter(p.suffix.lower() for p in files)
    if len(counts) > 1:
        suffix, count = counts.most_common(1)[0]
        notes.append(f"{len(files) - count} images of another format than {suffix} are left out")
        files = [p for p in files if p.suffix.lower() == suffix]
    ordered = sorted(files, key=lambda p: natural_key(p.name))
    if len(ordered) < 3:
        raise StackError(f"A stack needs at least 3 slices; {name} holds {len(ordered)} images.")
    missing = _missing_numbers([p.stem for p in ordered])
    if missing:
        shown = ", ".join(str(n) for n in missing[:8]) + (", ..." if len(missing) > 8 else "")
        notes.append(f"the file numbers leave out {shown}: if slices are missing there, give z positions")
    voxel_size = VoxelSize()
    if ordered[0].suffix.lower() in _TIFF:
        from ._tiff import read_tiff_voxel_size

        found = read_tiff_voxel_size(ordered[0], Selection())
        # A single image knows nothing of the distance to the next.
        if found.y_nm and found.x_nm:
            voxel_size = VoxelSize(found.z_nm, found.y_nm, found.x_nm, found.source)
    return OpenedFile(ImageFileSlices(ordered), voxel_size, "image series", tuple(notes))


def _missing_numbers(stems: Sequence[str]) -> list[int]:
    """Numbers left out of names that otherwise count up by one."""
    found = [re.findall(r"\d+", stem) for stem in stems]
    if not all(found):
        return []
    numbers = [int(parts[-1]) for parts in found]
    steps = np.diff(numbers)
    if len(steps) == 0 or (steps < 1).any() or np.median(steps) != 1 or numbers[-1] - numbers[0] > 10 * len(numbers):
        return []
    return sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers))
