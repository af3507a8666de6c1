"""A short trial of this machine's speed, in a process of its own. Knows neither Qt nor napari."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ._estimate import Speed
from ._job import answer_job
from ._process import Channel

if TYPE_CHECKING:
    from napari_emgauss._progress import Progress, ProgressUpdate
    from napari_emgauss.stack import Stack

TRIAL_S = 4.0
"""Of each of the two measurements, compiling apart."""


def measure_speed_in_child(channel: Channel, device: str) -> None:
    """Target of the trial's process; answers with a :class:`~napari_emgauss.plugin.process._estimate.Speed`."""

    def work(progress: Progress) -> Speed:
        stack = _trial_stack()
        return Speed(_iteration(stack, device, progress), _prior(stack, progress))

    answer_job(channel, work)


def _trial_stack() -> Stack:
    import numpy as np

    from napari_emgauss.stack import stack_from_array

    y, x = np.mgrid[:256, :256]
    grey = np.stack([128 + 90 * np.sin((x + 3 * k) / 5) * np.cos((y - k) / 7) for k in range(6)]).astype(np.uint8)
    return stack_from_array(grey, (64.0, 8.0, 8.0))


def _iteration(stack: Stack, device: str, progress: Progress) -> float:
    """Time of an iteration of the longest stage, over what the estimate counts for it."""
    import contextlib

    from napari_emgauss.fitting import fit, preset
    from napari_emgauss.tiles import iteration_seconds

    config = preset("default", prior="nearest", device=device, warm_up=False, joint=False)
    first: tuple[float, int] | None = None
    last = (0.0, 0)
    updates = fit(stack, config)
    with contextlib.closing(updates):  # type: ignore[type-var]
        for update in updates:
            progress.tell(None, "measuring the fit")
            last = (time.perf_counter(), update.iteration)
            if first is None and update.iteration >= 5:  # the first ones compile
                first = last
            if first is not None and last[0] - first[0] > TRIAL_S and last[1] > first[1]:
                break
    if first is None or last[1] == first[1]:
        return 1.0
    return (last[0] - first[0]) / (last[1] - first[1]) / iteration_seconds(stack.shape, config)


class _EnoughError(Exception):
    """The trial of the prior has lasted long enough."""


def _prior(stack: Stack, progress: Progress) -> float:
    """Time of a learned prior's training step, over what the estimate counts for it."""
    import contextlib

    from napari_emgauss.priors import SECONDS_PER_TRAINING_STEP, Observation, SelfPrior

    prior = SelfPrior()
    seen: list[tuple[float, float]] = []

    def watch(update: ProgressUpdate) -> None:
        progress.tell(None, "measuring the prior")
        seen.append((time.perf_counter(), update.fraction or 0.0))
        if len(seen) > 2 and seen[-1][0] - seen[0][0] > TRIAL_S:
            raise _EnoughError

    with contextlib.suppress(_EnoughError):
        prior.learn(Observation(stack.unit_slices(), stack.z_nm, stack.pixel_size_nm), on_progress=watch)
    # The first message comes after the first, slow steps.
    (began, low), (ended, high) = seen[0], seen[-1]
    steps = prior.config.iterations * (high - low)
    return (ended - began) / steps / SECONDS_PER_TRAINING_STEP if steps > 0 else 1.0
