"""Labelled slices: which slices of a stack somebody has labelled, and with what."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_emgauss._errors import StackError
from napari_emgauss.stack import (
    Frame,
    HasFrame,
    OpenedFile,
    Selection,
    SliceSource,
    open_file,
    parse_slices,
    slices_as_fitted,
    slices_text,
)
from napari_emgauss.volume import SourceSlices, record_of_source

from ._types import holds

BACKGROUND = 0
"""The label of what no object is in: carried like any other, but it has no outlines of its own."""
_SAME_SIZE = 0.01
"""Pixel sizes that differ by less are the same, written with fewer digits."""


@dataclass(frozen=True, eq=False)
class LabelledSlices:
    """Labels of the observed slices of a stack.

    Parameters
    ----------
    values : SliceSource
        ``(K, H, W)`` of any integer type: one for each observed slice, labelled or not.
    labelled : tuple of int
        Slices that are labelled, increasing, counted as in ``values``.
    unlabelled : int or None
        The value of pixels of which nothing is known. Background is a label like any other.
    name : str
        For messages.
    unused : tuple of int
        Labelled slices of the source that the model was fitted without, as they are counted there.
    notes : tuple of str
        What had to be assumed of the file.
    """

    values: SliceSource
    labelled: tuple[int, ...]
    unlabelled: int | None = None
    name: str = "labels"
    unused: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Integer type of the labels."""
        return np.dtype(self.values.dtype)

    @property
    def nothing(self) -> int:
        """What is written where nothing is known: ``unlabelled``, 0 where there is no such value."""
        return 0 if self.unlabelled is None else self.unlabelled

    def image(self, index: int) -> NDArray[Any]:
        """Labels of one slice, ``(H, W)``."""
        return np.asarray(self.values[index])

    def only(self, labelled: Sequence[int]) -> LabelledSlices:
        """The same with fewer slices labelled."""
        return replace(self, labelled=tuple(labelled))


def label_slices(
    values: SliceSource,
    frame: HasFrame,
    *,
    labelled: str | Sequence[int] | None = None,
    unlabelled: int | None = None,
    offsets_px: ArrayLike | None = None,
    name: str = "labels",
) -> LabelledSlices:
    """Lay labels on the observed slices of a stack or model.

    Slices that were put straight before the fit, or that the fit found to lie off, are moved as their picture was, by
    whole pixels; what comes in at an edge repeats it.

    Parameters
    ----------
    values : SliceSource
        ``(K, H, W)`` of any integer type: of the slices that were fitted, or of the whole source, of which some slices,
        or all but a rectangle, may have been left out.
    frame : HasFrame
        The model, or its stack; says which slices and which rectangle of the source it has, and how they were moved.
    labelled : str or sequence of int, optional
        Slices of ``values`` that are labelled: ``"0,8,16"`` or numbers. By default all that hold more than one value,
        or a value that is neither 0 nor ``unlabelled``.
    unlabelled : int, optional
        The value of pixels of which nothing is known.
    offsets_px : array-like, optional
        ``(K, 2)`` rows and columns by which the labels of a fitted slice lie off, where ``frame`` does not know it, or
        they have been moved already.
    name : str
        For messages.

    Raises
    ------
    StackError
        No integers, another shape than the stack's, a value of ``unlabelled`` that they cannot hold, or fewer than two
        labelled slices.
    """
    shape = _checked_shape(values, name)
    dtype = np.dtype(values.dtype)
    if unlabelled is not None and not holds(dtype, unlabelled):
        raise StackError(
            f"{name} is of type {dtype}, which has no value {unlabelled}: give another one for unlabelled."
        )
    chosen = None if labelled is None else list(parse_slices(labelled, shape[0]))
    numbers, laid = _laid_on(values, shape, frame, name)
    offsets = SourceSlices.of(frame) if offsets_px is None else None
    moved = np.asarray(offsets.offsets_px[offsets.fitted] if offsets is not None else offsets_px, dtype=np.float64)
    if np.rint(moved).any():
        laid = _Moved(laid, moved)
    unused: list[int] = []
    if chosen is None:
        empty = {0} if unlabelled is None else {0, unlabelled}
        chosen = [k for k in range(len(numbers)) if _is_labelled(np.asarray(laid[k]), empty)]
        others = [k for k in range(shape[0]) if k not in set(numbers)]
        unused = [k for k in others if _is_labelled(np.asarray(values[k]), empty)]
    else:
        unused = [k for k in chosen if k not in numbers]
        chosen = [numbers.index(k) for k in chosen if k in numbers]
    if len(chosen) < 2:
        raise StackError(_too_few(len(chosen), unused, name))
    return LabelledSlices(laid, tuple(chosen), unlabelled, name, tuple(unused))


