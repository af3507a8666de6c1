"""What the numbers of a TIFF page mean as grey values: 0 may be white, and numbers may be places in a grey table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError

from ._tiff_directories import Directory

_WHITE_IS_ZERO, _RGB, _PALETTE = 0, 2, 3
_ALPHA = {1, 2}


def channels_of(directory: Directory, name: str) -> int:
    """Samples of a pixel that are grey values: channels; how opaque a pixel is, is none.

    Raises
    ------
    StackError
        Colours.
    """
    samples = directory.value(277)
    if samples == 1:
        return 1
    extra = directory.values(338)
    photometric = directory.value(262)
    if photometric == _RGB or (samples >= 3 and photometric not in (0, 1)):
        raise StackError(f"{name} is an RGB image: convert it to grey values (in Fiji: Image > Type > 8-bit) first.")
    return samples - sum(one in _ALPHA for one in extra)


def table_of(directory: Directory, *, keep_colours: bool, name: str) -> NDArray[Any] | None:
    """The grey value of each number, where a page has a colour table that is not simply a ramp of grey.

    Parameters
    ----------
    directory : Directory
    keep_colours : bool
        Leave the numbers as they are where the table has colours: for programs that colour grey values only to show
        them (ImageJ).
    name : str
        Of the file, for messages.

    Raises
    ------
    StackError
        The table has colours, and they are the picture.
    """
    if directory.value(262) != _PALETTE:
        return None
    bits = directory.value(258)
    table = np.frombuffer(directory.colour_map, np.uint16)
    if bits > 16 or len(table) != 3 << bits:
        return None
    red, green, blue = table.reshape(3, -1)
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        if keep_colours:
            return None
        raise StackError(f"{name} has a colour table: convert it to grey values (in Fiji: Image > Type > 8-bit) first.")
    kind: Any = np.uint8 if bits <= 8 else np.uint16
    # Tables have 16 bit; old programs wrote 8 (libtiff looks for that in the same way).
    wide = bits > 8 or int(red.max()) < 256
    grey = red if wide else red >> 8
    return None if np.array_equal(grey, np.arange(1 << bits)) else grey.astype(kind)


def grey_values(values: NDArray[Any], directory: Directory, table: NDArray[Any] | None) -> NDArray[Any]:
    """The grey values that a viewer shows: more is brighter."""
    if table is not None:
        return np.asarray(table[values])
    if directory.value(262) != _WHITE_IS_ZERO or values.dtype.kind not in "ui":
        return values
    if values.dtype.kind == "i":  # the same mirror for numbers that go below zero: -1 - v
        return np.invert(values)
    white = values.dtype.type((1 << min(directory.value(258), 8 * values.dtype.itemsize)) - 1)
    return np.asarray(white - values, dtype=values.dtype)
