"""Training of the self-supervised prior: drop rows of the stack's own slices as slices were dropped, restore them.

Every observed slice is sampled finely in its own plane. Keeping only rows as far apart as the slices are makes a
picture with the resolution of an xz or yz plane and, unlike those, with the truth in between. No other data is needed;
the assumption is that tissue looks alike along z and within the slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss._errors import PriorError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss._torch import PendingLosses, fast_convolutions
from napari_emgauss.priors.learned._network import GapNetwork, NetworkConfig


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


WARM_RATES: dict[str, Any] = {"learning_rate": 0.01, "outer_learning_rate": 1e-3}
"""Learning rates for a network that knows phantoms: higher ones make it forget them."""


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
        self.random = np.random.default_rng(seed)
        self.gaps = gaps_px
        self.usual_gap = float(np.median(gaps_px))
        self.batch = config.batch
        self.nodes = nodes
        self.images = images
        shortest = min(images.shape[1:])
        self.columns = min(config.columns, shortest)
        self.rows = min(config.rows, len(gaps_px) + 1, int((shortest - 1) / self.usual_gap) + 1)
        if self.rows < 2:
            raise PriorError(
                f"Slices of {images.shape[1]} x {images.shape[2]} pixels are smaller than the gap between them "
                f"({self.usual_gap:.0f} pixels): nothing can be learned within them; choose the prior 'linear+blur'."
            )

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """One batch: rows ``(B, R, X)``, log gaps ``(B, R-1)``, and the rows between ``(B, nodes, R-1, X)``."""
        kept = np.empty((self.batch, self.rows, self.columns), np.float32)
        between = np.empty((self.batch, self.nodes, self.rows - 1, self.columns), np.float32)
        log_gap = np.empty((self.batch, self.rows - 1), np.float32)
        for item in range(self.batch):
            offsets = self._row_offsets()
            patch = self._patch(int(offsets[-1]) + 1)
            kept[item] = patch[offsets]
            between[item] = _rows_between(patch, offsets, self.nodes)
            log_gap[item] = log_gaps(np.diff(offsets), self.usual_gap)
        return torch.from_numpy(kept), torch.from_numpy(log_gap), torch.from_numpy(between)

    def _row_offsets(self) -> NDArray[np.intp]:
        """Kept rows from 0: a run of the stack's own gaps, forwards or backwards, rounded to whole pixels."""
        longest = min(self.images.shape[1:]) - 1
        for _ in range(20):
            start = int(self.random.integers(0, len(self.gaps) - self.rows + 2))
            run = self.gaps[start : start + self.rows - 1]
            if self.random.random() < 0.5:
                run = run[::-1]
            phase = self.random.random() if np.any(run != np.rint(run)) else 0.0
            offsets = np.floor(np.concatenate([[0.0], np.cumsum(run)]) + phase).astype(np.intp)
            if np.all(np.diff(offsets) >= 1) and offsets[-1] <= longest:
                return offsets
        usual = max(1, int(self.usual_gap))
        return np.arange(self.rows, dtype=np.intp) * usual

    def _patch(self, height: int) -> NDArray[np.float32]:
        """A piece ``(height, columns)`` of a random slice, turned and mirrored at random."""
        image = self.images[int(self.random.integers(len(self.images)))]
        if self.random.random() < 0.5:
            image = image.T
        top = int(self.random.integers(0, image.shape[0] - height + 1))
        left = int(self.random.integers(0, image.shape[1] - self.columns + 1))
        patch = image[top : top + height, left : left + self.columns]
        if self.random.random() < 0.5:
            patch = patch[::-1]
        if self.random.random() < 0.5:
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
    start: GapNetwork | None = None,
    on_progress: OnProgress | None = None,
) -> GapNetwork:
    """Train a network, from nothing or from ``start``, and return its averaged weights, in evaluation mode.

    What a step does is told in `TrainingStep`.

    Raises
    ------
    PriorError
        If the loss is not finite.
    """
    from napari_emgauss.priors.learned._device_sampler import DeviceSampler
    from napari_emgauss.priors.learned._training_step import TrainingStep

    if start is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = GapNetwork(network_config)
    else:
        network = start
    network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    step = TrainingStep(network, device)
    draw = sampler.draw if device.type == "cpu" else DeviceSampler(sampler, device).draw
    # An error is looked at every tenth step; a GPU sends several of them together.
    pending = PendingLosses[int](device, 1 if device.type == "cpu" else _ERRORS_AT_ONCE)
    smoothed: float | None = None
    progress = Progress(on_progress)
    with fast_convolutions(device):
        for iteration in range(config.iterations):
            share = schedule(iteration, config.iterations)
            decay = min(config.ema_decay, (1 + iteration) / (10 + iteration))
            error = step(draw(), config.learning_rate * share, config.outer_learning_rate * share, decay)
            last = iteration == config.iterations - 1
            known = pending.add(error, iteration) if iteration % 10 == 9 or last else []
            for at, value in known + (pending.rest() if last else []):
                if not math.isfinite(value):
                    raise PriorError("Training of the prior diverged; choose another seed or the prior 'ensemble'.")
                smoothed = value if smoothed is None else 0.9 * smoothed + 0.1 * value
                text = f"training the prior, {at + 1} of {config.iterations}"
                progress.tell((at + 1) / config.iterations, text, smoothed)
    return step.finish()


_ERRORS_AT_ONCE = 4


def schedule(iteration: int, iterations: int) -> float:
    """Share of the learning rate: a short linear warm-up, then a cosine down to 2 %."""
    warm_up = min(50, max(1, iterations // 10))
    return min(1.0, (iteration + 1) / warm_up) * (0.02 + 0.49 * (1 + math.cos(math.pi * iteration / iterations)))
