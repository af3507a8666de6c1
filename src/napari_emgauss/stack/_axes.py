"""Which axis of a file's array is depth: from axis letters to (slices, rows, columns)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_emgauss._errors import StackError
from napari_emgauss._remedies import remedy

from ._stack import MAX_CHANNELS

# Axes that may hold the slices, best first: depth; a file's unnamed page order; time, which ImageJ writes when a
# stack was saved as frames.
_DEPTH_AXES = "ZIQRT"
# Beyond this a file is broken rather than deep.
MAX_SLICES = 1_000_000


@dataclass(frozen=True)
class AxisChoice:
    """How pages of a file make a stack.

    Parameters
    ----------
    pages : ndarray
        ``(K,)`` which of the file's planes (all axes but the last two, flattened) is each slice.
    height, width : int
        Rows and columns of a plane.
    note : str
        What had to be assumed, for people; may be empty.
    channels : int
        Channels of the file, where none was chosen and all may be had; ``pages`` are then those of the first.
    """

    pages: np.ndarray
    height: int
    width: int
    note: str = ""
    channels: int = 1


def choose_axes(axes: str, shape: tuple[int, ...], channel: int | None = None, time: int | None = None) -> AxisChoice:
    """Find the slices among the axes of a file.

    Parameters
    ----------
    axes : str
        One letter an axis, as tifffile has them: ``Z``, ``C``, ``T``, ``Y``, ``X``, ``S`` (RGB samples), ``I``, ``Q``.
    shape : tuple of int
    channel, time : int, optional
        Which one to take where there are several.

    Raises
    ------
    StackError
        RGB, no axis for the slices, or none chosen of several times or of more channels than a model takes.
    """
    axes = axes.upper()
    if "S" in axes and shape[axes.index("S")] > 1:
        raise StackError("This is an RGB image: convert it to grey values (in Fiji: Image > Type > 8-bit) first.")
    kept = [(letter, size) for letter, size in zip(axes, shape, strict=True) if letter != "S"]
    letters = "".join(letter for letter, _ in kept)
    sizes = tuple(size for _, size in kept)
    if not letters.endswith("YX"):
        raise StackError(f"The file's axes are {axes}: rows and columns must come last (YX).")
    leading, counts = letters[:-2], sizes[:-2]
    wide = [letter for letter, size in zip(leading, counts, strict=True) if size > 1]
    if not wide:
        raise StackError("This is a single image, not a stack of slices.")
    depth = next((letter for letter in _DEPTH_AXES if letter in wide), None)
    note = ""
    if depth is None:
        if wide == ["C"] and counts[leading.index("C")] > 4:
            depth = "C"
        else:
            raise StackError(f"No axis of this file (axes {axes}, shape {shape}) holds slices along z.")
    if depth not in "ZIQ":
        note = f"the file calls its slices {'time points' if depth == 'T' else 'channels'}; they are read as depths"
    channels = 1
    if channel is None and "C" in wide and depth != "C":
        size = counts[leading.index("C")]
        if size <= MAX_CHANNELS:
            channels, channel = size, 0
    first, stride = 0, 1
    for position in range(len(leading)):
        first *= counts[position]
        stride *= counts[position] if position > leading.index(depth) else 1
        first += _chosen(leading[position], counts[position], depth, channel, time)
    slices = counts[leading.index(depth)]
    if slices > MAX_SLICES:
        raise StackError(f"The file claims {slices} slices: that is more than can be read, or it is damaged.")
    pages = first + stride * np.arange(slices)
    return AxisChoice(pages, sizes[-2], sizes[-1], note, channels)


def _chosen(letter: str, size: int, depth: str, channel: int | None, time: int | None) -> int:
    """Where on one of the other axes the stack lies."""
    if letter == depth:
        return 0
    wanted = {"C": channel, "T": time}.get(letter)
    if size > 1 and wanted is None:
        if letter == "C":
            helps = remedy("choose channel", last=size - 1, most=MAX_CHANNELS)
            raise StackError(f"The file holds {size} channels", remedy=helps)
        if letter == "T":
            raise StackError(f"The file holds {size} time points", remedy=remedy("choose time", last=size - 1))
        raise StackError(f"The file holds {size} stacks in one array: save one of them as a separate file.")
    wanted = wanted or 0
    if not 0 <= wanted < size:
        what = "channel" if letter == "C" else "time point"
        raise StackError(f"There is no {what} {wanted}: the file has {size}.")
    return wanted
