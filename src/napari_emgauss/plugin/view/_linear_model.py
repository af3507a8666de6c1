"""Linear interpolation of a stack, and differences, as layers render them. Knows neither Qt nor napari."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.plugin.process._render_service import Depths
from napari_emgauss.plugin.process._request import PixelRegion
from napari_emgauss.stack import Frame, Region
from napari_emgauss.volume import ModelView, VolumeModel

SLICES_KEPT = 8


class LinearModel:
    """What stands between two slices when one draws a straight line: what EMGauss has to beat.

    Parameters
    ----------
    values : array-like
        The source layer's data, possibly lazy.
    slices : sequence of int
        Slices of the layer that were fitted: those left out are not among them.
    region : tuple of int
        ``(y0, y1, x0, x1)`` of the fitted part in the layer.
    z_nm : ndarray
        Depth of every slice of the part, nm.
    pixel_size_nm : tuple of float
        ``(y, x)`` in nm.
    channel : int, optional
        Which one, where the data have a first axis of channels.
    """

    # Models that were fitted count from 1: what stands in for one must not be taken for it.
    version, channels, confidence = 0, 1, None
    provenance: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        values: Any,
        slices: Sequence[int],
        region: PixelRegion,
        z_nm: NDArray[np.float64],
        pixel_size_nm: tuple[float, float],
        channel: int | None = None,
    ) -> None:
        self._values, self._slices, self._region, self._channel = values, tuple(slices), region, channel
        self.z_nm, self.pixel_size_nm = np.asarray(z_nm, dtype=np.float64), pixel_size_nm
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns of the part."""
        y0, y1, x0, x1 = self._region
        return len(self.z_nm), y1 - y0, x1 - x0

    @property
    def dtype(self) -> np.dtype[Any]:
        """As the source's."""
        return np.dtype(self._values.dtype)

    def render(
        self, z_nm: Depths, *, region: Region | None = None, shape: tuple[int, int] | None = None
    ) -> NDArray[Any]:
        """Slices at any depth; the same contract as ``EmgaussModel.render``."""
        from napari_emgauss.priors import interpolate_linear

        frame = Frame.of(self)
        depths = frame.checked_depths(z_nm)
        # Pixels nearest to the centres of the cells.
        rows, columns = (
            np.clip(np.floor(centres).astype(np.intp), 0, size - 1)
            for centres, size in zip(frame.centres(frame.checked_region(region), shape), self.shape[1:], strict=True)
        )
        out = np.empty((len(depths), len(rows), len(columns)), dtype=self.dtype)
        for position, depth in enumerate(depths):
            lower = int(np.clip(np.searchsorted(self.z_nm, depth, side="right") - 1, 0, len(self.z_nm) - 2))
            pair = [self._slice(k)[np.ix_(rows, columns)].astype(np.float32) for k in (lower, lower + 1)]
            blend = interpolate_linear(np.stack(pair), self.z_nm[lower : lower + 2], [depth])[0]
            out[position] = _rounded(blend, self.dtype)
        return out[0] if np.ndim(z_nm) == 0 else out

    def _slice(self, index: int) -> NDArray[Any]:
        with self._lock:
            if index not in self._kept:
                y0, y1, x0, x1 = self._region
                plane = (self._slices[index], slice(y0, y1), slice(x0, x1))
                where = plane if self._channel is None else (self._channel, *plane)
                self._kept[index] = np.asarray(self._values[where])
            self._kept.move_to_end(index)
            while len(self._kept) > SLICES_KEPT:
                self._kept.popitem(last=False)
            return self._kept[index]

    def __deepcopy__(self, memo: dict[int, Any]) -> LinearModel:
        return self


class DifferenceModel(ModelView):
    """One model minus another, signed, in grey values (float32).

    Parameters
    ----------
    model, reference : VolumeModel
        Over the same part of the same stack.
    """

    def __init__(self, model: VolumeModel, reference: VolumeModel) -> None:
        super().__init__(model)
        self.reference = reference

    @property
    def version(self) -> int:
        """Changes with either."""
        return hash((self.model.version, self.reference.version))

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32: differences have a sign."""
        return np.dtype(np.float32)

    def _images(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        ours = super()._images(depths_nm, region, shape)
        theirs = self.reference.render(depths_nm, region=region, shape=shape)
        return ours.astype(np.float32) - theirs.astype(np.float32)


def _rounded(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.rint(values).astype(dtype) if dtype.kind in "iu" else values.astype(dtype)
