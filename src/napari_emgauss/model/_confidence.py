"""How far the prior trusted its own guesses: a coarse volume that is kept with a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.stack import Frame, Region

COARSEST = 4
"""Pixels of a slice that share one confidence, along each axis: it is a smooth quantity."""
PLANES_PER_GAP = 3


class Confidence:
    """Confidence at any depth: 255 where a slice was observed, in between what the prior said of its guess.

    Trained priors give the noise of the slices over their predicted error, classical ones how far two guesses agree
    (see :mod:`napari_emgauss.priors`): a map of where to look twice; for grey values see
    :class:`~napari_emgauss.model.ErrorBars`. Renders like a model, so that it can be shown and written like one.

    Parameters
    ----------
    values : ndarray
        ``(L, h, w)`` uint8, planes sampled over the whole slice.
    depths_nm : ndarray
        ``(L,)``, increasing, none of them observed.
    z_nm : ndarray
        ``(K,)`` depths of the observed slices.
    pixel_size_nm : tuple of float
        ``(y, x)``.
    size : tuple of int
        Rows and columns of the slices.
    """

    version = 1
    channels = 1
    confidence = None

    def __init__(
        self,
        values: NDArray[np.uint8],
        depths_nm: Sequence[float] | NDArray[np.float64],
        z_nm: Sequence[float] | NDArray[np.float64],
        pixel_size_nm: tuple[float, float],
        size: tuple[int, int],
    ) -> None:
        self.values = np.asarray(values, dtype=np.uint8)
        self.depths_nm = np.asarray(depths_nm, dtype=np.float64)
        self.z_nm = np.asarray(z_nm, dtype=np.float64)
        self.pixel_size_nm, self.size = pixel_size_nm, size
        if self.values.ndim != 3 or len(self.values) != len(self.depths_nm) or not len(self.values):
            raise ValueError(f"{self.values.shape} planes of confidence for {len(self.depths_nm)} depths")
        knots = np.concatenate([self.z_nm, self.depths_nm])
        self._order = np.argsort(knots, kind="stable")
        self._knots = knots[self._order]

    @property
    def provenance(self) -> dict[str, Any]:
        """It has none of its own: it belongs to a model."""
        return {}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Observed slices, rows, columns."""
        return (len(self.z_nm), *self.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8: 0 to 255."""
        return np.dtype(np.uint8)

    def render(
        self,
        z_nm: float | Sequence[float] | NDArray[np.float64],
        *,
        region: Region | None = None,
        shape: tuple[int, int] | None = None,
    ) -> NDArray[np.uint8]:
        """Planes at any depth; the arguments are those of ``EmgaussModel.render``.

        Raises
        ------
        DepthError
            A depth lies outside the observed slices.
        """
        single = np.ndim(z_nm) == 0
        frame = Frame.of(self)
        depths = frame.checked_depths(z_nm)
        rows, columns = coarse_weights(frame, frame.checked_region(region), shape, self.values.shape[1:])
        out = np.empty((len(depths), len(rows), len(columns)), dtype=np.uint8)
        for position, depth in enumerate(depths):
            upper = int(np.clip(np.searchsorted(self._knots, depth), 1, len(self._knots) - 1))
            low, high = self._knots[upper - 1], self._knots[upper]
            share = (depth - low) / (high - low)
            plane = (1 - share) * self._plane(upper - 1) + share * self._plane(upper)
            out[position] = np.rint(rows @ plane @ columns.T)
        return out[0] if single else out

    def to_dict(self) -> dict[str, Any]:
        """What the header of a file tells of it, besides the values."""
        return {"depths_nm": [float(z) for z in self.depths_nm]}

    def _plane(self, knot: int) -> NDArray[np.float32]:
        index = int(self._order[knot]) - len(self.z_nm)
        if index < 0:
            return np.full(self.values.shape[1:], 255.0, dtype=np.float32)
        return self.values[index].astype(np.float32)


def coarse_weights(
    frame: Frame, region: Region, shape: tuple[int, int] | None, coarse: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Bilinear weights ``(rows, h)`` and ``(columns, w)`` of coarse rows and columns for every sample of a region."""
    matrices = []
    for centres, whole, count in zip(frame.centres(region, shape), frame.shape[1:], coarse, strict=True):
        n = len(centres)
        place = np.clip(centres * count / whole - 0.5, 0, count - 1)
        below = np.minimum(np.floor(place).astype(np.intp), max(0, count - 2))
        matrix = np.zeros((n, count), dtype=np.float32)
        matrix[np.arange(n), below] = 1 - (place - below)
        matrix[np.arange(n), np.minimum(below + 1, count - 1)] += place - below
        matrices.append(matrix)
    return matrices[0], matrices[1]


def chosen_depths(z_nm: NDArray[np.float64], depths_nm: NDArray[np.float64], per_gap: int) -> list[int]:
    """Positions of at most ``per_gap`` of the depths in every gap, evenly spread, the middle one among them."""
    chosen: list[int] = []
    for low, high in pairwise(z_nm):
        inside = np.flatnonzero((depths_nm > low) & (depths_nm < high))
        if len(inside) <= per_gap:
            chosen.extend(int(k) for k in inside)
            continue
        wanted = low + (np.arange(per_gap) + 0.5) / per_gap * (high - low)
        nearest = {int(inside[np.abs(depths_nm[inside] - z).argmin()]) for z in wanted}
        chosen.extend(sorted(nearest))
    return chosen


def coarse_size(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the planes of confidence for slices ``(H, W)``."""
    height, width = size
    return max(1, -(-height // COARSEST)), max(1, -(-width // COARSEST))


def coarse_confidence(
    planes: Iterable[NDArray[Any]],
    depths_nm: NDArray[np.float64],
    z_nm: NDArray[np.float64],
    pixel_size_nm: tuple[float, float],
    size: tuple[int, int],
) -> Confidence:
    """Confidence from planes in [0, 1] at some depths, of several channels the least."""
    coarse = coarse_size(size)
    values = np.stack([block_means(np.asarray(plane, dtype=np.float32), coarse) for plane in planes])
    return Confidence(np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8), depths_nm, z_nm, pixel_size_nm, size)


def block_means(plane: NDArray[np.float32], coarse: tuple[int, int]) -> NDArray[np.float32]:
    """Means over the blocks of pixels that share one value; of several channels those of the least."""
    means = plane.min(axis=0) if plane.ndim == 3 else plane
    for axis, count in enumerate(coarse):
        edges = np.linspace(0, means.shape[axis], count + 1).astype(np.intp)[:-1]
        lengths = np.diff(np.append(edges, means.shape[axis])).astype(np.float32)
        sums = np.add.reduceat(means, edges, axis=axis)
        means = np.asarray(sums / np.expand_dims(lengths, 1 - axis), dtype=np.float32)
    return means
