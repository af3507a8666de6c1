"""Training of the self-supervised prior: drop rows of the stack's own slices as slices were dropped, restore them.

Every observed slice is sampled finely in its own plane. Keeping only rows as far apart as the slices are makes a
picture with the resolution of an xz or yz plane and, unlike those, with the truth in between. No other data is needed;
the assumption is that tissue looks alike along z and within the slices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss._errors import PriorError
from napari_emgauss.priors._muon import Muon
from napari_emgauss.priors._network import GapNetwork, NetworkConfig
from napari_emgauss.priors._protocol import PriorProgress


@dataclass(frozen=True)
class TrainingConfig:
    """How long and on what a `GapNetwork` is trained.

    Parameters
    ----------
    iterations : int
        Optimiser steps; the learning rate falls to nearly zero over them along a cosine.
    batch, rows, columns : int
        Patches per step and their size in observed rows and in pixels.
    learning_rate : float
        Of Muon, which trains the inner convolutions.
    outer_learning_rate : float
        Of AdamW, which trains the first and the last layer and the biases.
    ema_decay : float
        Weights used afterwards are an exponential mean of those of the last steps.
    """

    iterations: int
    batch: int = 32
    rows: int = 12
    columns: int = 64
    learning_rate: float = 0.02
    outer_learning_rate: float = 2e-3
    ema_decay: float = 0.998


class RowDropSampler:
    """Draws training patches: rows kept at the distances of the stack's slices, and the rows between them.

    Parameters
    ----------
    images : ndarray
        ``(K, H, W)`` standardised slices with square pixels.
    gaps_px : ndarray
        ``(K-1,)`` distances between slices in pixels; need be neither even nor whole.
    nodes : int
        In-between rows per gap, see `NetworkConfig`.
    config : TrainingConfig
        Patch sizes.
    seed : int
        Of the draws.

    Raises
    ------
    PriorError
        If the slices are too small to hold two rows one gap apart.
    """

    def __init__(
        self, images: NDArray[np.float32], gaps_px: NDArray[np.float64], nodes: int, config: TrainingConfig, seed: int
    ) -> None:
        self._random = np.random.default_rng(seed)
        self._gaps = gaps_px
        self._usual_gap = float(np.median(gaps_px))
        self._batch = config.batch
        self._nodes = nodes
        self._images = images
        shortest = min(images.shape[1:])
        self._columns = min(config.columns, shortest)
        self._rows = min(config.rows, len(gaps_px) + 1, int((shortest - 1) / self._usual_gap) + 1)
        if self._rows < 2:
            raise PriorError(
                f"Slices of {images.shape[1]} x {images.shape[2]} pixels are smaller than the gap between them "
                f"({self._usual_gap:.0f} pixels): nothing can be learned within them; choose the prior 'linear+blur'."
            )

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """One batch: rows ``(B, R, X)``, log gaps ``(B, R-1)``, and the rows between ``(B, nodes, R-1, X)``."""
        kept = np.empty((self._batch, self._rows, self._columns), np.float32)
        between = np.empty((self._batch, self._nodes, self._rows - 1, self._columns), np.float32)
        log_gap = np.empty((self._batch, self._rows - 1), np.float32)
        for item in range(self._batch):
            offsets = self._row_offsets()
            patch = self._patch(int(offsets[-1]) + 1)
            kept[item] = patch[offsets]
            between[item] = _rows_between(patch, offsets, self._nodes)
            log_gap[item] = log_gaps(np.diff(offsets), self._usual_gap)
        return torch.from_numpy(kept), torch.from_numpy(log_gap), torch.from_numpy(between)

    def _row_offsets(self) -> NDArray[np.intp]:
        """Kept rows from 0: a run of the stack's own gaps, forwards or backwards, rounded to whole pixels."""
        longest = min(self._images.shape[1:]) - 1
        for _ in range(20):
            start = int(self._random.integers(0, len(self._gaps) - self._rows + 2))
            run = self._gaps[start : start + self._rows - 1]
            if self._random.random() < 0.5:
                run = run[::-1]
            phase = self._random.random() if np.any(run != np.rint(run)) else 0.0
            offsets = np.floor(np.concatenate([[0.0], np.cumsum(run)]) + phase).astype(np.intp)
            if np.all(np.diff(offsets) >= 1) and offsets[-1] <= longest:
                return offsets
        usual = max(1, int(self._usual_gap))
        return np.arange(self._rows, dtype=np.intp) * usual

    def _patch(self, height: int) -> NDArray[np.float32]:
        """A piece ``(height, columns)`` of a random slice, turned and mirrored at random."""
        image = self._images[int(self._random.integers(len(self._images)))]
        if self._random.random() < 0.5:
            image = image.T
        top = int(self._random.integers(0, image.shape[0] - height + 1))
        left = int(self._random.integers(0, image.shape[1] - self._columns + 1))
        patch = image[top : top + height, left : left + self._columns]
        if self._random.random() < 0.5:
            patch = patch[::-1]
        if self._random.random() < 0.5:
            patch = patch[:, ::-1]
        return patch


