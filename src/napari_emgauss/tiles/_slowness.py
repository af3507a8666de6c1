"""How much slower this machine is than that of the benchmarks, found by a short trial.

Splats, a network's training and what it infers are measured apart: a processor with arithmetic in bfloat16, or a
graphics card, speeds up one far more than the other.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_emgauss._progress import OnProgress, Progress

from ._estimate import Slowness, iteration_seconds

if TYPE_CHECKING:
    from napari_emgauss.priors import LearnedPrior, Observation
    from napari_emgauss.stack import Stack

_TRIAL_S = 2.5
_SHAPE = (12, 256, 256)
"""Slices enough for the rows of a training patch: with fewer its steps are shorter."""
_VOXEL_NM = (68.0, 8.0, 8.0)
"""Gaps are no whole pixels: those that stacks seem to have seldom are, and a cubic then finds the rows between two."""
_FIRST_ITERATION = 5
"""Those before it compile."""
_MOST_STEPS = 50
_PIECES_PIXELS = (64, 256)
"""Of what is inferred, along either axis. On a processor either takes the same for each pixel, within a twentieth; a
graphics card is not at its speed on the smaller one, which it has done within less than `_LEAST_INFERRING_S`."""
_LEAST_INFERRING_S = 0.2


def measure_slowness(
    device: str = "cpu",
    threads: int | None = None,
    *,
    networks: bool = True,
    seconds: float = _TRIAL_S,
    on_progress: OnProgress | None = None,
) -> Slowness:
    """Measure it by a short fit and a short training on a generated stack, and by what that then infers.

    Parameters
    ----------
    device : str
        As of a fit: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    threads : int, optional
        CPU threads that are used; as many as torch takes, if not given.
    networks : bool
        False leaves out the networks, where no prior has any.
    seconds : float
        The fit and the training take this long each, compiling apart.
    on_progress : callable, optional
        Told what is being measured; may raise to stop.

    Raises
    ------
    BackendError
        There is no such device.
    """
    progress = Progress(on_progress)
    with _threads(threads):
        stack = _trial_stack()
        iteration = _iteration(stack, device, seconds, progress)
        return Slowness(iteration, *(_networks(stack, device, seconds, progress) if networks else (iteration,) * 2))


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _trial_stack() -> Stack:
    """Blobs that drift from slice to slice, with noise: on smooth pictures splats are large and few overlap."""
    from scipy.ndimage import gaussian_filter

    from napari_emgauss.stack import stack_from_array

    slices, height, width = _SHAPE
    random = np.random.default_rng(0)
    blobs = gaussian_filter(random.normal(size=(height, width)), 2.5, mode="wrap")
    blobs *= 40 / blobs.std()
    grey = [128 + np.roll(blobs, k, axis=1) + random.normal(0, 8, (height, width)) for k in range(slices)]
    return stack_from_array(np.clip(grey, 0, 255).astype(np.uint8), _VOXEL_NM)


def _iteration(stack: Stack, device: str, seconds: float, progress: Progress) -> float:
    """Time of an iteration of the longest stage, over what the estimate counts for it."""
    from napari_emgauss.fitting import fit, preset

    config = preset("default", prior="nearest", device=device, warm_up=False, joint=False)
    first: tuple[float, int] | None = None
    last = (0.0, 0)
    updates = fit(stack, config)
    with contextlib.closing(updates):  # type: ignore[type-var]
        for update in updates:
            progress.tell(None, "measuring the fit")
            last = (time.perf_counter(), update.iteration)
            if first is None and update.iteration >= _FIRST_ITERATION:
                first = last
            if first is not None and last[0] - first[0] > seconds and last[1] > first[1]:
                break
    if first is None or last[1] == first[1]:
        return 1.0
    return (last[0] - first[0]) / (last[1] - first[1]) / iteration_seconds(stack.shape, config)


def _networks(stack: Stack, device: str, seconds: float, progress: Progress) -> tuple[float, float]:
    """Time of a learned prior's training step, and of what it then infers, over what the estimate counts for them."""
    from napari_emgauss.priors import (
        SECONDS_PER_TRAINING_STEP,
        Observation,
        SelfPrior,
        SelfPriorConfig,
        device_of_prior,
    )

    observation = Observation(stack.unit_slices(), stack.z_nm, stack.pixel_size_nm)
    # Longer gaps, as this stack may seem to have, leave less to learn from and make steps shorter.
    config = SelfPriorConfig(iterations=1, device=device_of_prior(device), equivalent_gap=False)

    def trained(steps: int) -> tuple[LearnedPrior, float]:
        began = time.perf_counter()
        learned = SelfPrior(replace(config, iterations=steps)).learn(
            observation, on_progress=lambda update: progress.tell(None, "measuring the prior")
        )
        return learned, time.perf_counter() - began

    trained(1)  # finds out how to convolve
    few = min(_MOST_STEPS, max(2, round(seconds / max(trained(1)[1], 1e-3))))
    learned, training_s = trained(few)
    return training_s / few / SECONDS_PER_TRAINING_STEP, _inferring(learned, observation)


def _inferring(learned: LearnedPrior, observation: Observation) -> float:
    """Of planes along both axes, as they are and mirrored, and of the correction of what they say."""
    from napari_emgauss.priors import cost_of_learning

    config = replace(learned.config, rotations_deg=(0.0,), mirrored=True, carried=0.0)
    cost, plain = cost_of_learning(config), replace(learned, config=config)
    taken = expected = 1.0
    for side in _PIECES_PIXELS:
        images = np.ascontiguousarray(observation.images[:, :side, :side])
        pixels, gaps = images[0].size, len(images) - 1
        labels = gaps * learned.network.config.nodes
        expected = (cost.network_gap_pixel_s * gaps + cost.network_label_pixel_s * labels) * pixels
        began = time.perf_counter()
        plain.prepare(replace(observation, images=images))
        taken = time.perf_counter() - began
        if taken > _LEAST_INFERRING_S:
            break
    return taken / expected
