"""A stack of slices at physical depths: what every other part of the project works on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class SliceSource(Protocol):
    """Anything that hands out slices lazily: a NumPy, dask or Zarr array, or a file opened slice by slice."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, key: Any) -> Any: ...


@dataclass(frozen=True)
class Normalisation:
    """The straight line between source grey values and the unit range the model works in.

    Parameters
    ----------
    low, high : float
        Source values that become 0 and 1. For 8-bit data 0 and 255, so that errors are comparable between stacks; for
        other types robust limits of the data.
    dtype : str
        NumPy name of the source's dtype; output comes back in it.
    """

    low: float
    high: float
    dtype: str

    def to_unit(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Source grey values to the unit range, float32; values beyond the limits go beyond [0, 1]."""
        span = self.high - self.low
        return ((np.asarray(values, dtype=np.float32) - np.float32(self.low)) / np.float32(span)).astype(np.float32)

    def from_unit(self, values: NDArray[Any]) -> NDArray[Any]:
        """Unit-range values back to the source's dtype: rounded and clipped for integers, as they are for floats."""
        dtype = np.dtype(self.dtype)
        out = np.asarray(values, dtype=np.float64) * (self.high - self.low) + self.low
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            out = np.clip(np.rint(out), limits.min, limits.max)
        return out.astype(dtype)


@dataclass(frozen=True)
class Stack:
    """Slices at physical depths, read lazily.

    Parameters
    ----------
    slices : SliceSource
        ``(K, H, W)`` grey values in the source's dtype.
    z_nm : ndarray
        ``(K,)`` float64, strictly increasing depth of each slice in nm. Uneven spacing is allowed.
    pixel_size_nm : tuple of float
        In-plane pixel size ``(y, x)`` in nm.
    normalisation : Normalisation
        How grey values map to the unit range.
    name : str
        For titles and file names.
    source : str or None
        Where it was read from, for provenance.
    metadata : dict
        Free provenance (where the voxel size came from, which slices were left out, ...); JSON-compatible.
    """

    slices: SliceSource
    z_nm: NDArray[np.float64]
    pixel_size_nm: tuple[float, float]
    normalisation: Normalisation
    name: str = "stack"
    source: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of slices, rows, columns."""
        depth, height, width = self.slices.shape
        return int(depth), int(height), int(width)

    @property
    def t(self) -> NDArray[np.float64]:
        """Depth of each slice in [0, 1]: ``(z - z_0) / (z_{K-1} - z_0)`` (paper, section 3)."""
        return np.asarray((self.z_nm - self.z_nm[0]) / (self.z_nm[-1] - self.z_nm[0]))

    @property
    def anisotropy_factor(self) -> float:
        """Median distance between slices over the in-plane pixel size (mean of y and x)."""
        return float(np.median(np.diff(self.z_nm)) / np.mean(self.pixel_size_nm))

    def unit_slice(self, index: int) -> NDArray[np.float32]:
        """Slice ``index`` as ``(H, W)`` float32 in the unit range."""
        return self.normalisation.to_unit(np.asarray(self.slices[index]))

    def unit_slices(self) -> NDArray[np.float32]:
        """All slices as ``(K, H, W)`` float32 in the unit range (in memory)."""
        return np.stack([self.unit_slice(k) for k in range(self.shape[0])])
