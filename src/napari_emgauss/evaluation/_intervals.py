"""A mean over slices and its 95 % interval, where neighbouring slices say nearly the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
MOST_BATCHES = 20
"""More batches would be shorter than what neighbouring slices share; 10 to 30 are usual [1]_."""
_DB_OF_A_FACTOR = 10 / math.log(10)


@dataclass(frozen=True)
class Estimate:
    """The mean of a metric over slices, and where the mean over many more slices would lie.

    Parameters
    ----------
    mean : float or None
        None where it could not be measured on every slice; infinite where every slice is the truth.
    low, high : float or None
        Ends of the 95 % interval of the mean; None where there are fewer than two batches of slices.
    count : int
        How many slices (or planes) were measured.
    """

    mean: float | None
    low: float | None
    high: float | None
    count: int

    @property
    def half_width(self) -> float | None:
        """What stands behind ±: half of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name, as JSON holds them."""
        return asdict(self)

    def text(self, digits: int) -> str:
        """The mean and ± half of the interval; a dash for what is not known."""
        if self.mean is None:
            return "-"
        if math.isinf(self.mean):
            return "inf"
        half = self.half_width
        return f"{self.mean:.{digits}f}" + ("" if half is None else f" ±{half:.{digits}f}")


def mean_over_slices(values: Sequence[float | None], groups: Sequence[int] | None = None) -> Estimate:
    """The mean of a metric over slices in order, with a 95 % interval by the method of batch means [1]_.

    Neighbouring slices resemble each other, so an interval from single slices would be far too narrow. Slices are
    therefore put into at most 20 batches of neighbours, and the interval is Student's t over the means of batches:
    ``mean ± t(0.975, m - 1) s / sqrt(m)`` with the standard deviation ``s`` of ``m`` batch means. It says how much the
    mean would change with other slices of the same tissue, and nothing of other tissue.

    Parameters
    ----------
    values : sequence of float or None
        One a slice.
    groups : sequence of int, optional
        Slices with the same number stay together, such as those in one gap.

    References
    ----------
    .. [1] B. Schmeiser, "Batch Size Effects in the Analysis of Simulation Output", Operations Research 30(3),
       556-568, 1982.
    """
    count = len(values)
    known = [value for value in values if value is not None]
    if not known or len(known) < count:
        return Estimate(None, None, None, count)
    numbers = np.asarray(known, dtype=np.float64)
    mean = float(numbers.mean())
    half = _half_width(numbers, np.arange(count) if groups is None else np.asarray(groups))
    if half is None:
        return Estimate(mean, None, None, count)
    return Estimate(mean, mean - half, mean + half, count)


def psnr_over_slices(squared_errors: Sequence[float], groups: Sequence[int] | None = None) -> Estimate:
    """PSNR of a whole volume in dB from the mean squared error of each of its slices, data range 1.

    The decibels are those of the mean error, not the mean of decibels. The interval is that of the mean error
    (:func:`mean_over_slices`), carried to decibels by its slope there, so it is even on both sides.
    """
    error = mean_over_slices(list(squared_errors), groups)
    if error.mean is None:
        return error
    if error.mean == 0:
        return Estimate(math.inf, None, None, error.count)
    decibels = -10 * math.log10(error.mean)
    if error.half_width is None:
        return Estimate(decibels, None, None, error.count)
    half = _DB_OF_A_FACTOR * error.half_width / error.mean
    return Estimate(decibels, decibels - half, decibels + half, error.count)


def _half_width(numbers: NDArray[np.float64], groups: NDArray[np.int_]) -> float | None:
    from scipy.special import stdtrit  # quantiles of Student's t

    _, starts = np.unique(groups, return_index=True)
    starts = np.sort(starts)
    chosen = [int(part[0]) for part in np.array_split(starts, min(len(starts), MOST_BATCHES))]
    if len(chosen) < 2 or not np.isfinite(numbers).all():
        return None
    means = [float(batch.mean()) for batch in np.split(numbers, chosen[1:])]
    quantile = float(stdtrit(len(means) - 1, (1 + LEVEL) / 2))
    return quantile * float(np.std(means, ddof=1)) / math.sqrt(len(means))
