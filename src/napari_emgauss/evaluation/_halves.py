"""The halves of a volume: a segmenter is trained in the left one, and tried in the right one on dropped slices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError

from ._segmenter import ForestSegmenter
from ._thin import Thinned

MARGIN_PIXELS = 16  # between training and test region: twice the largest scale of the features
TRAINING_SLICES = 24
SCORED_SLICES = 48  # spread evenly over the dropped ones: neighbours say nearly the same, and features take seconds
TRUTH = "truth"


@dataclass(frozen=True)
class Halves:
    """Where a segmenter is trained, and where and on which slices it is tried.

    Parameters
    ----------
    width : int
        Columns of the volume.
    start : int
        First column of the test region.
    scored : list of int
        Dropped slices to score, at most 48.
    """

    width: int
    start: int
    scored: list[int]

    def train(self, thinned: Thinned, structure_of: Callable[[int], NDArray[np.bool_]]) -> ForestSegmenter:
        """A forest that has learned ``structure_of(k)`` ``(H, W)`` of some true slices, left of the margin."""
        forest = ForestSegmenter()
        left = self.width // 2 - MARGIN_PIXELS
        depth = len(thinned.truth)
        chosen = np.unique(np.linspace(0, depth - 1, min(TRAINING_SLICES, depth)).round().astype(int))
        structure = np.stack([structure_of(int(k))[:, :left] for k in chosen])
        forest.train(thinned.truth[chosen][:, :, :left], structure)
        return forest

    def tried(self, forest: ForestSegmenter, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """What a forest finds in the test region of a slice ``(H, W)``."""
        # The margin comes along so that features at the region's border see their surroundings.
        return forest.probability(image[:, self.start - MARGIN_PIXELS :])[:, MARGIN_PIXELS:]


def halves(thinned: Thinned, width: int, shows: Callable[[int, int], bool], nothing: str) -> Halves:
    """The halves of a volume that has been thinned.

    Parameters
    ----------
    thinned : Thinned
    width : int
        Columns of the volume.
    shows : callable
        Whether a slice shows something to score from a column on.
    nothing : str
        What to say where none does.

    Raises
    ------
    ConfigError
        There are too few columns, or nothing to score.
    """
    start = width // 2 + MARGIN_PIXELS
    if start >= width:
        raise ConfigError(f"The volume has {width} columns, but at least {4 * MARGIN_PIXELS} are needed.")
    scored = [int(k) for k in np.flatnonzero(thinned.dropped) if shows(int(k), start)]
    if not scored:
        raise ConfigError(nothing)
    if len(scored) > SCORED_SLICES:
        scored = [scored[int(k)] for k in np.linspace(0, len(scored) - 1, SCORED_SLICES).round()]
    return Halves(width, start, scored)
