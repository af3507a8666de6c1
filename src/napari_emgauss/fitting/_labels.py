"""Pseudo-labels: a prior asked once at a set of depths in every gap, then drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.priors import Interpolator, PseudoLabel

# More depths in one gap than this say nothing new to a field that is linear between a few knots.
_MOST_PER_GAP = 16
# With the middle alone, the knots at the slices learn from nothing but the slices, which come up once in eight times.
_LEAST_PER_GAP = 3


@dataclass(frozen=True)
class LabelDepths:
    """Depths at which a prior is asked.

    Parameters
    ----------
    z_nm : ndarray
        ``(L,)`` nm.
    from_middle : ndarray
        ``(L,)`` distance from the middle of the gap, in gaps, in [0, 0.5).
    nearest : ndarray
        ``(L,)`` bool: no depth of the same gap is nearer to its middle.
    """

    z_nm: NDArray[np.float64]
    from_middle: NDArray[np.float64]
    nearest: NDArray[np.bool_]

    def allowed(self, spread: float) -> NDArray[np.bool_]:
        """Which depths lie within ``spread`` (0 to 1) of the gap around its middle; the nearest ones always."""
        return np.asarray(self.nearest | (self.from_middle <= spread / 2 + 1e-9))


def label_depths(z_nm: NDArray[np.float64], pixel_nm: float, per_gap: int | None) -> LabelDepths:
    """Evenly spread depths inside every gap: ``per_gap``, or one for every in-plane pixel size and three at least.

    Parameters
    ----------
    z_nm : ndarray
        ``(K,)`` depths of the slices.
    pixel_nm : float
        In-plane pixel size.
    per_gap : int or None
        Depths in every gap.
    """
    depths, distances, nearest = [], [], []
    for low, high in pairwise(z_nm):
        wanted = round((high - low) / pixel_nm)
        steps = per_gap + 1 if per_gap is not None else int(np.clip(wanted, _LEAST_PER_GAP + 1, _MOST_PER_GAP))
        shares = np.arange(1, steps) / steps
        away = np.abs(shares - 0.5)
        depths.append(low + shares * (high - low))
        distances.append(away)
        nearest.append(away <= away.min() + 1e-9)
    return LabelDepths(np.concatenate(depths), np.concatenate(distances), np.concatenate(nearest))


class Labels:
    """Pseudo-labels at :class:`LabelDepths`, kept in half precision where they fit into memory.

    Half precision rounds the unit range to 5e-4, a tenth of one grey level of 8 bits.
    """

    def __init__(
        self,
        depths: LabelDepths,
        interpolator: Interpolator | None,
        images: NDArray[np.float16] | None = None,
        confidences: NDArray[np.float16] | None = None,
    ) -> None:
        self.depths = depths
        self.images = images
        self.confidences = confidences
        self._interpolator = interpolator

    def __len__(self) -> int:
        return len(self.depths.z_nm)

    def __getitem__(self, index: int) -> PseudoLabel:
        if self.images is None:
            if self._interpolator is None:
                raise IndexError("These pseudo-labels were not kept, and there is no prior to make them again.")
            return self._interpolator.at(float(self.depths.z_nm[index]))
        confidence = None if self.confidences is None else self.confidences[index].astype(np.float32)
        return PseudoLabel(self.images[index].astype(np.float32), confidence)

    @classmethod
    def collect(
        cls,
        depths: LabelDepths,
        interpolator: Interpolator,
        memory_mb: int,
        on_progress: OnProgress,
    ) -> Labels:
        """Ask the prior at every depth, if all answers fit into ``memory_mb``; otherwise ask when needed."""
        first = interpolator.at(float(depths.z_nm[0]))
        planes = 1 if first.confidence is None else 2
        if first.image.size * 2 * planes * len(depths.z_nm) > memory_mb * 2**20:
            return cls(depths, interpolator)
        progress = Progress(on_progress)
        images = np.empty((len(depths.z_nm), *first.image.shape), dtype=np.float16)
        confidences = None if first.confidence is None else np.empty_like(images)
        for index, z in enumerate(depths.z_nm):
            label = first if index == 0 else interpolator.at(float(z))
            images[index] = label.image
            if confidences is not None:
                confidences[index] = 1.0 if label.confidence is None else label.confidence
            share = (index + 1) / len(depths.z_nm)
            progress.tell(share, f"Pseudo-labels {share:.0%}")
        return cls(depths, interpolator, images, confidences)
