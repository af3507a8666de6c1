"""What the self-supervised prior takes; seconds are those of ``python benchmarks/calibrate.py prior``."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from napari_emgauss.priors._info import PriorCost
from napari_emgauss.priors._protocol import Prior
from napari_emgauss.priors.learned._self import SelfPrior
from napari_emgauss.priors.learned._self_config import SelfPriorConfig
from napari_emgauss.priors.learned._training_config import TrainingConfig

SECONDS_PER_TRAINING_STEP = 1.06
SECONDS_PER_GAP_PIXEL_AND_PASS = 12.1e-6
"""Of a prediction: a pass for each direction of planes, and again where they are mirrored. It does not matter how many
slices there are in a gap: the network works on the grid of gaps."""
TURNED = 2.3
"""Time of a pass over a stack turned by 45°, with empty corners all around, over that of a straight one."""
SECONDS_PER_CORRECTED_PIXEL = 1.4e-6
"""Of the correction of what the passes say."""
SECONDS_PER_CARRIED_PIXEL = 0.55e-6
"""Of carrying the observed slices along and mixing them in."""
SECONDS_PER_TRIAL_GAP_PIXEL = 7.7e-6
"""Of what a trial on hidden slices does beside its training and its passes: flow, scores, carrying."""
LEARNED_BYTES = 60 * 10**6
LEARNED_BYTES_PER_LABEL_PIXEL = 20.0
"""What training takes, and the volume of predictions with its confidence; as an earlier calibration had it."""


def self_cost(prior: Prior) -> PriorCost:
    """Cost of a `SelfPrior`."""
    return cost_of_learning(cast("SelfPrior", prior).config)


def cost_of_learning(config: SelfPriorConfig) -> PriorCost:
    """Cost of the prior with these settings."""
    corrected = SECONDS_PER_CORRECTED_PIXEL if config.correction > 0 else 0.0
    carried = SECONDS_PER_CARRIED_PIXEL if config.carried > 0 else 0.0
    step_s = SECONDS_PER_TRAINING_STEP * _size(config)
    may_end_early = TrainingConfig(config.iterations, config.least_iterations).look_after is not None
    least = config.least_iterations if may_end_early and config.least_iterations else config.iterations
    return PriorCost(
        learning_s=step_s * config.iterations,
        spared_s=step_s * (config.iterations - least),
        label_pixel_s=carried,
        network_label_pixel_s=corrected,
        network_gap_pixel_s=SECONDS_PER_GAP_PIXEL_AND_PASS * _passes(config) * _size(config),
        learning_bytes=LEARNED_BYTES,
        label_pixel_bytes=LEARNED_BYTES_PER_LABEL_PIXEL,
    )


def with_trial(cost: PriorCost, trial: SelfPriorConfig, slices: int, pixels: int) -> PriorCost:
    """A cost and that of a trial with these settings, on at most so many slices and pixels along either axis."""
    # Every second slice is hidden, and with it every second gap.
    passes = _passes(trial) * _size(trial) / 2
    return replace(
        cost,
        learning_s=cost.learning_s + SECONDS_PER_TRAINING_STEP * trial.iterations * _size(trial),
        trial_gap_pixel_s=SECONDS_PER_TRIAL_GAP_PIXEL,
        network_trial_gap_pixel_s=SECONDS_PER_GAP_PIXEL_AND_PASS * passes,
        trial_slices=slices,
        trial_pixels=pixels,
    )


def _passes(config: SelfPriorConfig) -> float:
    """Passes over a stack as large as the observed one."""
    families = sum(2.0 if angle % 90 == 0 else 2.0 * TURNED for angle in config.rotations_deg)
    return families * (2 if config.mirrored else 1)


def _size(config: SelfPriorConfig) -> float:
    """Arithmetic of the network over that of the usual one: most is in convolutions that leave the channels as many."""
    return sum(channels**2 for channels in config.channels) / sum(channels**2 for channels in SelfPriorConfig.channels)
