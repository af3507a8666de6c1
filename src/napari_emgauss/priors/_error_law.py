"""How large the error of a guessed slice is to be expected: from what its prior says of it, and from where it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Knots = tuple[tuple[float, float], ...]

BANDS = (0.5, 0.9, 0.95)
"""Shares of the truth that error bars are told for."""
NORMAL_BANDS: Knots = ((0.5, 0.6745), (0.9, 1.6449), (0.95, 1.96))
"""Half-widths of the bands in σ where errors are normal."""
_LEAST_CONFIDENCE = 1e-3


@dataclass(frozen=True)
class PredictedError:
    """What a prior predicts where its confidence is 1, which is where its predicted error is least; elsewhere more.

    Parameters
    ----------
    least : float
        Largest squared error, unit range², at which the confidence is 1. It is in inverse proportion to it below 1.
    surest : float
        Mean of the predicted squared errors where the confidence is 1, over ``least``.
    """

    least: float
    surest: float = 1.0


@dataclass(frozen=True)
class ErrorLaw:
    """Expected squared error of a guess: larger where the prior is less sure, never smaller.

    Doubt is 1 over the prior's confidence. Of a prior that predicts its error, that is the predicted variance in units
    of the least, so that the expected squared error is proportional to it. For other priors a rising curve of doubt and
    the distance from the nearest slice say how the error changes.

    Parameters
    ----------
    squared : float
        Expected squared error at full confidence, unit range²; of a law that is not settled yet, in units of what the
        prior predicts there.
    levels : tuple of (float, float)
        Place in the gap (0 at a slice, 0.5 in the middle) and the factor there, between which lines are drawn.
    shape : tuple of (float, float)
        Doubt and the factor there, rising; empty where the factor is the doubt itself.
    bands : tuple of (float, float)
        Share of the truth and half the width in σ of the band that holds it.
    surest : float
        Doubt where the confidence is 1.
    """

    squared: float
    levels: Knots = ((0.5, 1.0),)
    shape: Knots = ()
    bands: Knots = NORMAL_BANDS
    surest: float = 1.0

    @property
    def predicts(self) -> bool:
        """Whether it is of a prior that predicts its error."""
        return not self.shape

    def settled(self, predicted: PredictedError | None) -> ErrorLaw | None:
        """The law for what a prior predicts at full confidence; None where it has to predict and does not."""
        if not self.predicts:
            return self
        if predicted is None:
            return None
        return replace(self, squared=self.squared * predicted.least, surest=predicted.surest)

    def squared_error(self, confidence: NDArray[np.floating[Any]], place: float) -> NDArray[np.float32]:
        """Expected squared error, unit range², where the prior's confidence is this, at a place in the gap."""
        doubt = 1 / np.clip(np.asarray(confidence, dtype=np.float32), _LEAST_CONFIDENCE, 1)
        doubt[doubt <= 1] = self.surest
        factor = doubt if self.predicts else np.interp(doubt, *np.transpose(self.shape))
        return np.asarray(self.squared * float(np.interp(place, *np.transpose(self.levels))) * factor, np.float32)

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        knots = {name: [list(pair) for pair in getattr(self, name)] for name in ("levels", "shape", "bands")}
        numbers = {name: getattr(self, name) for name in ("squared", "surest")}
        return {**numbers, **knots}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ErrorLaw:
        """The law that `to_json` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is none.
        """
        levels, shape, bands = (_knots(values[name]) for name in ("levels", "shape", "bands"))
        squared, surest = float(values["squared"]), float(values["surest"])
        if not (
            math.isfinite(squared)
            and squared >= 0
            and 0 < surest <= 1
            and levels
            and tuple(band for band, _ in bands) == BANDS
        ):
            raise ValueError("The law of errors is not valid.")
        return cls(squared, levels, shape, bands, surest)


def _knots(values: Any) -> Knots:
    knots = tuple((float(place), float(value)) for place, value in values)
    rising = all(one[0] < other[0] for one, other in pairwise(knots))
    if not rising or any(not (math.isfinite(place) and 0 <= value < math.inf) for place, value in knots):
        raise ValueError("A curve of the law of errors is not valid.")
    return knots


def bands_of(errors: NDArray[np.floating[Any]], squared: NDArray[np.floating[Any]]) -> Knots:
    """Half-widths in σ of the bands that hold their share of some errors; those of normal errors where all are nil."""
    size = np.abs(errors) / np.sqrt(np.maximum(squared, 1e-20))
    widths = np.quantile(size, BANDS)
    if not widths[0] > 0:
        return NORMAL_BANDS
    return tuple((band, float(width)) for band, width in zip(BANDS, widths, strict=True))


def predicted_error(interpolator: object) -> PredictedError | None:
    """What a prior made ready predicts where its confidence is 1; None where it predicts no errors."""
    told = getattr(interpolator, "predicted_error", None)
    return told if isinstance(told, PredictedError) else None
