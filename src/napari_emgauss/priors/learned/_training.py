"""Training of the self-supervised prior: drop rows of the stack's own slices as slices were dropped, restore them.

Every observed slice is sampled finely in its own plane. Keeping only rows as far apart as the slices are makes a
picture with the resolution of an xz or yz plane and, unlike those, with the truth in between. No other data is needed;
the assumption is that tissue looks alike along z and within the slices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from napari_emgauss._errors import PriorError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss._torch import PendingLosses, fast_convolutions
from napari_emgauss.priors._state import PriorState
from napari_emgauss.priors.learned._network import GapNetwork, NetworkConfig
from napari_emgauss.priors.learned._sampler import RowDropSampler
from napari_emgauss.priors.learned._training_config import TrainingConfig
from napari_emgauss.priors.learned._training_step import TrainingStep


class Trained(NamedTuple):
    """A network, and the steps it took."""

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
    on_progress: OnProgress | None = None,
    state: PriorState | None = None,
) -> Trained:
    """Train a network, from nothing or from ``start``; it comes with its averaged weights, in evaluation mode.

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
    length = _Length(config)
    done = 0
    progress = Progress(on_progress)
    left = state.get(_TRAINING)
    if left is not None:
        with state.checked():
            step.restore(left.tensors)
            sampler.restore(left.values["sampler"])
            length.restore(left.values.get("length"))
            done, smoothed = _place(left.values, length.steps)

    def keep() -> None:
        values = {"iteration": done, "loss": smoothed, "sampler": sampler.state(), "length": length.state()}
        state.put(_TRAINING, values, step.tensors())

    with fast_convolutions(device):
        while done < length.steps:
            share = length.rate(done)
            decay = min(config.ema_decay, (1 + done) / (10 + done))
            error = step(sampler.draw(), config.learning_rate * share, config.outer_learning_rate * share, decay)
            done += 1
            length.look(done, lambda: step.averaged_error(_unseen(sampler, seed)))
            last = done == length.steps
            known = pending.add(error, done) if done % 10 == 0 or last else []
            for at, value in known + (pending.rest() if last else []):
                if not math.isfinite(value):
                    state.drop(_TRAINING)
                    raise PriorError(
                        "The training of the prior diverged: choose another seed, or the prior 'ensemble'."
                    )
                smoothed = value if smoothed is None else 0.9 * smoothed + 0.1 * value
                text = f"training the prior, {at} of {length.steps}"
                with state.kept_if_stopped(keep):
                    progress.tell(at / length.steps, text, smoothed)
            if state.due:
                keep()
    return Trained(step.finish(), done)


_TRAINING = "training"
_BATCHES_LOOKED_AT = 10


def _unseen(sampler: RowDropSampler, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The same patches each time, which no step has had."""
    other = sampler.apart(seed + 1_000_003)
    return (other.draw() for _ in range(_BATCHES_LOOKED_AT))


class _Length:
    """How many steps a training takes, and its learning rate on the way.

    A cosine has to know its end, and a rate that stays up until that is known hides what the fall will bring. But how
    fast the error falls early on tells stacks that are worth many steps from those whose noise is all that is left, and
    by then the rate of a long training has hardly begun to fall: a short one falls from there.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self._config, self._looks = config, config.look_after
        self._early: float | None = None
        self.steps = config.iterations

    def look(self, done: int, error: Callable[[], float]) -> None:
        """Decide, after ``done`` steps, where it is time to."""
        if self._looks is None or done not in self._looks:
            return
        if done == self._looks[0]:
            self._early = error()
        elif self._early is not None and 1 - error() / self._early < self._config.least_gain:
            self.steps = self._config.least_iterations or self.steps

    def rate(self, done: int) -> float:
        """Share of the learning rate after ``done`` steps."""
        most = self._config.iterations
        if self._looks is None or self.steps == most:
            return schedule(done, most)
        turn = self._looks[1]
        along = (done - turn) / (self.steps - turn)
        return _END + (schedule(turn, most) - _END) * 0.5 * (1 + math.cos(math.pi * along))

    def state(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"steps": self.steps, "early": self._early}

    def restore(self, state: Any) -> None:
        """Go on where another was; one that left nothing decided nothing."""
        if state is None:
            return
        steps, early = state["steps"], state["early"]
        if type(steps) is not int or steps not in (self._config.iterations, self._config.least_iterations):
            raise ValueError("The length is not one of this training.")
        if early is not None and not math.isfinite(early):
            raise ValueError("The error is not a number.")
        self.steps, self._early = steps, early


def _place(values: Mapping[str, Any], iterations: int) -> tuple[int, float | None]:
    """Steps done and smoothed error, as a state has them."""
    done, loss = values["iteration"], values["loss"]
    if type(done) is not int or not 0 <= done <= iterations:
        raise ValueError("The number of steps is not one of this training.")
    if loss is not None and not math.isfinite(loss):
        raise ValueError("The error is not a number.")
    return done, loss


_ERRORS_AT_ONCE = 4
_END = 0.02


def schedule(iteration: int, iterations: int) -> float:
    """Share of the learning rate: a short linear warm-up, then a cosine down to 2 %."""
    warm_up = min(50, max(1, iterations // 10))
    half = (1 - _END) / 2
    return min(1.0, (iteration + 1) / warm_up) * (_END + half * (1 + math.cos(math.pi * iteration / iterations)))
