"""Labelled slices: which slices of a stack somebody has labelled, and with what."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError
from napari_emgauss.stack import Frame, Placed, Selection, SliceSource, open_file, parse_slices


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
    """

    values: SliceSource
    labelled: tuple[int, ...]
    unlabelled: int | None = None
    name: str = "labels"

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
        return LabelledSlices(self.values, tuple(labelled), self.unlabelled, self.name)


def label_slices(
    values: SliceSource,
    frame: Placed,
    *,
    labelled: str | Sequence[int] | None = None,
    unlabelled: int | None = None,
    left_out: Sequence[int] = (),
    name: str = "labels",
) -> LabelledSlices:
    """Lay labels on the observed slices of a stack or model.

    Parameters
    ----------
    values : SliceSource
        ``(K, H, W)`` of any integer type; as many slices as were observed, or as the stack had before some were left
        out.
    frame : Placed
        The model, or its stack.
    labelled : str or sequence of int, optional
        Slices of ``values`` that are labelled: ``"0,8,16"`` or numbers. By default all that hold more than one value,
        or a value that is neither 0 nor ``unlabelled``.
    unlabelled : int, optional
        The value of pixels of which nothing is known.
    left_out : sequence of int
        Slices of the stack that the model has left out.
    name : str
        For messages.

    Raises
    ------
    StackError
        No integers, another shape than the stack's, or fewer than two labelled slices.
    """
    shape, dtype = tuple(int(n) for n in values.shape), np.dtype(values.dtype)
    if dtype.kind not in "iub":
        raise StackError(
            f"{name} holds values of type {dtype}, not labels: save them as integers, one number for each object."
        )
    expected = Frame.of(frame).shape
    whole = (expected[0] + len(left_out), *expected[1:])
    if shape not in (expected, whole):
        raise StackError(
            f"{name} has the shape {_sizes(shape)} (slices, rows, columns), but the stack {_sizes(whole)}: give labels "
            "of the same slices, one image for each."
        )
    chosen = None if labelled is None else list(parse_slices(labelled, shape[0]))
    if shape == whole != expected:
        kept = [k for k in range(shape[0]) if k not in set(left_out)]
        if chosen is not None:
            # What was labelled on a slice that the model does not have cannot be used.
            chosen = [kept.index(k) for k in chosen if k in kept]
        values = _Chosen(values, kept)
    if chosen is None:
        empty = {0} if unlabelled is None else {0, unlabelled}
        chosen = [k for k in range(expected[0]) if _is_labelled(np.asarray(values[k]), empty)]
    if len(chosen) < 2:
        count = ("no labelled slice", "one labelled slice")[len(chosen)]
        raise StackError(f"{name} has {count}: label two at least, to carry labels between them.")
    return LabelledSlices(values, tuple(chosen), unlabelled, name)


def read_labels(
    path: str | os.PathLike[str],
    frame: Placed,
    *,
    labelled: str | Sequence[int] | None = None,
    unlabelled: int | None = None,
    left_out: Sequence[int] = (),
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
    return label_slices(
        opened.slices, frame, labelled=labelled, unlabelled=unlabelled, left_out=left_out, name=path.name
    )


class _Chosen:
    """Some slices of a source."""

    def __init__(self, values: SliceSource, kept: Sequence[int]) -> None:
        self._values, self._kept = values, list(kept)
        self.shape: tuple[int, ...] = (len(self._kept), *(int(n) for n in values.shape[1:]))
        self.dtype: np.dtype[Any] = np.dtype(values.dtype)

    def __getitem__(self, key: Any) -> Any:
        first, *rest = key if isinstance(key, tuple) else (key,)
        return self._values[(self._kept[first], *rest)] if rest else self._values[self._kept[first]]


def _is_labelled(image: NDArray[Any], empty: set[int]) -> bool:
    first = image.flat[0] if image.size else 0
    return bool((image != first).any()) or int(first) not in empty


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape)
