"""Weighted means of priors, and of the slices that they infer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.priors._error_law import ErrorLaw, PredictedError, predicted_error
from napari_emgauss.priors._protocol import Interpolator, Observation, Prior, PseudoLabel, prepare_from
from napari_emgauss.priors._state import PriorState


@dataclass(frozen=True)
class WeightedPrior:
    """A weighted mean of priors.

    Parameters
    ----------
    name : str
        What settings called it.
    parts : tuple
        ``(name, weight, prior)`` of each; weights sum to one.
    about : dict
        What else the report of its interpolators says.
    error_law : ErrorLaw or None
        Of its errors, as hidden slices told it: not settled yet.
    """

    name: str
    parts: tuple[tuple[str, float, Prior], ...]
    about: dict[str, Any] | None = None
    error_law: ErrorLaw | None = None

    def prepare(
        self, observation: Observation, *, seed: int = 0, on_progress: OnProgress | None = None
    ) -> WeightedInterpolator:
        """Make all parts ready; see `Prior.prepare`."""
        return self.prepare_from(PriorState(), observation, seed=seed, on_progress=on_progress)

    def prepare_from(
        self, state: PriorState, observation: Observation, *, seed: int = 0, on_progress: OnProgress | None = None
    ) -> WeightedInterpolator:
        """Make all parts ready, each with a part of ``state``; see `ResumablePrior.prepare_from`."""
        ready: list[tuple[float, Interpolator]] = []
        reports: dict[str, Any] = {}
        progress, count = Progress(on_progress), len(self.parts)
        for index, (name, weight, prior) in enumerate(self.parts):
            part = progress.part(index / count, (index + 1) / count)
            interpolator = prepare_from(prior, state.part(name), observation, seed, part)
            ready.append((weight, interpolator))
            reports[name] = getattr(interpolator, "report", {"prior": name})
        weights = {name: weight for name, weight, _ in self.parts}
        report = {"prior": self.name, "weights": weights, **(self.about or {}), "parts": reports}
        mean = WeightedInterpolator(ready, report)
        if self.error_law is not None:
            mean.error_law = self.error_law.settled(mean.predicted_error)
        return mean

    def describe(self) -> str:
        """For people: what it consists of."""
        return " + ".join(name if weight == 1 else f"{weight:.0%} {name}" for name, weight, _ in self.parts)


class WeightedInterpolator:
    """Weighted mean of interpolators; ``report`` says how the weights came about.

    Attributes
    ----------
    error_law : ErrorLaw or None
        Of its errors, where hidden slices have told it.
    """

    def __init__(self, parts: list[tuple[float, Interpolator]], report: dict[str, Any]) -> None:
        self._parts = parts
        self.report = report
        self.error_law: ErrorLaw | None = None

    @property
    def predicted_error(self) -> PredictedError | None:
        """What the weightiest part that predicts its error predicts where its confidence is 1."""
        told = [(weight, predicted_error(part)) for weight, part in self._parts]
        found = [(weight, one) for weight, one in told if one is not None]
        return max(found, key=lambda pair: pair[0])[1] if found else None

    def at(self, z_nm: float) -> PseudoLabel:
        """Weighted mean of the slices; see `Interpolator.at`.

        The confidence is that of the parts that predict their error: the others' would be in other units. Where no part
        does, it is the weighted mean of all.
        """
        labels = [(weight, part, part.at(z_nm)) for weight, part in self._parts]
        if len(labels) == 1:
            return labels[0][2]
        image = np.zeros(labels[0][2].image.shape, np.float32)
        for weight, _, label in labels:
            image += np.float32(weight) * label.image
        told = [one for one in labels if predicted_error(one[1]) is not None] or labels
        confidence = np.zeros(image.shape, np.float32)
        for weight, _, label in told:
            confidence += np.float32(weight) * (1.0 if label.confidence is None else label.confidence)
        return PseudoLabel(image, confidence / np.float32(sum(weight for weight, _, _ in told)))
