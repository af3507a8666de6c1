"""The self-supervised prior on hidden slices: which of its steps help this stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._progress import Progress
from napari_emgauss.priors._error_law import ErrorLaw, PredictedError
from napari_emgauss.priors._error_trial import confidence_at, predicted_law
from napari_emgauss.priors._hidden_slices import HiddenSlices
from napari_emgauss.priors._merit import mean_score, merit
from napari_emgauss.priors._protocol import PseudoLabel
from napari_emgauss.priors._state import PriorState
from napari_emgauss.priors.learned._self import SelfPrior
from napari_emgauss.priors.learned._self_config import SelfPriorConfig


@dataclass(frozen=True)
class LearnedTrial:
    """What the self-supervised prior restored: what it mixes, each by itself, and how sure it was."""

    corrected: NDArray[np.float32]
    uncorrected: NDArray[np.float32]
    carried: NDArray[np.float32]
    confidences: NDArray[np.float32]
    predicted_error: PredictedError

    def mixed(self, correction: float, carried: float) -> NDArray[np.float32]:
        """The slices as the prior with these shares has them."""
        inferred = np.float32(correction) * self.corrected + np.float32(1 - correction) * self.uncorrected
        return np.float32(1 - carried) * inferred + np.float32(carried) * self.carried

    def law(self, guess: NDArray[np.float32], truth: NDArray[np.float32]) -> ErrorLaw | None:
        """The law of the errors of ``guess``: what it restored, or the mean of that with another prior's."""
        labels = [PseudoLabel(*pair) for pair in zip(guess, self.confidences, strict=True)]
        return predicted_law(labels, truth, self.predicted_error)


def restored_by_learning(
    trial: SelfPriorConfig, hidden: HiddenSlices, seed: int, progress: Progress, state: PriorState
) -> LearnedTrial:
    """What the self-supervised prior restores, whatever of its steps turns out to help."""
    thinned, depths = hidden.thinned, hidden.z_nm
    learned = SelfPrior(trial).learn_from(state, thinned, seed=seed, on_progress=progress.part(0.0, 0.85))
    parts = learned.compared(thinned, depths, on_progress=progress.part(0.85, 1.0))
    labels = [parts.corrected.at(float(depth)) for depth in depths]
    uncorrected, carried = (
        np.stack([part.at(float(z)).image for z in depths]) for part in (parts.uncorrected, parts.carried)
    )
    confidences = np.stack([confidence_at(label, thinned, float(z)) for label, z in zip(labels, depths, strict=True)])
    error = parts.corrected.predicted_error or PredictedError(0.0)
    corrected = np.stack([label.image for label in labels])
    return LearnedTrial(corrected, uncorrected, carried, confidences, error)


def best_mixture(
    ours: LearnedTrial, truth: NDArray[np.float32], learned: SelfPriorConfig, margin: float
) -> tuple[tuple[float, float], dict[str, float]]:
    """How much to correct, and of carried slices to mix in, and the score of that."""
    tried: dict[tuple[float, float], dict[str, float]] = {}

    def score(correction: float, carried: float) -> dict[str, float]:
        if (correction, carried) not in tried:
            tried[correction, carried] = mean_score(ours.mixed(correction, carried), truth)
        return tried[correction, carried]

    most = learned.correction
    shares = dict.fromkeys((most, most / 2, 0.0))
    correction = most_that_pays({share: score(share, learned.carried) for share in shares}, margin)
    shares = dict.fromkeys((learned.carried, 0.0))
    carried = most_that_pays({share: score(correction, share) for share in shares}, margin)
    return (correction, carried), score(correction, carried)


def most_that_pays(tried: Mapping[float, dict[str, float]], margin: float) -> float:
    """The largest share among those tried, given their scores, unless less is better by the margin."""
    merits = {share: merit(score) for share, score in tried.items()}
    most, best = max(merits), max(merits, key=lambda share: merits[share])
    return best if merits[best] > merits[most] + margin else most