def read_labels(
    path: str | os.PathLike[str],
    frame: HasFrame,
    *,
    labelled: str | Sequence[int] | None = None,
    unlabelled: int | None = None,
    dataset: str | int | None = None,
) -> LabelledSlices:
    """Read labels of a stack's slices from a file of any format that stacks are read from; see :func:`label_slices`.

    Raises
    ------
    StackFileError
        The file is missing, damaged, or of no known format.
    StackError
        See :func:`label_slices`.
    """
    path = Path(path)
    opened = open_file(path, Selection(dataset))
    found = label_slices(opened.slices, frame, labelled=labelled, unlabelled=unlabelled, name=path.name)
    return replace(found, notes=notes_on_labels(opened, frame, path.name))


def move_slice(image: NDArray[Any], offset_px: ArrayLike) -> NDArray[Any]:
    """A slice whose content lies off by some rows and columns, moved back to whole pixels; edges repeat themselves.

    Parameters
    ----------
    image : ndarray
        ``(H, W)``.
    offset_px : array-like
        Rows and columns.
    """
    off = np.rint(np.asarray(offset_px, dtype=np.float64)).astype(np.int64)
    if not off.any():
        return image
    rows, columns = (np.clip(np.arange(n) + d, 0, n - 1) for n, d in zip(image.shape, off, strict=True))
    return np.asarray(image[np.ix_(rows, columns)])


class _Moved:
    """Slices of a source, each moved back by what it lies off."""

    def __init__(self, values: SliceSource, offsets_px: NDArray[np.float64]) -> None:
        self._values, self._offsets_px = values, offsets_px
        self.shape: tuple[int, ...] = tuple(int(n) for n in values.shape)
        self.dtype: np.dtype[Any] = np.dtype(values.dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        first, *rest = key if isinstance(key, tuple) else (key,)
        moved = move_slice(np.asarray(self._values[first]), self._offsets_px[first])
        return np.asarray(moved[tuple(rest)])


def notes_on_labels(opened: OpenedFile, frame: HasFrame, name: str) -> tuple[str, ...]:
    """What had to be assumed of a file of labels, and whether it tells of pixels of another size than the stack's.

    Parameters
    ----------
    opened : OpenedFile
        On the slices of the stack, or on the isotropic grid.
    frame : HasFrame
        The model.
    name : str
        Of the file.
    """
    told, own = (opened.voxel_size.y_nm, opened.voxel_size.x_nm), Frame.of(frame).pixel_size_nm
    if all(one is None or np.isclose(one, other, rtol=_SAME_SIZE) for one, other in zip(told, own, strict=True)):
        return opened.notes
    theirs = " x ".join("?" if one is None else f"{one:.6g}" for one in told)
    return (
        *opened.notes,
        f"{name} says that its pixels are {theirs} nm large, those of the stack are {own[0]:.6g} x {own[1]:.6g} nm: "
        "labels are laid on the slices pixel by pixel, so make sure that they are of this stack",
    )


def _checked_shape(values: SliceSource, name: str) -> tuple[int, int, int]:
    shape, dtype = tuple(int(n) for n in values.shape), np.dtype(values.dtype)
    if len(shape) == 4:
        raise StackError(
            f"{name} holds {shape[1]} values for each pixel, as colour images do: save labels as one number for "
            "each pixel."
        )
    if len(shape) != 3:
        raise StackError(f"{name} has {len(shape)} axes: give slices, rows and columns.")
    if dtype.kind not in "iub":
        raise StackError(
            f"{name} holds values of type {dtype}, not labels: save it as integers, one number for each object."
        )
    return shape[0], shape[1], shape[2]


def _laid_on(
    values: SliceSource, shape: tuple[int, int, int], frame: HasFrame, name: str
) -> tuple[list[int], SliceSource]:
    """Which of the given slices are the observed ones, and those."""
    expected = Frame.of(frame).shape
    if shape == expected:
        return list(range(expected[0])), values
    record = record_of_source(frame)
    known = record.shape_in_file or record.layer_shape
    count = expected[0] + len(record.left_out_slices)
    whole = tuple(int(n) for n in known) if len(known) == 3 else (count, *expected[1:])
    same = shape == whole or (not known and record.region is not None and shape[0] == count)
    try:
        found = slices_as_fitted(values, record, expected) if same else None
    except StackError:
        found = None
    if found is None:
        raise StackError(
            f"{name} has the shape {_sizes(shape)} (slices, rows, columns), but the stack has {_sizes(whole)}: give "
            "labels "
            "of the same slices, one image for each."
        )
    return record.fitted_numbers(expected[0]), found


def _too_few(count: int, unused: Sequence[int], name: str) -> str:
    what = ("no labelled slice", "one labelled slice")[count]
    if unused:
        what += f" that the model has (it was fitted without {slices_text(unused)})"
    return f"{name} has {what}: label at least two, to carry labels between them."


def _is_labelled(image: NDArray[Any], empty: set[int]) -> bool:
    first = image.flat[0] if image.size else 0
    return bool((image != first).any()) or int(first) not in empty


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape)
