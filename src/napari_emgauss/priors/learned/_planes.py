"""Apply a trained `GapNetwork` to every xz and yz plane of a stack and fuse what they say.

A voxel between two slices lies in one xz and one yz plane, and in planes turned about z between those. Each gives a
mean and a variance; they are fused with inverse-variance weights, and what comes out is corrected where a `Correction`
is given. Mirrored planes are averaged first.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_emgauss.priors.learned import _device_planes as device_planes
from napari_emgauss.priors.learned._fusion import Correction
from napari_emgauss.priors.learned._network import GapNetwork

_PIXELS_PER_BATCH = 65_536
_GAPS_PER_TILE = 96
_TILE_MARGIN = 12
"""Rows beyond a tile that the network is shown; it sees further, but hardly uses it (rows are whole gaps apart)."""

IN_MEMORY_BYTES = 1_500_000_000
"""Volumes beyond this size go to a temporary file that the system pages in and out."""


@dataclass(frozen=True)
class PlaneDirections:
    """Which planes are looked at.

    Parameters
    ----------
    rotations_deg : tuple of float
        Each angle adds two perpendicular families of planes that contain z; 0 are xz and yz.
    mirrored : bool
        Look at every plane also upside down and from behind, and average.
    """

    rotations_deg: tuple[float, ...] = (0.0,)
    mirrored: bool = True


@dataclass
class FusedVolume:
    """Means and variances of all in-between slices.

    Parameters
    ----------
    mean : ndarray
        ``(K-1, nodes, H, W)`` float32, in the units of the images given.
    variance : ndarray
        Same shape: expected squared error of the mean, the noise of a single slice included.
    folder : ScratchFolder or None
        Where big arrays lie; keep it as long as they are used.
    uncorrected : ndarray or None
        The means before their correction, where they were to be kept.
    """

    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    folder: ScratchFolder | None = None
    uncorrected: NDArray[np.float32] | None = None


def predict_between(
    network: GapNetwork,
    images: NDArray[np.float32],
    log_gap: NDArray[np.float32],
    directions: PlaneDirections,
    *,
    device: torch.device,
    correction: Correction | None = None,
    keep_uncorrected: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> FusedVolume:
    """Predict every in-between slice of a stack.

    Parameters
    ----------
    network : GapNetwork
        Trained on this stack.
    images : ndarray
        ``(K, H, W)`` standardised slices with square pixels.
    log_gap : ndarray
        ``(K-1,)`` logarithm of each gap over the usual one.
    directions : PlaneDirections
        Planes to look at.
    device : torch.device
        Where the network lives.
    correction : Correction or None
        Applied to the fused slices.
    keep_uncorrected : bool
        Hand out the slices before the correction, too.
    on_progress : callable or None
        Told the fraction done; may raise to stop.
    """
    slices, height, width = images.shape
    shape = (slices - 1, network.config.nodes, height, width)
    if device_planes.fits(shape, device, turned=any(directions.rotations_deg)):
        return _predict_there(network, images, log_gap, directions, device, correction, keep_uncorrected, on_progress)
    store = _Store()
    weighted = store.zeros(shape)
    weight = store.zeros(shape)
    squared = store.zeros(shape) if correction is not None else None
    uncorrected = store.zeros(shape) if keep_uncorrected else None
    families = 2 * len(directions.rotations_deg)
    done = 0

    def tell(part: float) -> None:
        if on_progress is not None:
            on_progress((done + part) / families)

    def add(where: Any, mean: NDArray[np.float32], log_variance: NDArray[np.float32]) -> None:
        precision = _precision(log_variance)
        weight[where] += precision
        precision *= mean
        weighted[where] += precision
        if squared is not None:
            squared[where] += precision * mean

    for angle in directions.rotations_deg:
        turned = _TurnedStack(images, angle)
        for axis in (1, 2):
            family = _family(network, turned.images, log_gap, axis, directions.mirrored, device, tell)
            if angle == 0:
                for where, mean, log_variance in family:
                    add(where, mean, log_variance)
            else:
                turned_shape = (*shape[:2], *turned.images.shape[1:])
                all_mean, all_log_variance = np.empty(turned_shape, np.float32), np.empty(turned_shape, np.float32)
                for where, mean, log_variance in family:
                    all_mean[where], all_log_variance[where] = mean, log_variance
                for gap in range(shape[0]):
                    add(gap, turned.back(all_mean[gap]), turned.back(all_log_variance[gap]))
            done += 1
            tell(0.0)
    for gap in range(shape[0]):
        weighted[gap] /= weight[gap]
        variance = families / weight[gap]
        if uncorrected is not None:
            uncorrected[gap] = weighted[gap]
        if squared is not None and correction is not None:
            weighted[gap] = correction.gap(gap, weighted[gap], squared[gap] / weight[gap], variance, images)
        weight[gap] = variance
    return FusedVolume(weighted, weight, store.folder, uncorrected)


def _predict_there(
    network: GapNetwork,
    images: NDArray[np.float32],
    log_gap: NDArray[np.float32],
    directions: PlaneDirections,
    device: torch.device,
    correction: Correction | None,
    keep_uncorrected: bool,
    on_progress: Callable[[float], None] | None,
) -> FusedVolume:
    """As `predict_between`, with all sums on the device."""
    fusion = device_planes.DeviceFusion(
        network,
        log_gap,
        (images.shape[1], images.shape[2]),
        mirrored=directions.mirrored,
        device=device,
        correction=correction,
    )
    families = 2 * len(directions.rotations_deg)
    done = 0

    def tell(part: float) -> None:
        if on_progress is not None:
            on_progress((done + part) / families)

    tiles = _row_tiles(len(images) - 1)
    for angle in directions.rotations_deg:
        turned = _TurnedStack(images, angle).images
        for axis in (1, 2):
            fusion.add_family(turned, axis, tiles, tell, turned_deg=angle)
            done += 1
            tell(0.0)
    mean, variance, uncorrected = fusion.result(families, images, keep_uncorrected)
    return FusedVolume(mean, variance, uncorrected=uncorrected)


class ScratchFolder:
    """A temporary folder that goes when this object is forgotten."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="emgauss-prior-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class _Store:
    """Hands out arrays: in memory while they are small, in a temporary folder otherwise."""

    def __init__(self) -> None:
        self.folder: ScratchFolder | None = None
        self._count = 0

    def zeros(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        if 4 * int(np.prod(shape, dtype=np.int64)) <= IN_MEMORY_BYTES:
            return np.zeros(shape, np.float32)
        if self.folder is None:
            self.folder = ScratchFolder()
        self._count += 1
        return np.memmap(self.folder.path / f"{self._count}.raw", dtype=np.float32, mode="w+", shape=shape)


def _precision(log_variance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse variance, kept within what a standardised image can have."""
    return np.asarray(np.exp(-np.clip(log_variance, -8, 8)), dtype=np.float32)


class _TurnedStack:
    """A stack turned in its plane about the centre, and the way back for what was computed on it."""

    def __init__(self, images: NDArray[np.float32], angle_deg: float) -> None:
        self._angle = angle_deg
        self._shape = images.shape[1:]
        if angle_deg == 0:
            self.images = images
            return
        from scipy.ndimage import affine_transform

        radians = np.deg2rad(angle_deg)
        self._matrix = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
        self._centre = (np.array(self._shape) - 1) / 2
        extent = np.abs(self._matrix.T) @ np.array(self._shape)
        self._turned_shape = tuple(int(np.ceil(size)) + 2 for size in extent)
        self._turned_centre = (np.array(self._turned_shape) - 1) / 2
        offset = self._centre - self._matrix @ self._turned_centre
        self.images = np.stack(
            [
                affine_transform(image, self._matrix, offset, output_shape=self._turned_shape, order=3, mode="mirror")
                for image in images
            ]
        )

    def back(self, turned: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(n, H', W')`` of the turned grid to ``(n, H, W)``."""
        if self._angle == 0:
            return turned
        from scipy.ndimage import affine_transform

        inverse = self._matrix.T
        offset = self._turned_centre - inverse @ self._centre
        return np.stack(
            [
                affine_transform(image, inverse, offset, output_shape=self._shape, order=3, mode="mirror")
                for image in turned
            ]
        )


def _family(
    network: GapNetwork,
    images: NDArray[np.float32],
    log_gap: NDArray[np.float32],
    axis: int,
    mirrored: bool,
    device: torch.device,
    on_progress: Callable[[float], None],
) -> Iterator[tuple[tuple[slice, ...], NDArray[np.float32], NDArray[np.float32]]]:
    """All planes at fixed ``axis`` (1: xz planes, 2: yz planes), a block at a time.

    Yields where a block belongs in ``(K-1, nodes, H, W)``, its mean and its log-variance.
    """
    planes, columns = images.shape[axis], images.shape[3 - axis]
    tiles = _row_tiles(len(images) - 1)
    for tile, (first, last, shown_first, shown_last) in enumerate(tiles):
        rows = images[shown_first : shown_last + 1]
        gaps = log_gap[shown_first:shown_last]
        step = max(1, _PIXELS_PER_BATCH // (len(rows) * columns))
        for start in range(0, planes, step):
            stop = min(planes, start + step)
            block = rows[:, start:stop] if axis == 1 else rows[:, :, start:stop].transpose(0, 2, 1)
            answers = _planes(network, block, gaps, mirrored, device)
            inner = slice(first - shown_first, last - shown_first)
            order = (2, 1, 0, 3) if axis == 1 else (2, 1, 3, 0)  # to (gaps, nodes, y, x)
            mean, log_variance = (answer[:, :, inner].transpose(order) for answer in answers)
            here, everything = slice(start, stop), slice(None)
            where = (slice(first, last), everything, *((here, everything) if axis == 1 else (everything, here)))
            yield where, mean, log_variance
            on_progress((tile + stop / planes) / len(tiles))


def _row_tiles(gaps: int) -> list[tuple[int, int, int, int]]:
    """``(first, last, shown_first, shown_last)`` gaps of each tile: what it answers, and what it is shown."""
    tiles = []
    for first in range(0, gaps, _GAPS_PER_TILE):
        last = min(gaps, first + _GAPS_PER_TILE)
        tiles.append((first, last, max(0, first - _TILE_MARGIN), min(gaps, last + _TILE_MARGIN)))
    return tiles


def _planes(
    network: GapNetwork,
    block: NDArray[np.float32],
    log_gap: NDArray[np.float32],
    mirrored: bool,
    device: torch.device,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Run planes ``(K, planes, X)``; mean and log-variance ``(planes, nodes, K-1, X)``."""
    rows = torch.from_numpy(np.ascontiguousarray(block.transpose(1, 0, 2))).to(device)
    gaps = torch.from_numpy(np.ascontiguousarray(log_gap)).to(device)
    mean, log_variance = device_planes.predict_planes(network, rows, gaps, mirrored, device)
    return mean.cpu().numpy(), log_variance.cpu().numpy()
