"""A piece of a stack with every second slice hidden: what a prior says of slices that are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.priors._protocol import Observation


@dataclass(frozen=True)
class HiddenSlices:
    """A piece of a stack, and the same with every second slice hidden.

    Parameters
    ----------
    piece : Observation
        With all slices.
    thinned : Observation
        Without the hidden ones.
    truth : ndarray
        ``(n, h, w)`` the hidden slices.
    z_nm : ndarray
        ``(n,)`` their depths.
    """

    piece: Observation
    thinned: Observation
    truth: NDArray[np.float32]
    z_nm: NDArray[np.float64]


def hide_slices(observation: Observation, most_slices: int, most_pixels: int) -> HiddenSlices | None:
    """Hide every second slice of the middle of a stack; None where it has fewer than three.

    Parameters
    ----------
    observation : Observation
        The stack.
    most_slices, most_pixels : int
        The middle has at most so many slices, and so many pixels along each axis.
    """
    if len(observation.images) < 3:
        return None
    cuts = []
    for size, limit in zip(observation.images.shape, (most_slices, most_pixels, most_pixels), strict=True):
        start = max(0, (size - limit) // 2)
        cuts.append(slice(start, start + min(size, limit)))
    z, y, x = cuts
    piece = Observation(observation.images[z, y, x], observation.z_nm[z], observation.pixel_size_nm)
    hidden = np.arange(1, len(piece.images) - 1, 2)
    thinned = Observation(np.ascontiguousarray(piece.images[::2]), piece.z_nm[::2], piece.pixel_size_nm)
    return HiddenSlices(piece, thinned, piece.images[hidden], piece.z_nm[hidden])
