"""Apply a trained `GapNetwork` to every xz and yz plane of a stack and fuse what they say.

A voxel between two slices lies in one xz and one yz plane, and in planes turned about z between those. Each gives a
mean and a variance; they are fused with inverse-variance weights, and what comes out is corrected where a `Correction`
is given. Mirrored planes are averaged first.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss._torch import low_precision, uploaded
from napari_emgauss.priors.learned._fusion import Correction
from napari_emgauss.priors.learned._network import GapNetwork
from napari_emgauss.priors.learned._turned import turned, turned_back

_GAPS_PER_TILE = 96
_TILE_MARGIN = 12
"""Rows beyond a tile that the network is shown; it sees further, but hardly uses it (rows are whole gaps apart)."""

IN_MEMORY_BYTES = 1_500_000_000
"""Volumes beyond this size go to a temporary file that the system pages in and out."""

_BYTES_A_SAMPLE = 2048
"""Memory of the network for one gap at one column, features of all widths and their copies; an upper bound."""
_MOST_SAMPLES = 1 << 20
_SHARE_OF_MEMORY = 0.5


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
    shape = (len(images) - 1, network.config.nodes, *images.shape[1:])
    where = device if fits(shape, device, turned=any(directions.rotations_deg)) else torch.device("cpu")
    sums = _Sums(shape, where, with_squares=correction is not None)
    families = [(angle, axis) for angle in directions.rotations_deg for axis in (1, 2)]
    for done, (angle, axis) in enumerate(families):
        # xz and yz planes of one turned stack come one after the other.
        if axis == 1:
            seen = uploaded(np.ascontiguousarray(turned(images, angle)), where)

        def tell(part: float, done: int = done) -> None:
            if on_progress is not None:
                on_progress((done + part) / len(families))

        gaps = uploaded(np.ascontiguousarray(log_gap), device)
        _add_family(sums, network, seen, gaps, axis, angle, directions.mirrored, device, tell)
        tell(1.0)
    return sums.fused(len(families), images, correction, keep_uncorrected)


class _Sums:
    """Sums over planes for every in-between voxel: of weights, of weighted means and, where asked, of their squares.

    On the device that makes the predictions where they fit there; else in memory, or in a temporary file.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device, *, with_squares: bool) -> None:
        self.shape, self.device = shape, device
        self.size = (shape[2], shape[3])
        self._store = _Store()
        self._weighted, self._weight = self._zeros(), self._zeros()
        self._squared = self._zeros() if with_squares else None

    def _zeros(self) -> Tensor:
        if self.device.type == "cpu":
            return torch.from_numpy(self._store.zeros(self.shape))
        return torch.zeros(self.shape, device=self.device)

    def add(self, where: Any, mean: Tensor, log_variance: Tensor) -> None:
        """Add predictions at ``where``; inverse variances are kept within what a standardised image can have."""
        precision = torch.exp(-log_variance.clamp(-8, 8))
        self._weight[where] += precision
        precision *= mean
        self._weighted[where] += precision
        if self._squared is not None:
            self._squared[where] += precision * mean

    def fused(
        self, families: int, images: NDArray[np.float32], correction: Correction | None, keep_uncorrected: bool
    ) -> FusedVolume:
        """Means and variances, corrected with the observed ``images``; gap by gap, as it may all lie in a file."""
        uncorrected = self._store.zeros(self.shape) if keep_uncorrected else None
        for gap in range(self.shape[0]):
            weight = self._weight[gap]
            mean, variance = self._weighted[gap] / weight, families / weight
            if uncorrected is not None:
                uncorrected[gap] = mean.cpu().numpy()
            if correction is not None and self._squared is not None:
                pair = uploaded(np.ascontiguousarray(images[gap : gap + 2]), self.device)
                mean = correction.corrected(gap, mean, self._squared[gap] / weight, variance, pair[0], pair[1])
            self._weighted[gap], self._weight[gap] = mean, variance
        return FusedVolume(
            self._store.array(self._weighted), self._store.array(self._weight), self._store.folder, uncorrected
        )


