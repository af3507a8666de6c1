"""Predictions for all planes of a stack fused on the device that made them; only the result is brought back."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss._torch import constant, low_precision, uploaded
from napari_emgauss.priors.learned._fusion import Correction
from napari_emgauss.priors.learned._network import GapNetwork

_BYTES_A_SAMPLE = 2048
"""Memory of the network for one gap at one column, features of all widths and their copies; an upper bound."""
_MOST_SAMPLES = 1 << 20
_SHARE_OF_MEMORY = 0.5


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


class DeviceFusion:
    """Sums of weighted means and of weights, ``(K-1, nodes, H, W)``, on a device.

    Parameters
    ----------
    network : GapNetwork
        On ``device``.
    log_gap : ndarray
        ``(K-1,)``.
    size : tuple of int
        ``(H, W)``.
    mirrored : bool
        Look at every plane also upside down and from behind.
    device : torch.device
        Where the network is.
    correction : Correction or None
        Applied to the fused slices; its network is on ``device``, too.
    """

    def __init__(
        self,
        network: GapNetwork,
        log_gap: NDArray[np.float32],
        size: tuple[int, int],
        *,
        mirrored: bool,
        device: torch.device,
        correction: Correction | None = None,
    ) -> None:
        self._network, self._mirrored, self._device = network, mirrored, device
        self._correction = correction
        self._log_gap = uploaded(np.ascontiguousarray(log_gap), device)
        self._size = size
        shape = (len(log_gap), network.config.nodes, *size)
        self._weighted = torch.zeros(shape, device=device)
        self._weight = torch.zeros(shape, device=device)
        self._squared = torch.zeros(shape, device=device) if correction is not None else None

    def add_family(
        self,
        images: NDArray[np.float32],
        axis: int,
        tiles: list[tuple[int, int, int, int]],
        on_progress: Callable[[float], None],
        turned_deg: float = 0.0,
    ) -> None:
        """Add what all planes at fixed ``axis`` (1: xz planes, 2: yz planes) say.

        Parameters
        ----------
        images : ndarray
            ``(K, H', W')`` slices, turned by ``turned_deg`` about their centre.
        axis : int
            1 or 2.
        tiles : list
            ``(first, last, shown_first, shown_last)`` gaps: what each piece answers, and what it is shown.
        on_progress : callable
            Told the fraction done; may raise to stop.
        turned_deg : float
            Angle of the slices given.
        """
        there = uploaded(np.ascontiguousarray(images), self._device)
        planes, columns = images.shape[axis], images.shape[3 - axis]
        for tile, (first, last, shown_first, shown_last) in enumerate(tiles):
            rows = there[shown_first : shown_last + 1].movedim(axis, 0)
            gaps = self._log_gap[shown_first:shown_last]
            inner = slice(first - shown_first, last - shown_first)
            nodes = self._network.config.nodes
            step = max(1, samples_at_once(self._device) // (rows.shape[1] * columns))
            answers = (
                torch.empty((2, last - first, nodes, *images.shape[1:]), device=self._device) if turned_deg else None
            )
            for start in range(0, planes, step):
                stop = min(planes, start + step)
                mean, log_variance = predict_planes(self._network, rows[start:stop], gaps, self._mirrored, self._device)
                # (planes, nodes, gaps, columns) to (gaps, nodes, y, x)
                order = (2, 1, 0, 3) if axis == 1 else (2, 1, 3, 0)
                mean, log_variance = (v[:, :, inner].permute(order) for v in (mean, log_variance))
                where = slice(start, stop)
                if answers is not None:
                    for kept, found in zip(answers, (mean, log_variance), strict=True):
                        (kept[:, :, where] if axis == 1 else kept[..., where]).copy_(found)
                else:
                    here = (
                        slice(first, last),
                        slice(None),
                        *((where, slice(None)) if axis == 1 else (slice(None), where)),
                    )
                    self._add(here, mean, log_variance)
                on_progress((tile + stop / planes) / len(tiles))
            if answers is not None:
                for gap in range(last - first):  # one gap at a time: its turned copies are small
                    mean = turned_back(answers[0, gap], turned_deg, self._size)
                    log_variance = turned_back(answers[1, gap], turned_deg, self._size)
                    self._add(first + gap, mean, log_variance)

    def _add(self, where: Any, mean: Tensor, log_variance: Tensor) -> None:
        precision = torch.exp(-log_variance.clamp(-8, 8))
        self._weighted[where] += precision * mean
        self._weight[where] += precision
        if self._squared is not None:
            self._squared[where] += precision * mean * mean

    def result(
        self, families: int, images: NDArray[np.float32], keep_uncorrected: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
        """Fused mean and variance ``(K-1, nodes, H, W)`` on the host, corrected with the observed ``images``.

        With ``keep_uncorrected`` also the mean before its correction, otherwise None.
        """
        self._weighted /= self._weight
        uncorrected = self._weighted.cpu().numpy().copy() if keep_uncorrected else None
        if self._correction is not None and self._squared is not None:
            self._squared /= self._weight
            observed = uploaded(np.ascontiguousarray(images), self._device)
            for gap in range(len(self._weight)):
                self._weighted[gap] = self._correction.gap_there(
                    gap,
                    self._weighted[gap],
                    self._squared[gap],
                    families / self._weight[gap],
                    observed[gap],
                    observed[gap + 1],
                )
        variance = families / self._weight
        return self._weighted.cpu().numpy(), variance.cpu().numpy(), uncorrected


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


_POLE = 3.0**0.5 - 2.0
"""Of the cubic B-spline's prefilter (Unser, Aldroubi, Eden 1993)."""
_PREFILTER_REACH = 14
"""Its impulse response falls by 0.27 a step: below 1e-8 here."""


