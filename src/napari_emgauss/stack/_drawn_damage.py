"""Damage drawn instead of painted: rectangles, folds and tears as lines of a text, or shapes saved by napari."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError

from ._slices import LazySlices

Kind = Literal["rectangle", "polygon", "line", "ellipse"]
# What napari and people call them.
_KINDS: dict[str, Kind] = {
    "rectangle": "rectangle",
    "polygon": "polygon",
    "hole": "polygon",
    "ellipse": "ellipse",
    "line": "line",
    "path": "line",
    "fold": "line",
    "tear": "line",
    "crack": "line",
}
# Folds and tears are drawn along their middle; napari does not save how wide a line is.
_USUAL_WIDTH_PX = 8.0
DRAWN_SUFFIXES = (".csv", ".txt")


@dataclass(frozen=True)
class DrawnDamage:
    """One drawn shape.

    Parameters
    ----------
    slice_index : int
        Of the file.
    kind : str
        ``rectangle`` and ``ellipse`` (of their corners), ``polygon``, or ``line`` (a fold or a tear, of its middle).
    vertices : ndarray
        ``(n, 2)``, rows and columns in pixels; the centre of the first pixel is 0, 0.
    width_px : float
        Of a line.
    """

    slice_index: int
    kind: Kind
    vertices: NDArray[np.float64]
    width_px: float = _USUAL_WIDTH_PX

    def paint(self, plane: NDArray[np.bool_]) -> None:
        """Mark the pixels inside."""
        from skimage.draw import ellipse, polygon

        height, width = plane.shape
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        if self.kind == "line":
            rows, columns = np.mgrid[0:height, 0:width]
            points = np.stack([rows, columns], axis=-1).astype(np.float64)
            for start, end in zip(self.vertices[:-1], self.vertices[1:], strict=True):
                plane |= _distance(points, start, end) <= self.width_px / 2
            return
        if self.kind == "rectangle" and len(self.vertices) == 2:
            plane[_within(low[0], high[0], height), _within(low[1], high[1], width)] = True
            return
        if self.kind == "ellipse":
            centre, radii = (low + high) / 2, (high - low) / 2
            found = ellipse(*centre, *np.maximum(radii, 0.5), shape=plane.shape)
        else:
            found = polygon(self.vertices[:, 0], self.vertices[:, 1], shape=plane.shape)
        plane[found] = True


class DrawnMask(LazySlices):
    """A damage mask of drawn shapes, painted when a slice is looked at.

    Parameters
    ----------
    shapes : sequence of DrawnDamage
    shape : tuple of int
        Slices, rows, columns of the stack.
    """

    def __init__(self, shapes: Sequence[DrawnDamage], shape: tuple[int, int, int]) -> None:
        super().__init__(shape, np.bool_)
        self._drawn: dict[int, list[DrawnDamage]] = {}
        for one in shapes:
            if not 0 <= one.slice_index < shape[0]:
                raise StackError(
                    f"Damage is drawn on slice {one.slice_index}, which does not exist: the file has slices 0 to "
                    f"{shape[0] - 1}."
                )
            if (one.vertices.max(axis=0) < 0).any() or (one.vertices.min(axis=0) > np.array(shape[1:]) - 1).any():
                raise StackError(
                    f"The damage drawn on slice {one.slice_index} lies outside its {shape[1]} x {shape[2]}."
                )
            self._drawn.setdefault(one.slice_index, []).append(one)

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        plane = np.zeros(self._shape[1:], dtype=bool)
        for one in self._drawn.get(index, ()):
            one.paint(plane)
        return plane[rows, columns]


def read_drawn_damage(path: Path) -> list[DrawnDamage]:
    """Shapes from a CSV file of a napari Shapes layer, or from a text of one shape a line.

    A line of the text is one of::

        12 rectangle Y0 Y1 X0 X1        rows Y0 to Y1, columns X0 to X1 (ends excluded) of slice 12
        13 fold WIDTH Y X Y X ...       a fold or tear of so many pixels along these points; also: tear, crack, line
        14 polygon Y X Y X Y X ...      everything inside; also: hole

    Raises
    ------
    StackFileError
        Neither of them.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StackFileError(f"The drawn damage {path} cannot be read: give a text or a CSV file.") from error
    shapes = _from_csv(text, path) if "shape-type" in text.split("\n", 1)[0] else _from_lines(text, path)
    if not shapes:
        raise StackFileError(f"{path.name} holds no shapes.")
    return shapes


def _from_lines(text: str, path: Path) -> list[DrawnDamage]:
    shapes = []
    for number, raw in enumerate(text.splitlines(), start=1):
        words = raw.split("#")[0].replace(",", " ").replace(";", " ").split()
        if not words:
            continue
        wrong = StackFileError(
            f"Line {number} of {path.name} does not describe damage: write for example '12 rectangle 100 140 0 80' "
            "(slice, rows from and to, columns from and to), '12 fold 9 0 30 250 44' (slice, width, then y x of its "
            "points) or '12 polygon 10 10 10 90 60 50'."
        )
        try:
            index, kind, values = int(words[0]), _KINDS[words[1].lower()], [float(word) for word in words[2:]]
        except (ValueError, KeyError, IndexError):
            raise wrong from None
        width = _USUAL_WIDTH_PX
        if kind == "line" and values:
            width, *values = values
        if len(values) % 2 or not np.isfinite([width, *values]).all() or width <= 0 or index < 0:
            raise wrong
        points = np.array(values, dtype=np.float64).reshape(-1, 2)
        if kind in ("rectangle", "ellipse"):
            if len(points) != 2 or (points[:, 1] <= points[:, 0]).any():
                raise wrong
            points = points.T - [[0.0, 0.0], [1.0, 1.0]]  # from and to become corners, the ends excluded
        if len(points) < (3 if kind == "polygon" else 2):
            raise wrong
        shapes.append(DrawnDamage(index, kind, points, width))
    return shapes


def _from_csv(text: str, path: Path) -> list[DrawnDamage]:
    """What napari writes for a Shapes layer: a row for each vertex."""
    kinds: dict[str, str] = {}
    vertices: dict[str, list[list[float]]] = {}
    try:
        for row in csv.DictReader(text.splitlines()):
            kinds[row["index"]] = row["shape-type"]
            vertices.setdefault(row["index"], []).append([float(row[f"axis-{axis}"]) for axis in range(3)])
    except (KeyError, TypeError, ValueError) as error:
        raise StackFileError(
            f"{path.name} is not a CSV file of shapes on a stack: draw the shapes on the stack in napari, then save "
            "the "
            "Shapes layer as CSV."
        ) from error
    shapes = []
    for key, name in kinds.items():
        points = np.array(vertices[key])
        if name not in _KINDS or not np.isfinite(points).all() or len(points) < 2:
            raise StackFileError(
                f"{path.name} holds a shape of type {name!r} with {len(points)} points, which is not supported."
            )
        depths = np.unique(np.rint(points[:, 0]))
        if len(depths) > 1:
            raise StackFileError(f"Shape {key} of {path.name} spans several slices: draw damage within one slice.")
        shapes.append(DrawnDamage(int(depths[0]), _KINDS[name], points[:, 1:]))
    return shapes


def _within(low: float, high: float, length: int) -> slice:
    return slice(max(0, round(low)), max(0, min(length, round(high) + 1)))


def _distance(points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of points ``(..., 2)`` from a line segment."""
    along = end - start
    share = np.clip(((points - start) @ along) / max(float(along @ along), 1e-12), 0.0, 1.0)
    return np.asarray(np.linalg.norm(points - start - share[..., None] * along, axis=-1))
