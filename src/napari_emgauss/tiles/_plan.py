"""How a volume is cut into tiles: data, decided before anything is fitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError

from ._spans import Span, cut_pixels, cut_slices, smallest_window

SMALLEST_TILE = 64
"""Pixels: below, most of a tile is halo."""
MOST_TILES = 200_000
"""Two terabytes in tiles of the usual size. The index of a run is written anew after every tile."""


@dataclass(frozen=True)
class TileSize:
    """How a volume is cut into tiles.

    Parameters
    ----------
    pixels : int
        Largest side of a tile in the plane, without halo.
    halo_pixels : int
        How far a tile reaches beyond its borders; neighbours fade into each other there.
    window_slices : int
        Most slices in a depth window.
    overlap_slices : int
        Slices that neighbouring depth windows share, at least 1; they fade into each other over them.
    """

    pixels: int = 512
    halo_pixels: int = 16
    window_slices: int = 24
    overlap_slices: int = 3

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"{name} of tiles is {value!r}, but must be a whole number.")
        if self.halo_pixels < 1:
            raise ConfigError(f"The halo of tiles is {self.halo_pixels} pixels, but must be at least 1.")
        if self.pixels < max(SMALLEST_TILE, 4 * self.halo_pixels):
            raise ConfigError(
                f"Tiles of {self.pixels} pixels are too small for a halo of {self.halo_pixels}: they need at least "
                f"{max(SMALLEST_TILE, 4 * self.halo_pixels)}."
            )
        if self.overlap_slices < 1:
            raise ConfigError(f"Depth windows overlap by {self.overlap_slices} slices, but must overlap by at least 1.")
        if self.window_slices < smallest_window(self.overlap_slices):
            raise ConfigError(
                f"Depth windows of {self.window_slices} slices are too small to overlap by {self.overlap_slices}: they "
                f"need at least {smallest_window(self.overlap_slices)}."
            )


@dataclass(frozen=True)
class Tile:
    """One independent fit: a depth window of a rectangle.

    Parameters
    ----------
    index : tuple of int
        Place among the tiles, ``(z, y, x)``.
    slices, rows, columns : Span
        What it covers, with halo and overlap, and its weight there.
    """

    index: tuple[int, int, int]
    slices: Span
    rows: Span
    columns: Span

    @property
    def name(self) -> str:
        """``z0000_y0000_x0000``: its file's name, and how messages call it."""
        return "z{:04d}_y{:04d}_x{:04d}".format(*self.index)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns that it is fitted to."""
        return len(self.slices), len(self.rows), len(self.columns)

    @property
    def region(self) -> tuple[int, int, int, int]:
        """``(y0, y1, x0, x1)`` in pixels of the volume."""
        return self.rows.start, self.rows.stop, self.columns.start, self.columns.stop

    def seed(self, run_seed: int) -> int:
        """Seed of this tile's fit: of its place and the run's seed alone, whoever fits it and when."""
        return int(np.random.SeedSequence(run_seed, spawn_key=self.index).generate_state(1)[0] >> 1)


@dataclass(frozen=True)
class TilePlan:
    """All tiles of a volume: spans along each axis, of which every combination is a tile.

    Parameters
    ----------
    shape : tuple of int
        ``(K, H, W)`` of the volume.
    size : TileSize
        What it was cut by.
    slices, rows, columns : tuple of Span
        Along each axis.
    """

    shape: tuple[int, int, int]
    size: TileSize
    slices: tuple[Span, ...]
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def __post_init__(self) -> None:
        if len(self) > MOST_TILES:
            raise ConfigError(
                f"There would be {len(self):,} tiles, but at most {MOST_TILES:,} are possible: make them larger "
                "(tile, window), or fit parts of the volume."
            )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of tiles along z, y, x."""
        return len(self.slices), len(self.rows), len(self.columns)

    def __len__(self) -> int:
        return len(self.slices) * len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[Tile]:
        return (self.tile(index) for index in np.ndindex(*self.grid))

    def numbered(self, number: int) -> Tile:
        """The tile with this number, counted as iteration goes."""
        return self.tile([int(i) for i in np.unravel_index(number, self.grid)])

    def tile(self, index: Sequence[int]) -> Tile:
        """The tile at ``(z, y, x)``."""
        z, y, x = (int(i) for i in index)
        return Tile((z, y, x), self.slices[z], self.rows[y], self.columns[x])

    @property
    def largest(self) -> Tile:
        """The tile with the most voxels."""
        return self.tile([int(np.argmax([len(s) for s in spans])) for spans in (self.slices, self.rows, self.columns)])

    @property
    def overhead(self) -> float:
        """Voxels that are fitted over voxels of the volume: what halos and overlaps cost."""
        fitted = [sum(len(span) for span in spans) for spans in (self.slices, self.rows, self.columns)]
        return float(np.prod(fitted) / np.prod(self.shape))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "shape": list(self.shape),
            "size": asdict(self.size),
            **{
                axis: [span.to_dict() for span in spans]
                for axis, spans in (("slices", self.slices), ("rows", self.rows), ("columns", self.columns))
            },
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TilePlan:
        """From :meth:`to_dict`."""
        spans = [tuple(Span.from_dict(span) for span in values[axis]) for axis in ("slices", "rows", "columns")]
        depth, height, width = (int(n) for n in values["shape"])
        return cls((depth, height, width), TileSize(**values["size"]), *spans)


def cut(shape: tuple[int, int, int], z_nm: NDArray[np.float64] | Sequence[float], size: TileSize) -> TilePlan:
    """Cut a volume into tiles.

    Parameters
    ----------
    shape : tuple of int
        ``(K, H, W)``.
    z_nm : array-like
        ``(K,)`` depths of the slices.
    size : TileSize
        Largest tile and its overlaps.
    """
    depth, height, width = (int(n) for n in shape)
    return TilePlan(
        (depth, height, width),
        size,
        cut_slices(z_nm, size.window_slices, size.overlap_slices),
        cut_pixels(height, size.pixels, size.halo_pixels),
        cut_pixels(width, size.pixels, size.halo_pixels),
    )


def check_plan(plan: TilePlan, z_nm: NDArray[np.float64]) -> None:
    """Raise ValueError unless the spans of a plan from a file cover the volume as spans that were cut do.

    Parameters
    ----------
    plan : TilePlan
    z_nm : ndarray
        ``(K,)`` depths of the slices.
    """
    depth, height, width = plan.shape
    across = plan.size.pixels + 2 * plan.size.halo_pixels
    _check_spans(plan.slices, depth, plan.size.window_slices, (float(z_nm[0]), float(z_nm[-1])))
    _check_spans(plan.rows, height, across, (0.0, float(height)))
    _check_spans(plan.columns, width, across, (0.0, float(width)))


def _check_spans(spans: tuple[Span, ...], length: int, largest: int, ends: tuple[float, float]) -> None:
    if not spans or spans[0].start != 0 or spans[-1].stop != length:
        raise ValueError("The spans do not cover the axis.")
    if any(not 0 < len(span) <= largest for span in spans):
        raise ValueError("A span is larger than the tiles.")
    if spans[0].fade_in is not None or spans[-1].fade_out is not None:
        raise ValueError("The volume fades at its ends.")
    for one, other in pairwise(spans):
        fade = one.fade_out
        if not (one.start < other.start <= one.stop < other.stop) or fade is None or fade != other.fade_in:
            raise ValueError("Neighbouring spans do not meet.")
        if not ends[0] <= fade[0] <= fade[1] <= ends[1]:
            raise ValueError("A fade lies outside the volume.")
