"""A model made of tiles: behaves as one model, and loads only the tiles in view."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_emgauss._cache import ByteBoundCache
from napari_emgauss._errors import ModelFileError
from napari_emgauss.model import ERROR_BARS, ROOMY_PIXELS, ErrorBars, holds_tensor
from napari_emgauss.render import EmgaussModel, choose_backend, load as load_file
from napari_emgauss.stack import Frame, Normalisation, Region
from napari_emgauss.volume import ModelTraits

from ._copy import copy_tiles
from ._error import TiledError
from ._index import (
    INDEX_NAME,
    TileIndex,
    check_tile,
    is_tiled,
    read_index,
    tile_path,
)
from ._plan import Tile
from ._spans import Span

DEFAULT_CACHE_BYTES = 1 << 30
_SCRATCH_PIXELS = 8 << 20
"""Pixels that are blended at once: of each some 30 bytes are held for a moment."""
_DEPTHS_AT_ONCE = 4
"""Depths of a tile that are drawn together: enough to keep a device busy, few enough to stay small."""
_LOOKED_AT = 16
"""Tiles that are asked whether they know their error."""
_NOTHING = 1e-6
"""Weights below this are not worth rendering a tile for: the fade's ends are flat."""


class TiledModel:
    """Tiles that were fitted on their own, rendered as one model.

    Where tiles overlap, in the plane and in depth, their images are blended with smooth weights that sum to 1. A tile
    is read from disk when it first comes into view, and kept while the tiles kept fit into ``cache_bytes``.

    Parameters
    ----------
    folder : path
        Where ``index.json`` and the tiles are.
    device : str
        Torch device to render on, or "auto".
    cache_bytes : int
        Memory for tiles, on that device.
    allow_incomplete : bool
        Accept a folder of an unfinished run. Missing tiles are rendered from their neighbours where these reach, and
        as the lowest grey value elsewhere; :meth:`refresh` looks for new ones.

    Attributes
    ----------
    z_nm : ndarray
        ``(K,)`` depths of the observed slices, nm.
    pixel_size_nm : tuple of float
        ``(y, x)``.
    normalisation : Normalisation
        Between source grey values and the unit range.
    provenance : dict
        Where it comes from.
    version : int
        Grows when :meth:`refresh` finds new tiles.

    Raises
    ------
    ModelFileError
        The folder is no tiled model, is damaged, or lacks tiles.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        device: str = "auto",
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        allow_incomplete: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.device = device
        self.version = 0
        self._allow_incomplete = allow_incomplete
        self._index = read_index(self.folder)
        self.normalisation: Normalisation = self._index.normalisation
        missing = self._index.missing_count
        if missing and not allow_incomplete:
            raise ModelFileError(
                f"'{self.folder}' is unfinished: {missing} of {len(self._index.plan)} tiles are missing; run the fit "
                "with the same folder again to continue."
            )
        self._cache: ByteBoundCache[tuple[int, int, int], EmgaussModel] = ByteBoundCache(_bytes_of, cache_bytes)
        self._checked: set[str] = set()
        self._with_error: tuple[Tile | None] | None = None
        self._lock = threading.Lock()

    @property
    def index(self) -> TileIndex:
        """Plan and finished tiles."""
        return self._index

    @property
    def z_nm(self) -> NDArray[np.float64]:
        return self._index.z_nm

    @property
    def pixel_size_nm(self) -> tuple[float, float]:
        return self._index.pixel_size_nm

    @property
    def provenance(self) -> dict[str, Any]:
        return self._index.provenance

    @property
    def shape(self) -> tuple[int, int, int]:
        """Observed slices, rows, columns."""
        return self._index.plan.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Grey values' type, as in the source."""
        return np.dtype(self.normalisation.dtype)

    @property
    def channels(self) -> int:
        """One: stacks of several channels are not fitted in tiles."""
        return 1

    @property
    def confidence(self) -> None:
        """None: what the prior said of its guesses is not kept with tiles."""
        return None

    @property
    def traits(self) -> ModelTraits:
        """What not every model has."""
        own = torch.device(choose_backend(self.device).device).type != "cpu"
        return ModelTraits(has_own_device=own, normalisation=self.normalisation, folder=self.folder, error=self.error)

    @property
    def error(self) -> TiledError | None:
        """σ at any depth in grey values; None where no tile knows its error."""
        return None if self._tile_with_error() is None else TiledError(self)

    def first_error_bars(self) -> ErrorBars:
        """Error bars of the first tile that has any."""
        tile = self._tile_with_error()
        model = None if tile is None else self._cache.get_or_load(tile.index, self._load_tile)
        if model is None or model.error_bars is None:
            raise ModelFileError(f"No tile of '{self.folder}' knows its error.")
        return model.error_bars

    def blended_error(self, depths: list[float], region: Region, shape: tuple[int, int]) -> NDArray[np.float32]:
        """σ ``(n, h, w)`` in grey values: of every tile in view its σ times its weight."""
        grey = np.float32(self.normalisation.ranges[0])
        return grey * np.concatenate([self._blend([depth], region, shape, _draw_error) for depth in depths])

    def _tile_with_error(self) -> Tile | None:
        """The first of a few finished tiles that knows its error: some are of one grey."""
        if self._with_error is None:
            finished = [tile for tile in self._index.plan if tile.name in self._index.tiles][:_LOOKED_AT]
            found = (tile for tile in finished if holds_tensor(tile_path(self.folder, tile), ERROR_BARS))
            self._with_error = (next(found, None),)
        return self._with_error[0]

    @property
    def gaussian_count(self) -> int:
        """Gaussians in all finished tiles together."""
        return sum(record.gaussians for record in self._index.tiles.values())

    @property
    def cache(self) -> ByteBoundCache[tuple[int, int, int], EmgaussModel]:
        """The tiles in memory."""
        return self._cache

    def snapshot(self) -> TiledModel:
        """This model as it is now: finished tiles never change."""
        return TiledModel(self.folder, device=self.device, cache_bytes=self._cache.max_bytes, allow_incomplete=True)

    def refresh(self) -> bool:
        """Look for tiles finished since the folder was opened; True, and a new ``version``, if there are any."""
        index = read_index(self.folder)
        with self._lock:
            changed = index.tiles != self._index.tiles
            if changed:
                self._index, self._with_error = index, None
                self.version += 1
        return changed

    def tiles_at(self, z_nm: float, region: Region | None = None) -> list[Tile]:
        """Tiles that are seen at a depth, in a region (pixels; the whole slice by default)."""
        _, height, width = self.shape
        y0, y1, x0, x1 = (0.0, float(height), 0.0, float(width)) if region is None else region
        plan = self._index.plan
        wanted = [
            [k for k, span in enumerate(plan.slices) if float(span.weight(z_nm)) > _NOTHING],
            [k for k, span in enumerate(plan.rows) if _touches(span, y0, y1)],
            [k for k, span in enumerate(plan.columns) if _touches(span, x0, x1)],
        ]
        return [plan.tile((z, y, x)) for z in wanted[0] for y in wanted[1] for x in wanted[2]]

    def render(
        self,
        z_nm: float | Sequence[float] | NDArray[np.float64],
        *,
        region: Region | None = None,
        shape: tuple[int, int] | None = None,
    ) -> NDArray[Any]:
        """Slices at any depth in the source's grey values and dtype. Safe to call from several threads.

        Parameters
        ----------
        z_nm : float or sequence of float
            Depths in nm between the first and the last observed slice.
        region : tuple of float, optional
            ``(y0, y1, x0, x1)`` in pixels, fractions allowed; the whole slice by default. Only tiles in it are read.
        shape : tuple of int, optional
            Rows and columns to sample the region with, at the centres of equal cells; one per pixel by default.

        Returns
        -------
        ndarray
            ``(h, w)`` for one depth, ``(n, h, w)`` for a sequence.

        Raises
        ------
        DepthError
            A depth or the region lies outside the fitted volume.
        ModelFileError
            A tile's file is missing or damaged.
        """
        single = np.ndim(z_nm) == 0
        frame = Frame.of(self)
        depths = frame.checked_depths(z_nm).tolist()
        box, (height, width) = frame.sampling(frame.checked_region(region), shape)
        if height * width > ROOMY_PIXELS:
            self._look_at_one(depths[0], box)
        out = np.empty((len(depths), height, width), dtype=self.dtype)
        # Every tile is visited once for a whole batch of depths: it may have to be read from disk. Wide slices are
        # blended some rows at a time.
        at_once = max(1, _SCRATCH_PIXELS // (height * width))
        band = max(1, min(height, _SCRATCH_PIXELS // width))
        y0, y1, x0, x1 = box
        for start in range(0, len(depths), at_once):
            batch = depths[start : start + at_once]
            for top in range(0, height, band):
                bottom = min(height, top + band)
                edges = (y0 + (y1 - y0) * top / height, y0 + (y1 - y0) * bottom / height, x0, x1)
                image = self._blend(batch, edges, (bottom - top, width), _draw_image)
                out[start : start + at_once, top:bottom] = self.normalisation.from_unit(image)
        return out[0] if single else out

    def _look_at_one(self, z_nm: float, region: Region) -> None:
        """Read a tile in view before memory is taken for a large picture: the index may claim any size."""
        finished = (tile for tile in self.tiles_at(z_nm, region) if tile.name in self._index.tiles)
        tile = next(finished, None)
        if tile is not None:
            self._cache.get_or_load(tile.index, self._load_tile)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Copy the model to another folder.

        Raises
        ------
        ModelFileError
            The folder already exists, or cannot be written.
        """
        copy_tiles(self.folder, path, self._index)

    def __reduce__(self) -> Any:
        """Travels to other processes as the way to its folder: dask renders it on its workers."""
        return _reopen, (str(self.folder), self.device, self._cache.max_bytes, self._allow_incomplete)

    def __repr__(self) -> str:
        grid = " x ".join(str(n) for n in self._index.plan.grid)
        return f"TiledModel({str(self.folder)!r}, shape={self.shape}, tiles={grid})"

    def _load_tile(self, at: tuple[int, int, int]) -> EmgaussModel:
        tile = self._index.plan.tile(at)
        record = self._index.tiles[tile.name]
        # The checksum is taken when a tile is first read, not each time that it comes back into the cache.
        path = tile_path(self.folder, tile)
        if record.sha256 not in self._checked or not path.is_file():
            path = check_tile(self.folder, tile, record)
            self._checked.add(record.sha256)
        model = load_file(path, device=self.device)
        if model.shape != tile.shape:
            raise ModelFileError(
                f"Tile {tile.name} of '{self.folder}' has the shape {model.shape}, not {tile.shape} as planned."
            )
        return model.requires_grad_(False)

    def _blend(self, depths: list[float], region: Region, shape: tuple[int, int], draw: _Draw) -> NDArray[np.float32]:
        """Unit-range images ``(n, h, w)``: of every tile in view what ``draw`` draws of it, times its weight."""
        y0, y1, x0, x1 = region
        rows = _Samples.along(y0, y1, shape[0])
        columns = _Samples.along(x0, x1, shape[1])
        plan = self._index.plan
        total = np.zeros((len(depths), *shape), dtype=np.float32)
        covered = np.zeros_like(total) if self._index.missing_count else None
        parts_y, parts_x = _parts(plan.rows, rows), _parts(plan.columns, columns)
        for z, window in enumerate(plan.slices):
            weights = window.weight(depths)
            seen = [k for k, weight in enumerate(weights) if weight > _NOTHING]
            if not seen:
                continue
            for y, (row_part, row_weights) in parts_y.items():
                for x, (column_part, column_weights) in parts_x.items():
                    tile = plan.tile((z, y, x))
                    if tile.name not in self._index.tiles:
                        continue
                    images = self._tile_images(
                        tile, [depths[k] for k in seen], rows, row_part, columns, column_part, draw
                    )
                    in_plane = row_weights[:, None] * column_weights
                    for image, k in zip(images, seen, strict=True):
                        share = in_plane * weights[k]
                        total[k, row_part, column_part] += share * image
                        if covered is not None:
                            covered[k, row_part, column_part] += share
        if covered is not None:
            # Where a neighbour reaches into a missing tile it is all there is; a sliver of weight is too little to
            # go by, and stays dark.
            np.divide(total, covered, out=total, where=covered > 1e-3)
            total[covered <= 1e-3] = 0.0
        return total

    def _tile_images(
        self,
        tile: Tile,
        depths: list[float],
        rows: _Samples,
        row_part: slice,
        columns: _Samples,
        column_part: slice,
        draw: _Draw,
    ) -> NDArray[np.float32]:
        model = self._cache.get_or_load(tile.index, self._load_tile)
        y0, y1 = rows.edges(row_part)
        x0, x1 = columns.edges(column_part)
        top, _, left, _ = tile.region
        shape = (row_part.stop - row_part.start, column_part.stop - column_part.start)
        region = (y0 - top, y1 - top, x0 - left, x1 - left)
        out = np.empty((len(depths), *shape), dtype=np.float32)
        for start in range(0, len(depths), _DEPTHS_AT_ONCE):
            some = depths[start : start + _DEPTHS_AT_ONCE]
            out[start : start + len(some)] = draw(model, some, region, shape)
        return out


_Draw = Callable[[EmgaussModel, list[float], Region, tuple[int, int]], NDArray[np.float32]]


def _draw_image(
    model: EmgaussModel, depths: list[float], region: Region, shape: tuple[int, int]
) -> NDArray[np.float32]:
    with torch.inference_mode():
        images = model.render_mean([model.t_of(z) for z in depths], model.thickness, region=region, shape=shape)
        return np.asarray(images[:, 0].cpu().numpy())


def _draw_error(
    model: EmgaussModel, depths: list[float], region: Region, shape: tuple[int, int]
) -> NDArray[np.float32]:
    bars = model.error_bars
    if bars is None:
        return np.zeros((len(depths), *shape), dtype=np.float32)
    return bars.sampled(np.asarray(depths, dtype=np.float64), region, shape)[:, 0]


class _Samples:
    """Centres of ``count`` equal cells between two positions of an axis, in pixels."""

    def __init__(self, start: float, step: float, count: int) -> None:
        self.start, self.step, self.count = start, step, count

    @classmethod
    def along(cls, start: float, stop: float, count: int) -> _Samples:
        return cls(start, (stop - start) / count, count)

    @property
    def centres(self) -> NDArray[np.float64]:
        return np.asarray(self.start + (np.arange(self.count) + 0.5) * self.step)

    def edges(self, part: slice) -> tuple[float, float]:
        """Outer edges of some cells."""
        return self.start + part.start * self.step, self.start + part.stop * self.step


def _parts(spans: tuple[Span, ...], samples: _Samples) -> dict[int, tuple[slice, NDArray[np.float32]]]:
    """For every span in view which samples it shows, and with what weight."""
    centres = samples.centres
    found = {}
    for k, span in enumerate(spans):
        weights = span.weight(centres)
        seen = np.flatnonzero(weights > _NOTHING)
        if len(seen):
            part = slice(int(seen[0]), int(seen[-1]) + 1)
            found[k] = (part, weights[part])
    return found


def _touches(span: Span, low: float, high: float) -> bool:
    begin = span.start if span.fade_in is None else span.fade_in[0]
    end = span.stop if span.fade_out is None else span.fade_out[1]
    return begin < high and low < end


def _bytes_of(model: EmgaussModel) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


def _reopen(folder: str, device: str, cache_bytes: int, allow_incomplete: bool) -> TiledModel:
    return TiledModel(folder, device=device, cache_bytes=cache_bytes, allow_incomplete=allow_incomplete)


def load(path: str | os.PathLike[str], device: str = "auto") -> EmgaussModel | TiledModel:
    """Read a model: a file that :meth:`EmgaussModel.save` wrote, or the folder of a tiled one.

    Parameters
    ----------
    path : path
        A ``.safetensors`` file, or a folder with an ``index.json``.
    device : str
        Torch device, or "auto".

    Raises
    ------
    ModelFileError
        There is no such model, it is damaged, unfinished, or written by a newer version.
    """
    source = Path(path)
    if source.is_dir() or is_tiled(source):
        return TiledModel(source, device=device)
    if source.name == INDEX_NAME and is_tiled(source.parent):
        return TiledModel(source.parent, device=device)
    return load_file(source, device=device)
