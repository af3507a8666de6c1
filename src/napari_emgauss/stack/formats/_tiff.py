"""TIFF, OME-TIFF, ImageJ TIFF and LSM through tifffile, of each page what is asked for.

Which pages make the stack is told by the program that wrote them (:mod:`._tiff_ome`, :mod:`._tiff_pictures`);
how a page becomes grey values, by the page itself, each by its own (:mod:`._tiff_slices`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack._axes import choose_axes
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize

from ._tiff_directories import Directory, read_directories
from ._tiff_ome import NoOmeError, full_xml, named_files, ome_pictures
from ._tiff_pictures import Picture, imagej_picture, pictures_of_tifffile, plain_pictures
from ._tiff_sizes import tiff_voxel_size
from ._tiff_slices import TiffPlanes, TiffSlices


def open_tiff(path: Path, selection: Selection) -> OpenedFile:
    """Open a TIFF file as a stack without reading its slices.

    Raises
    ------
    StackFileError
        Not a TIFF file, or a truncated one.
    StackError
        Not a stack.
    """
    with _opened(path) as (file, directories, told):
        pictures = _pictures(file, path, directories)
        picture, notes = _chosen(pictures, selection, path)
        try:
            choice = choose_axes(picture.axes, picture.shape, selection.channel, selection.time)
        except StackError as error:
            if told and not isinstance(error, StackFileError):
                # "A single image" is what a stack looks like whose later pages are cut off.
                raise StackFileError(
                    f"{path.name} is damaged or truncated: {len(told)} of its parts are broken."
                ) from error
            raise
        kind, voxel_size = _size(file, picture, path)
        planes = TiffPlanes(
            picture.files,
            picture.places[choice.pages],
            picture.how,
            picture.number,
            keep_colours=bool(file.is_imagej),
        )
        slices = TiffSlices(planes, (choice.height, choice.width))
        notes = [*notes, *picture.notes, *([choice.note] if choice.note else [])]
    return OpenedFile(slices, voxel_size, kind, tuple(notes), channels=choice.channels)


def open_tiff_files(paths: Sequence[Path]) -> OpenedFile | None:
    """Open TIFF files as one stack, the first picture of each as a slice; None where they hold colours.

    Raises
    ------
    StackError
        A file holds more than one image, or differs in size or type.
    StackFileError
        A file cannot be read.
    """
    pages = []
    for path in paths:
        with _plain(path):
            found = [one for one in read_directories(path) if not one.is_reduced]
        if not found:
            raise StackFileError(f"{path.name} cannot be read as an image: it is damaged or in another format.")
        largest = max(found, key=lambda one: one.shape)
        if sum(one.shape == largest.shape for one in found) > 1:
            raise StackError(f"{path.name} is not a single image: it holds {len(found)} pages.")
        pages.append(largest)
    first = pages[0]
    if any(one.is_colour or one.value(277) > 1 for one in pages):
        return None
    for index, (path, one) in enumerate(zip(paths, pages, strict=True)):
        if (one.shape, one.kind) != (first.shape, first.kind):
            raise StackError(
                f"Slice {index}, {path.name}, is {one.described()}, but the first, {paths[0].name}, is "
                f"{first.described()}."
            )
    places = np.array([(k, one.offset, 0) for k, one in enumerate(pages)], dtype=np.int64)
    with _opened(paths[0]) as (file, _, _):
        _, size = tiff_voxel_size(file)
        imagej = bool(file.is_imagej)
        slices = TiffSlices(TiffPlanes(tuple(paths), places, keep_colours=imagej), first.shape)
    # A single image knows nothing of the distance to the next, unless its pixels are known, too.
    return OpenedFile(slices, size if size.y_nm and size.x_nm else VoxelSize(), "TIFF")


def named_by(path: Path) -> set[str]:
    """Names of all files that an OME-TIFF names; empty for others."""
    import tifffile

    try:
        with tifffile.TiffFile(path, _multifile=False) as file:
            return named_files(file.ome_metadata, path) if file.is_ome and file.ome_metadata else set()
    except (StackError, KeyboardInterrupt):
        raise
    except Exception:  # whoever reads the file will say it
        return set()


def read_tiff_voxel_size(path: Path, selection: Selection) -> VoxelSize:
    """What a TIFF file says of its voxel size; reads the header only."""
    with _opened(path) as (file, directories, _):
        picture, _ = _chosen(_pictures(file, path, directories), selection, path)
        return _size(file, picture, path)[1]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, tuple[Directory, ...], list[str]]]:
    """A file, its pages, and what tifffile complains of; any failure is one of ours."""
    import tifffile

    told: list[str] = []
    with _plain(path):
        directories = read_directories(path)
        # Other files are read only by ourselves, who look at their names first.
        with _listening(told), tifffile.TiffFile(path, _multifile=False) as file:
            if not directories:
                raise StackFileError(f"{path.name} is incomplete: it holds no image.")
            yield file, directories, told


@contextmanager
def _plain(path: Path) -> Iterator[None]:
    """Any failure of a parser is one of ours."""
    try:
        yield
    except (StackError, KeyboardInterrupt, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # a broken file can fail anywhere in the parser
        raise StackFileError(
            f"{path.name} cannot be read as a TIFF file: it is damaged or in another format."
        ) from error


@contextmanager
def _listening(told: list[str]) -> Iterator[None]:
    """Collect what tifffile only logs of a broken file: it goes on with the pages it can find."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    collector, log = Collector(logging.WARNING), logging.getLogger("tifffile")
    log.addHandler(collector)
    try:
        yield
    finally:
        log.removeHandler(collector)


