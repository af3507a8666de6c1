"""How long a training goes on, and what its learning rate does: knows neither torch nor pictures."""

from __future__ import annotations

import math
from typing import Any

from napari_emgauss.priors.learned._training_config import TrainingConfig

STEPS_BETWEEN_LOOKS = 25
"""A look at the held-out slices costs about as much as one step."""
WORTH_GOING_ON = 0.004
"""By which part the error on held-out slices has to fall within the patience: that much is 0.02 dB."""
USUAL_PATIENCES = 4.5
"""How many times its patience a training usually takes: 4.1 times on EPFL, 4.6 times on FIB-25 (x8)."""
_FALL = 0.3
"""Share of all steps over which the learning rate falls."""
_LOWEST_RATE = 0.02
_WARM_UP = 50


def usual_steps(iterations: int, patience: int | None) -> int:
    """Steps that a training with these settings is expected to take."""
    return iterations if patience is None else min(iterations, math.ceil(USUAL_PATIENCES * patience))


def _in_all(steady: int) -> int:
    """Steps of a training whose rate falls after so many."""
    return math.ceil(round(steady / (1 - _FALL), 6))


def _mean(errors: list[float]) -> float:
    return sum(errors) / max(1, len(errors))


def cosine_share(iteration: int, iterations: int) -> float:
    """Share of the learning rate: a short linear warm-up, then a cosine down to 2 %."""
    falling = _LOWEST_RATE + (1 - _LOWEST_RATE) / 2 * (1 + math.cos(math.pi * iteration / iterations))
    return _warm_up(iteration, iterations) * falling


def _warm_up(iteration: int, iterations: int) -> float:
    return min(1.0, (iteration + 1) / min(_WARM_UP, max(1, iterations // 10)))


class TrainingLength:
    """Tells, step by step, the share of the learning rate, and when the training is over.

    Without patience the rate rises in a short warm-up and falls along a cosine to 2 % at the last of all steps. With
    patience it stays where it is until the error on held-out slices, over so many steps, is not lower by
    `WORTH_GOING_ON` than over as many before, and falls along a line in the steps that are then left: three tenths of
    all (warm-up, stable, decay: Hu et al., "MiniCPM", arXiv 2404.06395, section 4.2). A cosine would have to know
    beforehand when the training ends.

    Parameters
    ----------
    config : TrainingConfig
        Most steps, and patience.

    Attributes
    ----------
    total : int
        Steps of the training, as far as is known: the most it may take until its learning rate falls.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self.total = config.iterations
        self._latest = config.iterations
        if config.patience is not None:
            self._latest = max(1, math.floor((1 - _FALL) * config.iterations))
        self._falls_from: int | None = None
        self._errors: list[tuple[int, float]] = []

    @property
    def falling(self) -> bool:
        """Whether it is settled when the training ends: from here on, nothing need be held out."""
        return self._config.patience is None or self._falls_from is not None

    def expected(self, done: int) -> int:
        """Steps of the whole training as they look after so many: settled, usual, or more than usual."""
        if self.falling:
            return self.total
        config = self._config
        return min(self.total, max(usual_steps(config.iterations, config.patience), _in_all(done)))

    def wants_look(self, done: int) -> bool:
        """Whether :meth:`look` is to be told the error after so many steps."""
        return not self.falling and (done % STEPS_BETWEEN_LOOKS == 0 or done >= self._latest)

    def look(self, done: int, error: float) -> None:
        """Take the error on held-out slices after ``done`` steps, and settle whether to go on."""
        patience = self._config.patience
        if patience is None or self.falling:
            return
        self._errors.append((done, error))
        # Means over the patience: at a high rate, errors of single looks differ by about as much.
        since = _mean([seen for at, seen in self._errors if at > done - patience])
        before = _mean([seen for at, seen in self._errors if done - 2 * patience < at <= done - patience])
        in_vain = done >= 2 * patience and since > (1 - WORTH_GOING_ON) * before
        if in_vain or done >= self._latest:
            self._fall(done)

    def share(self, iteration: int) -> float:
        """Share of the learning rate in the step after ``iteration`` steps."""
        if self._config.patience is None:
            return cosine_share(iteration, self._config.iterations)
        rise = _warm_up(iteration, self._config.iterations)
        if self._falls_from is None:
            return rise
        along = (iteration + 1 - self._falls_from) / max(1, self.total - self._falls_from)
        return rise * (1 - (1 - _LOWEST_RATE) * along)

    def averaging(self, iteration: int) -> float:
        """How much of the averaged weights stays in a step: of a rate that falls late, the last steps count."""
        longest = self._config.ema_decay if self._config.patience is None else min(self._config.ema_decay, 0.99)
        return min(longest, (1 + iteration) / (10 + iteration))

    def state(self) -> dict[str, Any]:
        """What was seen and settled, as JSON can hold it."""
        return {"falls_from": self._falls_from, "errors": [list(pair) for pair in self._errors]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is none.
        """
        errors = [(int(at), float(error)) for at, error in state["errors"]]
        if not all(math.isfinite(error) for _, error in errors):
            raise ValueError("An error on held-out slices is not a number.")
        falls_from = state["falls_from"]
        if falls_from is not None:
            if type(falls_from) is not int or not 0 < falls_from <= self._latest:
                raise ValueError("The step at which the learning rate falls is not one of this training.")
            self._fall(falls_from)
        self._errors = errors

    def _fall(self, done: int) -> None:
        self._falls_from = done
        self.total = min(self._config.iterations, _in_all(done))
