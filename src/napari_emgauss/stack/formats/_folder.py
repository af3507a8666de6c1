"""A folder (or pattern) of single images, one a slice."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._check import MAX_SLICE_BYTES
from napari_emgauss.stack._slices import LazySlices
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize

from ._file_numbers import FileOrder, order_of
from ._tiff_codecs import jpeg_size, png_size

# Endings of one format are one format.
_FORMATS = {
    "TIFF": (".tif", ".tiff"),
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "BMP": (".bmp",),
    "PGM": (".pgm",),
    "DigitalMicrograph": (".dm3", ".dm4"),
}
IMAGE_SUFFIXES = tuple(suffix for suffixes in _FORMATS.values() for suffix in suffixes)
_LEAST_SLICES = 3
# Codecs of images that are too large for Pillow, and how to tell their size before they are decoded.
_LARGE = {
    ".png": (png_size, "png_decode"),
    ".jpg": (jpeg_size, "jpeg8_decode"),
    ".jpeg": (jpeg_size, "jpeg8_decode"),
}
_LARGEST_RATIO = 2000


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
        if path.suffix.lower() in _FORMATS["TIFF"]:
            import tifffile

            with tifffile.TiffFile(path, _multifile=False) as file:
                image = np.asarray(file.pages[0].asarray(maxworkers=1))
        elif path.suffix.lower() in _FORMATS["DigitalMicrograph"]:
            from ._dm import read_dm_picture

            image = read_dm_picture(path)[0]
        else:
            image = _decoded(path)
    except StackError:
        raise
    except Exception as error:  # decoders raise errors of many kinds
        raise StackFileError(f"{path.name} cannot be read as an image: it is damaged or in another format.") from error
    image = np.squeeze(image)
    if image.ndim == 3 and image.shape[-1] in (2, 3, 4):
        colours = image[..., : 1 if image.shape[-1] == 2 else 3]
        if not (colours == colours[..., :1]).all():
            raise StackError(f"{path.name} is an RGB image: convert it to grey values (in Fiji: Image > Type > 8-bit).")
        image = colours[..., 0]
    if image.ndim != 2:
        raise StackError(f"{path.name} is not a single image: it has the shape {image.shape}.")
    return image


def _decoded(path: Path) -> NDArray[Any]:
    """An image through imageio; one that Pillow thinks too large, by its codec, where its own size is likely.

    Pillow refuses what has more than some 14,000 x 14,000 pixels, which slices of electron microscopes do.
    """
    import imageio.v3 as iio
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return np.asarray(iio.imread(path))
        except Image.DecompressionBombError:
            data = path.read_bytes()
            measure, decode = _LARGE.get(path.suffix.lower(), (None, ""))
            if measure is None:
                raise
    import imagecodecs

    height, width, _ = measure(data)
    if height * width > min(MAX_SLICE_BYTES, _LARGEST_RATIO * len(data)):
        raise StackFileError(f"{path.name} claims {height} x {width} pixels in {len(data)} bytes: it is damaged.")
    return np.asarray(getattr(imagecodecs, decode)(data))


def open_image_series(path: Path, selection: Selection) -> OpenedFile:
    """Open the images of a folder, or those that a pattern such as ``slices/em_*.png`` matches.

    Raises
    ------
    StackError
        No images, fewer than a stack needs, or those of several series.
    """
    if path.is_dir():
        return open_images(_images(path.iterdir()), str(path), selection)
    # A pattern that names nothing but the ending says no more than the folder does.
    chosen = bool(path.stem.strip("*?."))
    return open_images(_images(path.parent.glob(path.name)), str(path.parent), selection, chosen=chosen)


def _images(paths: Any) -> list[Path]:
    """Image files among paths: macOS leaves a hidden ``._name`` beside every file on foreign disks."""
    return [p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and p.is_file()]


def open_images(files: Sequence[Path], folder: str, selection: Selection, *, chosen: bool = False) -> OpenedFile:
    """Open image files as one stack, in the order of the number in their names that counts slices.

    Parameters
    ----------
    files : sequence of Path
    folder : str
        For messages.
    selection : Selection
        Which channel, where several OME-TIFFs make one stack with channels.
    chosen : bool
        Whether a pattern has named the files.
    """
    if not files:
        raise StackFileError(f"There are no images in {folder}: known formats are {', '.join(IMAGE_SUFFIXES)}.")
    notes = []
    formats = {suffix: name for name, suffixes in _FORMATS.items() for suffix in suffixes}
    counts = Counter(formats[p.suffix.lower()] for p in files)
    if len(counts) > 1:
        # Most files, and of as many the format that is named first above: the same in every run.
        kept = max(_FORMATS, key=lambda name: counts[name])
        notes.append(f"{len(files) - counts[kept]} images in another format than {kept} are left out")
        files = [p for p in files if formats[p.suffix.lower()] == kept]
    files = sorted(files, key=lambda p: p.name)
    whole = _one_ome_stack(files, selection)
    if whole is not None:
        return replace(whole, notes=(*notes, *whole.notes))
    if len(files) < _LEAST_SLICES:
        raise StackError(
            f"A stack needs at least 3 slices, but {folder} holds {len(files)} images: if one of them is a whole "
            "stack, "
            "name that file."
        )
    order = order_of([p.name for p in files], folder, chosen=chosen)
    ordered = [files[k] for k in order.order]
    slices: LazySlices
    if ordered[0].suffix.lower() in _FORMATS["TIFF"]:
        from ._tiff import open_tiff_files

        opened = open_tiff_files(ordered)
        if opened is not None:
            return _with_order(replace(opened, format="image series", notes=(*notes, *opened.notes)), order)
    else:
        _check_sizes(ordered)
    slices = ImageFileSlices(ordered)
    size = VoxelSize()
    if ordered[0].suffix.lower() in _FORMATS["DigitalMicrograph"]:  # as 3View writes its slices
        from ._dm import read_dm_picture

        size = read_dm_picture(ordered[0])[1]
    return _with_order(OpenedFile(slices, size, "image series", tuple(notes)), order)


def _with_order(opened: OpenedFile, order: FileOrder) -> OpenedFile:
    """With what the names say of the depths."""
    gaps = order.numbers if order.missing else None
    return replace(opened, notes=(*opened.notes, *order.notes), z_nm=order.z_nm, slice_numbers=gaps)


def _one_ome_stack(files: Sequence[Path], selection: Selection) -> OpenedFile | None:
    """The stack of OME-TIFFs that name each other, where these are all the files; None where they are not."""
    if files[0].suffix.lower() not in _FORMATS["TIFF"]:
        return None
    from ._tiff import named_by, open_tiff

    named = named_by(files[0])
    if len(named) > 1 and named == {p.name for p in files}:
        return open_tiff(files[0], selection)
    return None


def _check_sizes(paths: Sequence[Path]) -> None:
    """Compare sizes of images by their headers, before anything is read.

    Raises
    ------
    StackError
        Names the first that differs.
    """
    from PIL import Image

    first: tuple[int, int] | None = None
    for index, path in enumerate(paths):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    size = image.size
        except Exception:  # told when it is read, with its own words
            continue
        first = first or size
        if size != first:
            raise StackError(
                f"Slice {index}, {path.name}, is {size[1]} x {size[0]} pixels, but the first, {paths[0].name}, is "
                f"{first[1]} x {first[0]}."
            )
