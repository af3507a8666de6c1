"""One box of a model on its way to pixels: what the cache had, and the other planes as they are rendered."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ._protocol import VolumeModel
    from ._render_cache import RenderCache

_BATCH_BYTES = 16 << 20
_LONGEST_BATCH = 64


@dataclass(frozen=True)
class PlaneBox:
    """The part of every plane that is rendered, and the part of it that is wanted.

    Parameters
    ----------
    region : tuple of float
        ``(y0, y1, x0, x1)`` in pixels.
    shape : tuple of int
        Rows and columns to sample the region with.
    window : tuple of slice
        The wanted rows and columns.
    key : tuple
        Tells the box from others in a cache; the depth comes after it.
    """

    region: tuple[float, float, float, float]
    shape: tuple[int, int]
    window: tuple[slice, slice]
    key: tuple[Hashable, ...]


class Drawing:
    """Planes of one box at many depths.

    Parameters
    ----------
    model : VolumeModel
    cache : RenderCache
        Asked first, and given what is rendered.
    depths_nm : ndarray
        ``(n,)``.
    box : PlaneBox

    Attributes
    ----------
    values : ndarray
        ``(n, rows, columns)`` of the wanted window; only the known planes mean anything.
    known : ndarray
        ``(n,)`` bool.
    """

    def __init__(self, model: VolumeModel, cache: RenderCache, depths_nm: NDArray[np.float64], box: PlaneBox) -> None:
        self._model, self._cache = model, cache
        self.depths_nm, self.box = depths_nm, box
        rows, columns = (part.stop - part.start for part in box.window)
        self.values: NDArray[Any] = np.empty((len(depths_nm), rows, columns), np.dtype(model.dtype))
        self.known = np.zeros(len(depths_nm), dtype=bool)
        for k, depth in enumerate(depths_nm):
            plane = cache.get((*box.key, float(depth)))
            if plane is not None:
                self.values[k], self.known[k] = plane[box.window], True

    def coarser(self, factor: int) -> Drawing:
        """The same planes, of this many times fewer rows and columns."""
        (y0, y1, x0, x1), (rows, columns) = self.box.region, self.values.shape[1:]
        height, width = (y1 - y0) / self.box.shape[0], (x1 - x0) / self.box.shape[1]
        top, left = y0 + height * self.box.window[0].start, x0 + width * self.box.window[1].start
        shape = (max(1, rows // factor), max(1, columns // factor))
        box = PlaneBox(
            (top, min(y1, top + height * rows), left, min(x1, left + width * columns)),
            shape,
            (slice(0, shape[0]), slice(0, shape[1])),
            (*self.box.key, *(part.start for part in self.box.window), *shape),
        )
        return Drawing(self._model, self._cache, self.depths_nm, box)

    def at(self, depth_nm: float) -> Drawing:
        """The same box at another depth."""
        return Drawing(self._model, self._cache, np.array([depth_nm], dtype=np.float64), self.box)

    @property
    def missing(self) -> list[int]:
        """Positions of the planes that are not known yet."""
        return [int(k) for k in np.flatnonzero(~self.known)]

    @property
    def batch(self) -> int:
        """Planes to render in one call.

        Several let a graphics card work in batches; a limit keeps the memory independent of depth.
        """
        rows, columns = self.box.shape
        return max(1, min(_LONGEST_BATCH, _BATCH_BYTES // (4 * rows * columns)))

    def render(self, positions: Sequence[int]) -> None:
        """Render the planes at ``positions``, in one call to the model."""
        chosen = list(positions)
        rendered = np.asarray(self._model.render(self.depths_nm[chosen], region=self.box.region, shape=self.box.shape))
        for k, plane in zip(chosen, rendered, strict=True):
            self.values[k], self.known[k] = plane[self.box.window], True
            # A plane of a batch is copied, or it would keep the whole batch alive.
            kept = plane if len(chosen) == 1 else plane.copy()
            kept.flags.writeable = False
            self._cache.put((*self.box.key, float(self.depths_nm[k])), kept)

    def finish(self) -> NDArray[Any]:
        """Render all that is missing; all values."""
        missing = self.missing
        for start in range(0, len(missing), self.batch):
            self.render(missing[start : start + self.batch])
        return self.values
