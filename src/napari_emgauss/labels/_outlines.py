"""Outlines drawn to the membranes of the picture, where the distances leave open by less than a pixel who wins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OPEN_PIXELS = 0.5
"""Pixels whose winner is ahead by less than this are decided by the picture."""
_PIXELS_A_STEP = 2.0
_WEIGHT = 4.0
"""Of a grey value's whole range against :data:`_PIXELS_A_STEP` pixels of distance (`benchmarks/labels.py`)."""
_LEAST_CONTRAST = 0.02


def membrane_contrast(image: NDArray[np.float32], labels: NDArray[np.generic]) -> float:
    """How much brighter (positive) or darker (negative) the outlines of labels are than what lies within them.

    Parameters
    ----------
    image : ndarray
        ``(H, W)`` float32 in the unit range.
    labels : ndarray
        ``(H, W)`` of the same slice.
    """
    from scipy.ndimage import binary_dilation
    from skimage.segmentation import find_boundaries

    outline = find_boundaries(labels, mode="thick")
    away = ~binary_dilation(outline, iterations=2)
    if not outline.any() or not away.any():
        return 0.0
    return float(image[outline].mean() - image[away].mean())


def follow_membranes(
    numbers: NDArray[np.int64],
    distances: NDArray[np.float32],
    margins: NDArray[np.float32],
    image: NDArray[np.float32],
    contrast: float,
    background: int | None = None,
) -> NDArray[np.int64]:
    """Decide the open pixels by a watershed on the picture's membranes.

    Parameters
    ----------
    numbers : ndarray
        ``(H, W)``, who wins by distance; negative where nobody does, which stays.
    distances : ndarray
        ``(H, W)``, the winner's signed distance, pixels.
    margins : ndarray
        ``(H, W)``, by how many pixels it wins.
    image : ndarray
        ``(H, W)`` float32 in the unit range, blurred.
    contrast : float
        Of :func:`membrane_contrast` in labelled slices: outlines that are hardly darker or brighter say nothing.
    background : int, optional
        The number of what no object is in. It is full of membranes that outline nothing labelled, so the picture
        decides between objects only (`benchmarks/labels.py`: where labels are of mitochondria alone).
    """
    if abs(contrast) < _LEAST_CONTRAST:
        return numbers
    from skimage.segmentation import watershed

    known = numbers >= 0
    markers = np.where(known & (margins > OPEN_PIXELS), numbers + 1, 0)
    if not markers.any():
        return numbers
    height = (image if contrast > 0 else 1 - image) * np.float32(_WEIGHT)
    # Further from the middle of an object is higher: without membranes the distances decide.
    height = height + np.where(known, distances, 0) / np.float32(_PIXELS_A_STEP)
    flooded = watershed(height, markers.astype(np.int32), mask=known) - 1
    decided = known & (flooded >= 0)
    if background is not None:
        decided &= (numbers != background) & (flooded != background)
    return np.asarray(np.where(decided, flooded, numbers), dtype=np.int64)
