"""Perceptual indices that need no weights: GMSD and HaarPSI of grey images.

Their numbers are those of ``piq.gmsd`` and ``piq.haarpsi``. That package is not used itself because it loads
torchvision, whose builds must match torch's exactly (with the CPU's build of torch, importing it fails); the tests
compare with its values.

References
----------
.. [1] W. Xue, L. Zhang, X. Mou, A. C. Bovik, "Gradient Magnitude Similarity Deviation: A Highly Efficient Perceptual
   Image Quality Index", IEEE Trans. Image Processing 23(2), 684-695, 2014, arXiv 1308.3052.
.. [2] R. Reisenhofer, S. Bosse, G. Kutyniok, T. Wiegand, "A Haar Wavelet-Based Perceptual Similarity Index for Image
   Quality Assessment", Signal Processing: Image Communication 61, 33-43, 2018, arXiv 1607.06140.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, uniform_filter1d
from scipy.special import expit, logit

GMSD_CONSTANT = 170 / 255**2  # c of [1], for the unit range
HAARPSI_CONSTANT = 30.0  # C of [2], for grey values up to 255
HAARPSI_EXPONENT = 4.2  # alpha of [2]
HAARPSI_SCALES = 3
SMALLEST_SIDE = 2 ** (HAARPSI_SCALES + 1)
"""Pixels; narrower images have no scale to compare."""


def gmsd(image: NDArray[np.floating], truth: NDArray[np.floating]) -> float | None:
    """Gradient magnitude similarity deviation [1] of ``(H, W)`` images in the unit range: 0 for equal ones.

    None for images narrower than 16 pixels.
    """
    if min(np.shape(truth)) < SMALLEST_SIDE:
        return None
    first, second = (_prewitt_magnitude(_halved(one)) for one in (image, truth))
    similarity = _similarity(first, second, GMSD_CONSTANT)
    return float(similarity.std())


def haarpsi(image: NDArray[np.floating], truth: NDArray[np.floating]) -> float | None:
    """Haar wavelet-based perceptual similarity index [2] of ``(H, W)`` images in the unit range: 1 for equal ones.

    None for images narrower than 16 pixels.
    """
    if min(np.shape(truth)) < SMALLEST_SIDE:
        return None
    first, second = (_haar_magnitudes(255 * _halved(one)) for one in (image, truth))
    weights = np.maximum(first[:, -1], second[:, -1])  # of the coarsest scale
    finer = _similarity(first[:, :-1], second[:, :-1], HAARPSI_CONSTANT).mean(axis=1)
    total = float(weights.sum())
    if total == 0:  # two flat images
        return 1.0
    share = float((expit(HAARPSI_EXPONENT * finer) * weights).sum()) / total
    return float((logit(share) / HAARPSI_EXPONENT) ** 2)


def _halved(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Means of blocks of 2 x 2 pixels, as both indices begin; an odd image gets zeros on two sides, as in piq."""
    values = np.asarray(image, dtype=np.float64)
    if values.shape[0] % 2 or values.shape[1] % 2:
        values = np.pad(values, ((0, 1), (0, 1)))
    height, width = values.shape[0] // 2, values.shape[1] // 2
    blocks = values[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    return np.asarray(blocks.mean(axis=(1, 3)))


def _prewitt_magnitude(image: NDArray[np.float64]) -> NDArray[np.float64]:
    def slope(axis: int) -> NDArray[np.float64]:
        smooth = uniform_filter1d(image, 3, axis=1 - axis, mode="constant")
        return np.asarray(correlate1d(smooth, [-1.0, 0.0, 1.0], axis=axis, mode="constant"))

    return np.hypot(slope(0), slope(1))


def _haar_magnitudes(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(2, SCALES, h, w)``: magnitudes of Haar coefficients, by direction of the step and by scale, fine to coarse."""
    found = np.empty((2, HAARPSI_SCALES, *image.shape))
    for scale in range(HAARPSI_SCALES):
        half = 2**scale
        step = np.concatenate([np.ones(half), -np.ones(half)]) / (2 * half)
        flat = np.ones(2 * half)
        for axis in (0, 1):
            # An even window reaches one pixel farther ahead than back: MATLAB's 'same'.
            along = correlate1d(image, step, axis=axis, mode="constant", origin=-1)
            found[axis, scale] = np.abs(correlate1d(along, flat, axis=1 - axis, mode="constant", origin=-1))
    return found


def _similarity(first: NDArray[np.float64], second: NDArray[np.float64], constant: float) -> NDArray[np.float64]:
    return (2 * first * second + constant) / (first**2 + second**2 + constant)