def spline_coefficients(planes: Tensor) -> Tensor:
    """Cubic B-spline coefficients of ``(n, H, W)`` along both axes, mirrored about border pixels beyond them."""
    taps = [(6 * _POLE / (_POLE * _POLE - 1)) * _POLE ** abs(k) for k in range(-_PREFILTER_REACH, _PREFILTER_REACH + 1)]
    kernel = constant(planes, *taps)
    out = planes[:, None]
    for axis in (2, 3):
        index = _mirrored(
            torch.arange(-_PREFILTER_REACH, out.shape[axis] + _PREFILTER_REACH, device=out.device), out.shape[axis]
        )
        padded = out.index_select(axis, index)
        shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
        # Ten bits of TensorFloat-32 are too few for a filter that sharpens.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            out = torch.nn.functional.conv2d(padded, kernel.reshape(shape))
    return out[:, 0]


def _mirrored(index: Tensor, length: int) -> Tensor:
    """Indices beyond an axis of ``length`` brought back, mirrored about its first and last place."""
    if length == 1:
        return torch.zeros_like(index)
    index = torch.remainder(index, 2 * (length - 1))
    return torch.where(index >= length, 2 * (length - 1) - index, index)


def turned_back(planes: Tensor, angle_deg: float, size: tuple[int, int]) -> Tensor:
    """``(n, H', W')`` on a grid turned by ``angle_deg`` about the centre to ``(n, H, W)``, by cubic splines."""
    height, width = planes.shape[1:]
    radians = float(np.deg2rad(angle_deg))
    cosine, sine = float(np.cos(radians)), float(np.sin(radians))
    y = torch.arange(size[0], device=planes.device, dtype=torch.float32) - (size[0] - 1) / 2
    x = torch.arange(size[1], device=planes.device, dtype=torch.float32) - (size[1] - 1) / 2
    row = cosine * y[:, None] + sine * x[None, :] + (height - 1) / 2
    column = -sine * y[:, None] + cosine * x[None, :] + (width - 1) / 2
    coefficients = spline_coefficients(planes).reshape(len(planes), -1)
    low_row, low_column = row.floor(), column.floor()
    row_weights, column_weights = _spline_weights(row - low_row), _spline_weights(column - low_column)
    out = torch.zeros((len(planes), *size), device=planes.device)
    for i in range(4):
        at_row = _mirrored(low_row.long() + i - 1, height) * width
        for j in range(4):
            place = at_row + _mirrored(low_column.long() + j - 1, width)
            out += coefficients[:, place] * (row_weights[i] * column_weights[j])
    return out


def _spline_weights(part: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cubic B-spline at distances ``part + 1, part, 1 - part, 2 - part``."""
    rest = 1 - part
    return (
        rest**3 / 6,
        2 / 3 - part * part * (2 - part) / 2,
        2 / 3 - rest * rest * (2 - rest) / 2,
        part**3 / 6,
    )
