"""What the self-supervised prior takes; constants measured by ``python benchmarks/tiles.py calibrate``."""

from __future__ import annotations

from typing import cast

from napari_emgauss.priors._info import PriorCost
from napari_emgauss.priors._protocol import Prior
from napari_emgauss.priors.learned._self import SelfPrior
from napari_emgauss.priors.learned._self_config import SelfPriorConfig

SECONDS_PER_TRAINING_STEP = 0.25
SECONDS_PER_LABEL_PIXEL_AND_PASS = 0.96e-6
"""Of a prediction: a pass for each direction of planes, and again where they are mirrored."""
SECONDS_PER_CORRECTED_PIXEL = 0.75e-6
"""Of the correction of what the passes say."""
SECONDS_PER_CARRIED_PIXEL = 0.3e-6
"""Of carrying the observed slices along and mixing them in."""
LEARNED_BYTES = 60 * 10**6
LEARNED_BYTES_PER_LABEL_PIXEL = 20.0
"""What training takes, and the volume of predictions with its confidence."""


def self_cost(prior: Prior) -> PriorCost:
    """Cost of a `SelfPrior`."""
    return cost_of_learning(cast("SelfPrior", prior).config)


def cost_of_learning(config: SelfPriorConfig, trial_steps: int = 0) -> PriorCost:
    """Cost of the prior with these settings, and of some training steps before that."""
    passes = 2 * len(config.rotations_deg) * (2 if config.mirrored else 1)
    corrected = SECONDS_PER_CORRECTED_PIXEL if config.correction > 0 else 0.0
    carried = SECONDS_PER_CARRIED_PIXEL if config.carried > 0 else 0.0
    return PriorCost(
        learning_s=SECONDS_PER_TRAINING_STEP * (trial_steps + config.iterations),
        label_pixel_s=SECONDS_PER_LABEL_PIXEL_AND_PASS * passes + corrected + carried,
        learning_bytes=LEARNED_BYTES,
        label_pixel_bytes=LEARNED_BYTES_PER_LABEL_PIXEL,
    )
