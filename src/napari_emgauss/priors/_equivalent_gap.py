"""How far apart slices are, judged by how much they differ: the in-plane distance over which tissue changes as much.

Nominal section thickness is often wrong, and tissue need not be isotropic. What counts for a prior that learns within
the slices is that rows dropped there are as hard to restore as slices are. The semivariogram along z and within the
slices (G. Matheron, "Principles of geostatistics", Economic Geology 58, 1963) tells which distance that is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHORTEST, LONGEST = 1.0, 1.1
"""Limits of the ratio. A prior trained on gaps too long is cautious, one trained on gaps too short invents: so never
shorter. Much longer ones would tell of staining, alignment or a semivariogram near its sill rather than of distance.
"""


def equivalent_gap_ratio(images: NDArray[np.float32], gaps_px: NDArray[np.float64]) -> float:
    """In-plane distance at which pixels differ as much as those of neighbouring slices, over the nominal distance.

    Parameters
    ----------
    images : ndarray
        ``(K, H, W)`` slices with square pixels.
    gaps_px : ndarray
        ``(K-1,)`` nominal distances in pixels. Those within 15 % of the median are looked at.

    Returns
    -------
    float
        Between `SHORTEST` and `LONGEST`; 1 unless slices differ more than their distance suggests.
    """
    usual = float(np.median(gaps_px))
    # A slice that is brighter as a whole is not further away.
    level = images - images.mean(axis=(1, 2), keepdims=True)
    alike = np.flatnonzero(np.abs(gaps_px / usual - 1) < 0.15)
    between = float(np.median([_semivariance(level[k], level[k + 1]) for k in alike]))
    furthest = min(int(np.ceil(LONGEST * usual)) + 1, min(images.shape[1:]) - 1)
    distances = np.arange(1, furthest + 1)
    within = np.array(
        [
            (_semivariance(level[:, d:], level[:, :-d]) + _semivariance(level[:, :, d:], level[:, :, :-d])) / 2
            for d in distances
        ]
    )
    rising = np.maximum.accumulate(within)
    distance = float(np.interp(between, rising, distances))
    return float(np.clip(distance / usual, SHORTEST, LONGEST))


def _semivariance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Half the mean squared difference."""
    return 0.5 * float(np.mean((one - other) ** 2, dtype=np.float64))