EVEN_TOLERANCE = 1.15
"""Gaps that differ by less than this factor count as even: rounding a gap to whole pixels is not information."""


def log_gaps(gaps: NDArray[Any], usual: float | None = None) -> NDArray[np.float32]:
    """Logarithm of each gap over the usual (median) one, zero where the gap is nearly that."""
    logarithm = np.log(gaps / (np.median(gaps) if usual is None else usual))
    return np.where(np.abs(logarithm) < np.log(EVEN_TOLERANCE), 0, logarithm).astype(np.float32)


def _rows_between(patch: NDArray[np.float32], offsets: NDArray[np.intp], nodes: int) -> NDArray[np.float32]:
    """Rows of ``patch`` ``(L, X)`` at ``nodes`` even positions within each gap: ``(nodes, R-1, X)``.

    Positions between pixels are answered by Catmull-Rom's cubic (Keys 1981, a = -1/2).
    """
    steps = np.arange(1, nodes + 1)[:, None] / (nodes + 1)
    positions = offsets[None, :-1] + steps * np.diff(offsets)[None]
    low = np.floor(positions + 1e-9).astype(np.intp)
    part = (positions - low).astype(np.float32)
    if np.all(part < 1e-6):
        return patch[low]
    s = part[..., None]
    weights = (
        ((-s + 2) * s - 1) * s / 2,
        ((3 * s - 5) * s * s + 2) / 2,
        ((-3 * s + 4) * s + 1) * s / 2,
        (s - 1) * s * s / 2,
    )
    last = len(patch) - 1
    out = np.zeros((*positions.shape, patch.shape[1]), np.float32)
    for tap, weight in enumerate(weights):
        out += weight * patch[np.clip(low + tap - 1, 0, last)]
    return out


def train_network(
    sampler: RowDropSampler,
    network_config: NetworkConfig,
    config: TrainingConfig,
    *,
    seed: int,
    device: torch.device,
    on_progress: Callable[[PriorProgress], None] | None = None,
) -> GapNetwork:
    """Train a network from nothing and return its averaged weights, in evaluation mode.

    The mean is fitted with squared error; the log-variance with the Gaussian likelihood of the (detached) error, so
    that a wrong variance never costs quality of the mean.

    Raises
    ------
    PriorError
        If the loss is not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GapNetwork(network_config)
    network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = [parameter.detach().clone() for parameter in network.parameters()]
    inner, outer = network.inner_and_outer_parameters()
    muon = Muon(inner, dtype=torch.bfloat16 if has_fast_bfloat16(device) else torch.float32)
    adam = torch.optim.AdamW(outer, config.outer_learning_rate, weight_decay=0.0, betas=(0.9, 0.99))
    smoothed: float | None = None
    for iteration in range(config.iterations):
        share = _schedule(iteration, config.iterations)
        for group in adam.param_groups:
            group["lr"] = config.outer_learning_rate * share
        rows, log_gap, target = (tensor.to(device) for tensor in sampler.draw())
        with low_precision(device):
            mean, log_variance = network(rows, log_gap)
        squared = (mean - target) ** 2
        log_variance = log_variance.clamp(-8, 4)
        likelihood = squared.detach() * torch.exp(-log_variance) + log_variance
        loss = squared.mean() + VARIANCE_WEIGHT * likelihood.mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        muon.step(config.learning_rate * share)
        decay = min(config.ema_decay, (1 + iteration) / (10 + iteration))
        with torch.no_grad():
            torch._foreach_lerp_(averaged, list(network.parameters()), 1 - decay)
        if iteration % 10 == 9 or iteration == config.iterations - 1:
            error = float(squared.detach().mean())
            if not math.isfinite(error):
                raise PriorError("Training of the prior diverged; choose another seed or the prior 'ensemble'.")
            smoothed = error if smoothed is None else 0.9 * smoothed + 0.1 * error
            if on_progress is not None:
                on_progress(
                    PriorProgress(
                        (iteration + 1) / config.iterations,
                        smoothed,
                        f"training the prior, {iteration + 1} of {config.iterations}",
                    )
                )
    with torch.no_grad():
        for parameter, mean_value in zip(network.parameters(), averaged, strict=True):
            parameter.copy_(mean_value)
    return network.eval()


VARIANCE_WEIGHT = 0.05
"""Weight of the likelihood beside the squared error; small, since both share the network's features."""


def _schedule(iteration: int, iterations: int) -> float:
    """Share of the learning rate: a short linear warm-up, then a cosine down to 2 %."""
    warm_up = min(50, max(1, iterations // 10))
    return min(1.0, (iteration + 1) / warm_up) * (0.02 + 0.49 * (1 + math.cos(math.pi * iteration / iterations)))


def low_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Context for convolutions in bfloat16 where the hardware has it, in float32 elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device))


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies in bfloat16 natively (AVX512_BF16 or AMX on a CPU)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu":
        return False
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, lambda: False)()) for probe in probes)
