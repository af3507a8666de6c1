"""Slices and gaps as the learned prior sees them: square pixels, and gaps in those."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.priors._protocol import Observation
from napari_emgauss.priors._volume_interpolator import resampled


def gaps_in_pixels(observation: Observation) -> NDArray[np.float64]:
    """Gaps in pixels; below two pixels, where no row would lie between, scaled up to two."""
    gaps_px = np.diff(observation.z_nm) / min(observation.pixel_size_nm)
    return np.asarray(gaps_px * max(1.0, 2.0 / float(np.median(gaps_px))))


def square_pixels(images: NDArray[np.float32], pixel_size_nm: tuple[float, float]) -> NDArray[np.float32]:
    """Slices resampled so that pixels are square (the finer of y and x); as they are where they nearly are."""
    finest = min(pixel_size_nm)
    if max(pixel_size_nm) / finest < 1.02:
        return images
    sizes = zip(images.shape[1:], pixel_size_nm, strict=True)
    shape = tuple(max(1, round(size * pixel / finest)) for size, pixel in sizes)
    return np.stack([resampled(image, shape) for image in images])
