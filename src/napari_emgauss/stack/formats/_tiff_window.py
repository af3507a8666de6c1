"""A rectangle of a TIFF page, without reading the rest of the page: a tile of a volume touches a part of each slice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of these, segments share tables that stand once in the page's header (JPEG and its kin).
_JPEG = {6, 7, 34892, 33007}


def read_window(page: Any, rows: range, columns: range) -> NDArray[Any] | None:
    """Some rows and columns of a page with one sample a pixel.

    Only the TIFF tiles or strips that the window touches are read and decoded; where grey values lie in the file as
    they are, only the bytes of the window's rows.

    Parameters
    ----------
    page : tifffile.TiffPage or tifffile.TiffFrame
    rows, columns : range
        Without a step, not empty, within the page.

    Returns
    -------
    ndarray or None
        None where the page is better, or can only be, read whole.
    """
    form = page.keyframe
    if form.imagedepth != 1 or form.samplesperpixel != 1 or form.dtype is None:
        return None
    height, width = form.imagelength, form.imagewidth
    if len(rows) == height and len(columns) == width:
        return None
    file = page.parent.filehandle
    if form.is_memmappable:
        kind = np.dtype(page.parent.byteorder + form.dtype.char)
        mapped = file.memmap_array(kind, (height, width), offset=page.dataoffsets[0])
        return np.array(mapped[rows.start : rows.stop, columns.start : columns.stop])
    high, wide = form.chunks
    across = -(-width // wide)
    touched = [
        y * across + x
        for y in range(rows.start // high, -(-rows.stop // high))
        for x in range(columns.start // wide, -(-columns.stop // wide))
    ]
    if len(touched) == len(page.dataoffsets) or touched[-1] >= len(page.dataoffsets):  # all, or a broken page
        return None
    options: dict[str, Any] = {"_fullsize": False}
    if form.compression in _JPEG:
        options |= {"jpegtables": page.jpegtables, "jpegheader": form.jpegheader}
    out = np.full((len(rows), len(columns)), form.nodata, form.dtype)
    offsets, lengths = ([values[k] for k in touched] for values in (page.dataoffsets, page.databytecounts))
    for data, number in file.read_segments(offsets, lengths, indices=touched):
        segment, (_, _, top, left, _), _ = form.decode(data, number, **options)
        if segment is None:  # left out of the file: nothing but background
            continue
        grey = segment[0, :, :, 0]
        y0, y1 = max(top, rows.start), min(top + grey.shape[0], rows.stop)
        x0, x1 = max(left, columns.start), min(left + grey.shape[1], columns.stop)
        target = out[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start]
        target[:] = grey[y0 - top : y1 - top, x0 - left : x1 - left]
    return out
