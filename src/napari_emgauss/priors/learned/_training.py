"""Training of the self-supervised prior: drop rows of the stack's own slices as slices were dropped, restore them.

Every observed slice is sampled finely in its own plane. Keeping only rows as far apart as the slices are makes a
picture with the resolution of an xz or yz plane and, unlike those, with the truth in between. No other data is needed;
the assumption is that tissue looks alike along z and within the slices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from napari_emgauss._errors import PriorError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss._torch import PendingLosses, fast_convolutions
from napari_emgauss.priors._state import PriorState
from napari_emgauss.priors.learned._network import GapNetwork, NetworkConfig
from napari_emgauss.priors.learned._sampler import RowDropSampler
from napari_emgauss.priors.learned._training_config import TrainingConfig
from napari_emgauss.priors.learned._training_step import TrainingStep


def train_network(
    sampler: RowDropSampler,
    network_config: NetworkConfig,
    config: TrainingConfig,
    *,
    seed: int,
    device: torch.device,
    start: GapNetwork | None = None,
    on_progress: OnProgress | None = None,
    state: PriorState | None = None,
) -> GapNetwork:
    """Train a network, from nothing or from ``start``, and return its averaged weights, in evaluation mode.

    What a step does is described in `TrainingStep`. The sampler draws on ``device``. A training leaves its place in
    ``state`` every few seconds, and when ``on_progress`` stops it; another goes on from there, on the same CPU with the
    same result as if nothing had happened.

    Raises
    ------
    PriorError
        If the loss is not finite.
    ModelFileError
        What is in ``state`` is damaged.
    """
    state = PriorState() if state is None else state
    if start is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = GapNetwork(network_config)
    else:
        network = start
    network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    step = TrainingStep(network, device)
    # An error is looked at every tenth step; a GPU sends several of them together.
    pending = PendingLosses[int](device, 1 if device.type == "cpu" else _ERRORS_AT_ONCE)
    smoothed: float | None = None
    first = 0
    progress = Progress(on_progress)
    left = state.get(_TRAINING)
    if left is not None:
        with state.checked():
            step.restore(left.tensors)
            sampler.restore(left.values["sampler"])
            first, smoothed = _place(left.values, config.iterations)

    def keep() -> None:
        values = {"iteration": iteration + 1, "loss": smoothed, "sampler": sampler.state()}
        state.put(_TRAINING, values, step.tensors())

    with fast_convolutions(device):
        for iteration in range(first, config.iterations):
            share = schedule(iteration, config.iterations)
            decay = min(config.ema_decay, (1 + iteration) / (10 + iteration))
            error = step(sampler.draw(), config.learning_rate * share, config.outer_learning_rate * share, decay)
            last = iteration == config.iterations - 1
            known = pending.add(error, iteration) if iteration % 10 == 9 or last else []
            for at, value in known + (pending.rest() if last else []):
                if not math.isfinite(value):
                    state.drop(_TRAINING)
                    raise PriorError(
                        "The training of the prior diverged: choose another seed, or the prior 'ensemble'."
                    )
                smoothed = value if smoothed is None else 0.9 * smoothed + 0.1 * value
                text = f"training the prior, {at + 1} of {config.iterations}"
                with state.kept_if_stopped(keep):
                    progress.tell((at + 1) / config.iterations, text, smoothed)
            if state.due:
                keep()
    return step.finish()


_TRAINING = "training"


def _place(values: Mapping[str, Any], iterations: int) -> tuple[int, float | None]:
    """Steps done and smoothed error, as a state has them."""
    done, loss = values["iteration"], values["loss"]
    if type(done) is not int or not 0 <= done <= iterations:
        raise ValueError("The number of steps is not one of this training.")
    if loss is not None and not math.isfinite(loss):
        raise ValueError("The error is not a number.")
    return done, loss


_ERRORS_AT_ONCE = 4


def schedule(iteration: int, iterations: int) -> float:
    """Share of the learning rate: a short linear warm-up, then a cosine down to 2 %."""
    warm_up = min(50, max(1, iterations // 10))
    return min(1.0, (iteration + 1) / warm_up) * (0.02 + 0.49 * (1 + math.cos(math.pi * iteration / iterations)))
