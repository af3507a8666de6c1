"""Training of the self-supervised prior: drop rows of the stack's own slices as slices were dropped, restore them.

Every observed slice is sampled finely in its own plane. Keeping only rows as far apart as the slices are makes a
picture with the resolution of an xz or yz plane and, unlike those, with the truth in between. No other data is needed;
the assumption is that tissue looks alike along z and within the slices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from napari_emgauss._errors import PriorError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss._torch import PendingLosses, fast_convolutions
from napari_emgauss.priors._state import PriorState
from napari_emgauss.priors.learned._network import GapNetwork, NetworkConfig
from napari_emgauss.priors.learned._sampler import Batch, RowDropSampler
from napari_emgauss.priors.learned._training_config import TrainingConfig
from napari_emgauss.priors.learned._training_length import TrainingLength
from napari_emgauss.priors.learned._training_step import TrainingStep


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with its averaged weights, and how many steps its training took."""

    network: GapNetwork
    steps: int


def train_network(
    sampler: RowDropSampler,
    network_config: NetworkConfig,
    config: TrainingConfig,
    *,
    seed: int,
    device: torch.device,
    start: GapNetwork | None = None,
    held_out: Sequence[Batch] = (),
    on_progress: OnProgress | None = None,
    state: PriorState | None = None,
) -> TrainedNetwork:
    """Train a network, from nothing or from ``start``, and return its averaged weights, in evaluation mode.

    What a step does is described in `TrainingStep`, how many there are in `TrainingLength`. The sampler draws on
    ``device``. A training leaves its place in ``state`` every few seconds, and when ``on_progress`` stops it; another
    goes on from there, on the same CPU with the same result as if nothing had happened.

    Parameters
    ----------
    held_out : sequence of batches
        Of slices that the sampler holds out; what a training with patience goes by. They are trained on, too, as soon
        as its end is settled.

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
    length = TrainingLength(config)
    # An error is looked at every tenth step; a GPU sends several of them together.
    pending = PendingLosses[int](device, 1 if device.type == "cpu" else _ERRORS_AT_ONCE)
    smoothed: float | None = None
    done = 0
    progress = Progress(on_progress)
    left = state.get(_TRAINING)
    if left is not None:
        with state.checked():
            step.restore(left.tensors)
            length.restore(left.values["length"])
            sampler.restore(left.values["sampler"])
            done, smoothed = _place(left.values, length.total)

    def keep() -> None:
        values = {"iteration": done, "loss": smoothed, "sampler": sampler.state(), "length": length.state()}
        state.put(_TRAINING, values, step.tensors())

    with fast_convolutions(device):
        while done < length.total:
            share = length.share(done)
            rates = config.learning_rate * share, config.outer_learning_rate * share
            error = step(sampler.draw(), *rates, length.averaging(done))
            done += 1
            if length.wants_look(done):
                length.look(done, step.error_of(held_out))
                if length.falling:
                    sampler.release()
            last = done == length.total
            known = pending.add(error, done) if done % 10 == 0 or last else []
            for at, value in known + (pending.rest() if last else []):
                if not math.isfinite(value):
                    state.drop(_TRAINING)
                    raise PriorError(
                        "The training of the prior diverged: choose another seed, or the prior 'ensemble'."
                    )
                smoothed = value if smoothed is None else 0.9 * smoothed + 0.1 * value
                expected = length.expected(done)
                text = f"training the prior, {at} of {'' if length.falling else 'about '}{expected}"
                with state.kept_if_stopped(keep):
                    progress.tell(at / expected, text, smoothed)
            if state.due:
                keep()
    return TrainedNetwork(step.finish(), done)


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