def _pictures(file: Any, path: Path, directories: Sequence[Directory]) -> list[Picture]:
    if file.is_ome and file.ome_metadata:
        try:
            return ome_pictures(file.ome_metadata, path, directories)
        except NoOmeError:
            pass  # by its other headers
        except StackFileError:
            if not file.is_imagej:
                raise
    if file.is_imagej:
        return [imagej_picture(file, directories, path)]
    found = pictures_of_tifffile(file, directories, path)
    return plain_pictures(directories, path) if found is None else found


def _size(file: Any, picture: Picture, path: Path) -> tuple[str, VoxelSize]:
    xml = full_xml(file.ome_metadata, path) if picture.kind == "OME-TIFF" else None
    return tiff_voxel_size(file, picture.number, xml)


def _chosen(pictures: Sequence[Picture], selection: Selection, path: Path) -> tuple[Picture, list[str]]:
    """The picture that is meant, and what is left out for it."""
    if not pictures:
        raise StackFileError(f"{path.name} holds no image.")
    if selection.dataset is not None:
        try:
            number = int(selection.dataset)
        except ValueError:
            raise StackError(f"The images of a TIFF file are chosen by number, not {selection.dataset!r}.") from None
        wanted = [one for one in pictures if one.number == number]
        if not wanted:
            numbers = ", ".join(str(one.number) for one in pictures)
            raise StackError(f"There is no image {number} in this TIFF file: it holds {numbers}.")
        return wanted[0], []
    # Microscopes put overviews and labels beside the stack: the largest is meant.
    largest = max(pictures, key=lambda one: one.size)
    rivals = [one for one in pictures if len(one.places) > 1 and _alike(one, largest)]
    if len(rivals) > 1:
        listed = ", ".join(f"{one.number} of {' x '.join(map(str, one.shape))}" for one in rivals[:8])
        more = ", ..." if len(rivals) > 8 else ""
        raise StackError(
            f"{path.name} holds {len(rivals)} stacks with slices of the same size: number {listed}{more}",
            remedy=remedy("choose dataset", example=largest.number),
        )
    others = sum(one is not largest and not one.first.is_reduced for one in pictures)
    if not others or any("left out" in note for note in largest.notes):
        return largest, []
    what = "another image in the file is" if others == 1 else f"{others} other images in the file are"
    return largest, [f"{what} left out; number {largest.number}, the largest, is read"]


def _alike(one: Picture, other: Picture) -> bool:
    """Whether slices of two pictures might be those of one stack."""
    return (one.first.shape, one.first.kind) == (other.first.shape, other.first.kind)
