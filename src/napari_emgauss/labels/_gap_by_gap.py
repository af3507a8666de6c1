"""Labels of large slices worked out a part at a time, for all depths of a gap."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ExportError
from napari_emgauss._progress import Progress
from napari_emgauss.stack import Region
from napari_emgauss.volume import ModelView, grid_depths

from ._carry import CarriedLabels


class GapByGap(ModelView):
    """Carried labels for a writer, which asks for whole slices, one after the other.

    What is prepared for a part of a gap is used for all its depths, and would not fit into memory for all parts at
    once: so each part is finished for the whole gap, and kept in a nameless file until the slices are asked for. The
    file is gone with the process, however that ends.

    A labelled slice that lies between two of the grid is handed out, as it is, at the nearer one: so whoever brings the
    volume back to the slices gets what was labelled.

    Parameters
    ----------
    carried : CarriedLabels
        What is asked for.
    dtype : dtype
        Type that the labels are handed out in; holds all of them.
    folder : Path
        Where the file is made: where the result is written there is room for a few slices more.
    spacing_nm, z_range_nm
        The grid that will be asked for.
    progress : Progress
        Is told part by part, so that whoever waits can stop it between two.
    """

    def __init__(
        self,
        carried: CarriedLabels,
        dtype: np.dtype[Any],
        folder: Path,
        spacing_nm: float | None,
        z_range_nm: Sequence[float] | None,
        progress: Progress,
    ) -> None:
        super().__init__(carried)
        self._progress = progress
        self.carried, self._dtype, self._place = carried, dtype, folder
        grid = grid_depths(carried, spacing_nm=spacing_nm, z_range_nm=z_range_nm)
        self._labelled_at = _labelled_at(grid, carried.labelled_nm)
        self._depths = self._looked_at(grid)
        self._open = ExitStack()
        self._file: IO[bytes] | None = None
        self._stored: tuple[int, IO[bytes], NDArray[np.float64]] | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """That the labels are handed out in."""
        return self._dtype

    def __enter__(self) -> GapByGap:
        return self

    def __exit__(self, *_: object) -> None:
        self._stored = self._file = None
        self._open.close()

    def _images(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        depths = self._looked_at(depths_nm)
        if not self.carried.has_parts or region is not None or shape is not None:
            return self.carried.render(depths, region=region, shape=shape).astype(self._dtype, copy=False)
        return np.stack([self._slice(float(depth)) for depth in depths])

    def _looked_at(self, depths_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([self._labelled_at.get(float(z), float(z)) for z in np.atleast_1d(depths_nm)])

    def _slice(self, depth_nm: float) -> NDArray[Any]:
        gap = self.carried.gap_of(depth_nm)
        if gap is None:
            return self.carried.render(depth_nm).astype(self._dtype, copy=False)
        if self._stored is None or self._stored[0] != gap:
            self._stored = None
            self._stored = self._store(gap)
        _, file, within = self._stored
        found = np.flatnonzero(np.abs(within - depth_nm) <= 1e-9 * abs(depth_nm))
        if not len(found):
            return self.carried.render(depth_nm).astype(self._dtype, copy=False)
        height, width = self.carried.shape[1:]
        size = height * width * self._dtype.itemsize
        file.seek(int(found[0]) * size)
        return np.frombuffer(file.read(size), self._dtype).reshape(height, width)

    def _store(self, gap: int) -> tuple[int, IO[bytes], NDArray[np.float64]]:
        """All depths of a gap worked out, part by part, in the file."""
        within = np.array([z for z in self._depths if self.carried.gap_of(float(z)) == gap])
        file = self._room_for(len(within))
        height, width = self.carried.shape[1:]
        parts = self.carried.parts()
        done = float(np.searchsorted(self._depths, within[0])) / len(self._depths)
        for number, (y0, y1, x0, x1) in enumerate(parts):
            box = (float(y0), float(y1), float(x0), float(x1))
            for k, z in enumerate(within):
                self._progress.tell(done, f"part {number + 1} of {len(parts)} of a gap, depth {k + 1} of {len(within)}")
                part = self.carried.render(float(z), region=box).astype(self._dtype, copy=False)
                for row, values in enumerate(part, start=y0):
                    file.seek(((k * height + row) * width + x0) * self._dtype.itemsize)
                    file.write(np.ascontiguousarray(values).data)
        return gap, file, within

    def _room_for(self, count: int) -> IO[bytes]:
        """The file, as large as so many slices need: a full disk is told now, not in the midst of them."""
        height, width = self.carried.shape[1:]
        size = count * height * width * self._dtype.itemsize
        try:
            if self._file is None:
                self._file = self._open.enter_context(_nameless_file(self._place))
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, max(size, 1))
        except OSError as error:
            raise ExportError(
                f"There is no room for the labels of a gap ({size / 1e6:,.0f} MB) in '{self._place}': free space "
                f"there, or write elsewhere ({error.strerror})."
            ) from error
        return self._file


def _labelled_at(grid_nm: NDArray[np.float64], labelled_nm: Sequence[float]) -> dict[float, float]:
    """Depth of the grid -> the labelled slice, nm, that is handed out there: each at the nearest within half a step."""
    half = float(np.max(np.diff(grid_nm))) / 2 * (1 + 1e-6) if len(grid_nm) > 1 else 0.0
    found: dict[float, float] = {}
    for depth in labelled_nm:
        at = float(grid_nm[np.argmin(np.abs(grid_nm - depth))])
        if abs(at - depth) <= half and abs(at - depth) < abs(at - found.get(at, np.inf)):
            found[at] = depth
    return found


def _nameless_file(folder: Path) -> AbstractContextManager[IO[bytes]]:
    return tempfile.TemporaryFile(dir=folder)