def _add_family(
    sums: _Sums,
    network: GapNetwork,
    images: Tensor,
    log_gap: Tensor,
    axis: int,
    turned_deg: float,
    mirrored: bool,
    device: torch.device,
    on_progress: Callable[[float], None],
) -> None:
    """Add what all planes at fixed ``axis`` (1: xz planes, 2: yz planes) of turned slices ``(K, H', W')`` say.

    ``images`` lie where the sums do, ``log_gap`` and the network on ``device``.
    """
    planes, columns = images.shape[axis], images.shape[3 - axis]
    tiles = _row_tiles(len(images) - 1)
    everything = slice(None)
    order = (2, 1, 0, 3) if axis == 1 else (2, 1, 3, 0)  # (planes, nodes, gaps, columns) to (gaps, nodes, y, x)
    for tile, (first, last, shown_first, shown_last) in enumerate(tiles):
        rows = images[shown_first : shown_last + 1].movedim(axis, 0)
        gaps = log_gap[shown_first:shown_last]
        inner = slice(first - shown_first, last - shown_first)
        step = max(1, samples_at_once(device) // (rows.shape[1] * columns))
        # What turned planes say is kept until it can be turned back.
        shape = (2, last - first, network.config.nodes, *images.shape[1:])
        answers = torch.empty(shape, device=sums.device) if turned_deg else None
        for start in range(0, planes, step):
            stop = min(planes, start + step)
            block = rows[start:stop].contiguous().to(device)
            predicted = predict_planes(network, block, gaps, mirrored, device)
            mean, log_variance = (v[:, :, inner].permute(order).to(sums.device) for v in predicted)
            here = (slice(start, stop), everything) if axis == 1 else (everything, slice(start, stop))
            if answers is None:
                sums.add((slice(first, last), everything, *here), mean, log_variance)
            else:
                answers[(0, everything, everything, *here)] = mean
                answers[(1, everything, everything, *here)] = log_variance
            on_progress((tile + stop / planes) / len(tiles))
        if answers is not None:
            for gap in range(last - first):  # one gap at a time: its turned copies are small
                mean, log_variance = (turned_back(answers[kind, gap], turned_deg, sums.size) for kind in (0, 1))
                sums.add(first + gap, mean, log_variance)


@torch.no_grad()
def predict_planes(
    network: GapNetwork, rows: Tensor, log_gap: Tensor, mirrored: bool, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and log-variance ``(planes, nodes, K-1, X)`` of planes ``(planes, K, X)``."""
    gaps = log_gap.expand(len(rows), -1)
    with low_precision(device):
        mean, log_variance = network(rows, gaps)
        if mirrored:
            other_mean, other_log_variance = network(rows.flip(1, 2), gaps.flip(1))
            mean = (mean + other_mean.flip(1, 2, 3)) / 2
            log_variance = (log_variance + other_log_variance.flip(1, 2, 3)) / 2
    return mean, log_variance


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
        self._handed_out: dict[int, NDArray[np.float32]] = {}

    def zeros(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A new array of zeros."""
        array = self._zeros(shape)
        self._handed_out[array.ctypes.data] = array
        return array

    def _zeros(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        if 4 * int(np.prod(shape, dtype=np.int64)) <= IN_MEMORY_BYTES:
            return np.zeros(shape, np.float32)
        if self.folder is None:
            self.folder = ScratchFolder()
        self._count += 1
        return np.memmap(self.folder.path / f"{self._count}.raw", dtype=np.float32, mode="w+", shape=shape)

    def array(self, tensor: Tensor) -> NDArray[np.float32]:
        """A tensor as an array: the very one that was handed out, or a copy of what lies on a device."""
        known = self._handed_out.get(tensor.data_ptr())
        return tensor.cpu().numpy() if known is None else known


def _row_tiles(gaps: int) -> list[tuple[int, int, int, int]]:
    """``(first, last, shown_first, shown_last)`` gaps of each tile: what it answers, and what it is shown."""
    tiles = []
    for first in range(0, gaps, _GAPS_PER_TILE):
        last = min(gaps, first + _GAPS_PER_TILE)
        tiles.append((first, last, max(0, first - _TILE_MARGIN), min(gaps, last + _TILE_MARGIN)))
    return tiles


def fits(shape: tuple[int, ...], device: torch.device, *, turned: bool = False) -> bool:
    """Whether sums of the shape ``(K-1, nodes, H, W)`` fit into half of what is free on a CUDA device.

    Planes of a turned stack are kept until they can be turned back: twice as many pixels, in the worst case.
    """
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return (7 if turned else 3) * 4 * prod(shape) + _BYTES_A_SAMPLE * (_MOST_SAMPLES // 8) < _SHARE_OF_MEMORY * free


def samples_at_once(device: torch.device) -> int:
    """Gaps times columns for which the network is asked in one go: as many as memory allows, up to a million."""
    if device.type != "cuda":
        return _MOST_SAMPLES // 16
    free, _ = torch.cuda.mem_get_info(device)
    return int(min(_MOST_SAMPLES, max(1 << 14, _SHARE_OF_MEMORY * free / 2 // _BYTES_A_SAMPLE)))
