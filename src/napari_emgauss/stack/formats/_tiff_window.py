"""A rectangle of a TIFF page, without reading the rest of the page: a tile of a volume touches a part of each slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackFileError

from ._tiff_codecs import check_segment

# Of these, segments share tables that stand once in the page's header (JPEG and its kin).
_JPEG = {6, 7, 34892, 33007}


@dataclass(frozen=True)
class _Grid:
    """How a page is cut into strips or tiles, and which samples lie apart."""

    shape: tuple[int, int, int, int, int]  # samples apart, planes, rows, columns, samples side by side
    chunk: tuple[int, int, int]  # planes, rows, columns

    @classmethod
    def of(cls, form: Any) -> _Grid:
        apart, depth, height, width, beside = (int(n) for n in form.shaped)
        if form.is_tiled:
            chunk = (max(1, int(form.tiledepth)), int(form.tilelength), int(form.tilewidth))
        else:
            chunk = (1, min(int(form.rowsperstrip), height), width)
        return cls((apart, depth, height, width, beside), chunk)

    def touched(self, apart: int, plane: int, rows: range, columns: range) -> list[int]:
        """Numbers of the segments that a window lies on."""
        deep, high, wide = self.chunk
        _, depth, height, width, _ = self.shape
        layers, down, across = -(-depth // deep), -(-height // high), -(-width // wide)
        first = (apart * layers + plane // deep) * down
        return [
            (first + y) * across + x
            for y in range(rows.start // high, -(-rows.stop // high))
            for x in range(columns.start // wide, -(-columns.stop // wide))
        ]


def read_window(page: Any, part: int, rows: range, columns: range, name: str) -> NDArray[Any]:
    """Some rows and columns of one plane of a page.

    Only the TIFF tiles or strips that the window touches are read and decoded; where grey values lie in the file as
    they are, only the bytes of the window's rows.

    Parameters
    ----------
    page : tifffile.TiffPage or tifffile.TiffFrame
    part : int
        Which of the page's planes: sample by sample, and of each the depths of a volume.
    rows, columns : range
        Without a step, not empty, within the page.
    name : str
        Of the file, for messages.

    Raises
    ------
    StackFileError
        A part is missing, or would become larger than the page says.
    """
    form = page.keyframe
    grid = _Grid.of(form)
    _, depth, _, _, beside = grid.shape
    sample, plane = divmod(part, depth)
    apart, along = (0, sample) if beside > 1 else (sample, 0)
    file = page.parent.filehandle
    if form.is_memmappable and _in_one_piece(page):
        kind = np.dtype(page.parent.byteorder + form.dtype.char)
        mapped = file.memmap_array(kind, grid.shape, offset=page.dataoffsets[0])
        window = mapped[apart, plane, rows.start : rows.stop, columns.start : columns.stop, along]
        return np.array(window, dtype=form.dtype)
    touched = grid.touched(apart, plane, rows, columns)
    if max(touched[-1] >= len(found) for found in (page.dataoffsets, page.databytecounts)):
        raise StackFileError("parts of it are missing.")
    options: dict[str, Any] = {"_fullsize": False}
    if form.compression in _JPEG:
        options |= {"jpegtables": page.jpegtables, "jpegheader": form.jpegheader}
    out = np.full((len(rows), len(columns)), form.nodata, form.dtype)
    offsets, lengths = ([values[k] for k in touched] for values in (page.dataoffsets, page.databytecounts))
    pixels = int(np.prod(grid.chunk))
    for data, number in file.read_segments(offsets, lengths, indices=touched):
        if data is not None:
            check_segment(data, form, pixels, name)
        segment, (_, deep, top, left, _), _ = form.decode(data, number, **options)
        if segment is None:  # left out of the file: nothing but background
            continue
        if segment.dtype != form.dtype:
            raise StackFileError(f"its compressed values are {segment.dtype}, not {form.dtype} as its header says.")
        grey = segment[plane - deep, :, :, along]
        y0, y1 = max(top, rows.start), min(top + grey.shape[0], rows.stop)
        x0, x1 = max(left, columns.start), min(left + grey.shape[1], columns.stop)
        target = out[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start]
        target[:] = grey[y0 - top : y1 - top, x0 - left : x1 - left]
    return out


def _in_one_piece(page: Any) -> bool:
    """Whether the strips of this very page follow each other in the file: those of others may, and its own not."""
    offsets, lengths = page.dataoffsets, page.databytecounts
    return all(a + n == b for a, n, b in zip(offsets, lengths, offsets[1:], strict=False))
