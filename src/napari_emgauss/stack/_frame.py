"""Where a stack or a model of one lies: its depths, its pixels, and what may be asked for within them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import DepthError

Region: TypeAlias = tuple[float, float, float, float]
"""``(y0, y1, x0, x1)`` of a slice in pixels, fractions allowed."""

# Depths that went through a file or a text field are rounded: a millionth of the range beyond the end is the end.
_SLACK = 1e-6


class HasFrame(Protocol):
    """What has a frame: stacks, and models of them."""

    @property
    def z_nm(self) -> NDArray[np.float64]: ...

    @property
    def pixel_size_nm(self) -> tuple[float, float]: ...

    @property
    def shape(self) -> tuple[int, int, int]: ...


@dataclass(frozen=True, eq=False)
class Frame:
    """Depths, pixel size and shape.

    Parameters
    ----------
    z_nm : ndarray
        ``(K,)`` depths of the observed slices, nm, increasing.
    pixel_size_nm : tuple of float
        In-plane ``(y, x)``, nm.
    shape : tuple of int
        Observed slices, rows, columns.
    """

    z_nm: NDArray[np.float64]
    pixel_size_nm: tuple[float, float]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, placed: HasFrame) -> Frame:
        """The frame of a stack or a model."""
        return cls(np.asarray(placed.z_nm, dtype=np.float64), placed.pixel_size_nm, placed.shape)

    def checked_depth(self, z_nm: float) -> float:
        """A depth within the observed slices, nm.

        Raises
        ------
        DepthError
            It lies outside, or is no number.
        """
        return float(self.checked_depths([z_nm])[0])

    def checked_depths(self, z_nm: Any) -> NDArray[np.float64]:
        """``(n,)`` depths within the observed slices, nm, of one depth or a sequence; see :meth:`checked_depth`."""
        depths = np.atleast_1d(np.asarray(z_nm, dtype=np.float64))
        first, last = float(self.z_nm[0]), float(self.z_nm[-1])
        slack = _SLACK * (last - first)
        outside = ~((depths >= first - slack) & (depths <= last + slack))  # so that NaN is outside
        if outside.any():
            raise DepthError(
                f"Depth {depths[outside][0]:g} nm is outside the fitted volume; choose one from {first:g} to "
                f"{last:g} nm."
            )
        return np.clip(depths, first, last)

    def checked_region(self, region: Region | None) -> Region:
        """A rectangle within the slices, in pixels; the whole slice where none is given.

        Raises
        ------
        DepthError
            It reaches beyond the slices, or is empty.
        """
        _, height, width = self.shape
        if region is None:
            return 0.0, float(height), 0.0, float(width)
        y0, y1, x0, x1 = (float(value) for value in region)
        if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
            raise DepthError(
                f"Region (y0, y1, x0, x1) = ({y0:g}, {y1:g}, {x0:g}, {x1:g}) is outside the fitted slices of "
                f"{height} x {width} pixels, or empty."
            )
        return y0, y1, x0, x1

    def sampling(self, region: Region | None, shape: tuple[int, int] | None) -> tuple[Region, tuple[int, int]]:
        """Rectangle, and rows and columns of equal cells to sample it with; one cell a pixel by default.

        The rectangle is not checked: cells of a coarse sampling may reach beyond the slice.

        Raises
        ------
        DepthError
            No row or no column.
        """
        _, height, width = self.shape
        y0, y1, x0, x1 = (0.0, float(height), 0.0, float(width)) if region is None else (float(v) for v in region)
        rows, columns = (max(1, round(y1 - y0)), max(1, round(x1 - x0))) if shape is None else (int(n) for n in shape)
        if rows < 1 or columns < 1:
            raise DepthError(f"A region needs at least one row and one column, not {rows} x {columns}.")
        return (y0, y1, x0, x1), (rows, columns)

    def centres(
        self, region: Region | None, shape: tuple[int, int] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows and columns of the centres of the cells of a :meth:`sampling`, in pixels (pixel centres at +0.5)."""
        (y0, y1, x0, x1), (rows, columns) = self.sampling(region, shape)
        return (
            np.asarray(y0 + (np.arange(rows) + 0.5) * (y1 - y0) / rows),
            np.asarray(x0 + (np.arange(columns) + 0.5) * (x1 - x0) / columns),
        )
