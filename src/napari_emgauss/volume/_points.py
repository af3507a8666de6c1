"""Places in a volume, told in nm, on the source's slices, or on the isotropic grid, and turned into one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_emgauss._errors import ConfigError, DepthError

from ._depths import isotropic_depths
from ._protocol import VolumeModel
from ._source_slices import SourceSlices

Points = NDArray[np.float64]
"""``(n, 3)``: z, y, x."""


@dataclass(frozen=True, eq=False)
class PointGrids:
    """The three ways to tell a place in the volume of a model.

    * nm: depth as the stack has it; y and x from the outer corner of the first pixel.
    * slices: number of the slice in the source, fractions between two of them, and row and column with pixel centres at
      whole numbers, as viewers and label images count. Slices that were left out, and what lies around a fitted
      rectangle, count as they did in the source.
    * grid: the same on the isotropic volume.

    Where slices were straightened, or the fit learned that a slice lies off by some pixels, places on slices are moved
    by that, linearly between two slices; nm and grid are the model's.

    Parameters
    ----------
    source : SourceSlices
        Number, depth and offset of every slice of the source.
    grid_z_nm : ndarray
        ``(N,)`` depth of every slice of the isotropic volume.
    pixel_size_nm : tuple of float
        ``(y, x)``.
    """

    source: SourceSlices
    grid_z_nm: NDArray[np.float64]
    pixel_size_nm: tuple[float, float]

    @classmethod
    def of(
        cls, model: VolumeModel, *, spacing_nm: float | None = None, z_range_nm: Sequence[float] | None = None
    ) -> PointGrids:
        """The ways of a model; ``spacing_nm`` and ``z_range_nm`` as the volume was exported with.

        Raises
        ------
        DepthError
            See :func:`isotropic_depths`.
        """
        y_nm, x_nm = model.pixel_size_nm
        grid = grid_depths(model, spacing_nm=spacing_nm, z_range_nm=z_range_nm)
        return cls(SourceSlices.of(model), grid, (float(y_nm), float(x_nm)))

    def slices_to_nm(self, points: ArrayLike) -> Points:
        """From the source's slices to nm.

        Raises
        ------
        DepthError
            A point lies before the first slice or behind the last.
        ConfigError
            Not three numbers a point.
        """
        place = _checked(points)
        z_nm = _looked_up(place[:, 0], self._numbers, self.source.z_nm, "slice")
        return self._in_plane_nm(z_nm, place[:, 1:] - self._offset(z_nm))

    def nm_to_slices(self, points: ArrayLike) -> Points:
        """From nm to the source's slices; errors as in :meth:`slices_to_nm`."""
        place = _checked(points)
        number = _looked_up(place[:, 0], self.source.z_nm, self._numbers, "depth")
        return np.column_stack([number, self._in_plane_pixels(place) + self._offset(place[:, 0])])

    def nm_to_grid(self, points: ArrayLike) -> Points:
        """From nm to the isotropic volume; errors as in :meth:`slices_to_nm`."""
        place = _checked(points)
        numbers = np.arange(len(self.grid_z_nm), dtype=np.float64)
        return np.column_stack(
            [_looked_up(place[:, 0], self.grid_z_nm, numbers, "depth"), self._in_plane_pixels(place)]
        )

    def grid_to_nm(self, points: ArrayLike) -> Points:
        """From the isotropic volume to nm; errors as in :meth:`slices_to_nm`."""
        place = _checked(points)
        numbers = np.arange(len(self.grid_z_nm), dtype=np.float64)
        return self._in_plane_nm(_looked_up(place[:, 0], numbers, self.grid_z_nm, "slice"), place[:, 1:])

    def convert(self, points: ArrayLike, source: str, target: str) -> Points:
        """From one of the ways ``nm``, ``slices``, ``grid`` to another.

        Raises
        ------
        ConfigError
            There is no such way.
        """
        to_nm = {"nm": _checked, "slices": self.slices_to_nm, "grid": self.grid_to_nm}
        from_nm = {"nm": _checked, "slices": self.nm_to_slices, "grid": self.nm_to_grid}
        for name in (source, target):
            if name not in to_nm:
                raise ConfigError(f"Positions are given in nm, slices or grid, not in {name!r}.")
        return from_nm[target](to_nm[source](points))

    @property
    def _numbers(self) -> NDArray[np.float64]:
        return self.source.numbers.astype(np.float64)

    def _offset(self, z_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Row and column on the slices less those in the fitted rectangle."""
        off = [np.interp(z_nm, self.source.z_nm, self.source.offsets_px[:, axis]) for axis in (0, 1)]
        return np.asarray(np.stack(off, axis=1) + np.asarray(self.source.origin_px, dtype=np.float64))

    def _in_plane_nm(self, z_nm: NDArray[np.float64], pixels: NDArray[np.float64]) -> Points:
        return np.column_stack([z_nm, (pixels + 0.5) * np.asarray(self.pixel_size_nm)])

    def _in_plane_pixels(self, place: Points) -> NDArray[np.float64]:
        return np.asarray(place[:, 1:] / np.asarray(self.pixel_size_nm) - 0.5)


def grid_depths(
    model: VolumeModel, *, spacing_nm: float | None = None, z_range_nm: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Depth of each slice, nm, of the volume that :func:`export` writes with the same numbers.

    Raises
    ------
    DepthError
        See :func:`isotropic_depths`.
    """
    spacing = float(np.mean(model.pixel_size_nm)) if spacing_nm is None else float(spacing_nm)
    z_range = None if z_range_nm is None else (float(z_range_nm[0]), float(z_range_nm[1]))
    return isotropic_depths(model.z_nm, spacing, z_range)


def _checked(points: ArrayLike) -> Points:
    place: Any = np.asarray(points, dtype=np.float64)
    if place.ndim == 1 and place.shape == (3,):
        place = place[None]
    if place.ndim != 2 or place.shape[1] != 3 or not np.isfinite(place).all():
        raise ConfigError(f"Points are rows of three finite numbers, z, y and x, not an array of shape {place.shape}.")
    return np.asarray(place)


def _looked_up(
    values: NDArray[np.float64], known: NDArray[np.float64], wanted: NDArray[np.float64], what: str
) -> NDArray[np.float64]:
    """``wanted`` at ``values``, linear between ``known`` ones; half a step beyond the ends is still within."""
    before, behind = (known[1] - known[0]) / 2, (known[-1] - known[-2]) / 2
    slack = 1e-9 * (known[-1] - known[0])
    outside = (values < known[0] - before - slack) | (values > known[-1] + behind + slack)
    if outside.any():
        number = int(np.flatnonzero(outside)[0])
        raise DepthError(
            f"Point {number} is at {what} {values[number]:g}, but the volume reaches from {known[0]:g} to "
            f"{known[-1]:g}: leave it out, or check how positions are given."
        )
    inside = np.interp(values, known, wanted)
    # Straight on in the outer halves of the first and the last slice.
    first = wanted[0] + (values - known[0]) * (wanted[1] - wanted[0]) / (known[1] - known[0])
    last = wanted[-1] + (values - known[-1]) * (wanted[-1] - wanted[-2]) / (known[-1] - known[-2])
    return np.asarray(np.where(values < known[0], first, np.where(values > known[-1], last, inside)))
