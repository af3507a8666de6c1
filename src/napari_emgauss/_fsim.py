"""Feature similarity (FSIM) of grey images, after Zhang et al. 2011, on phase congruency after Kovesi 1999.

References
----------
.. [1] L. Zhang, L. Zhang, X. Mou, D. Zhang, "FSIM: A Feature Similarity Index for Image Quality Assessment", IEEE
   Trans. Image Processing 20(8), 2378-2386, 2011, doi:10.1109/TIP.2011.2109730, with the constants of the authors'
   MATLAB code.
.. [2] P. Kovesi, "Image Features from Phase Congruency", Videre 1(3), 1999.

The numbers are those of ``piq.fsim(..., chromatic=False)``, which the literature of this field uses. That package is
not used itself because it loads torchvision, whose builds must match torch's exactly; the tests compare with its
values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

SCALES = 4
ORIENTATIONS = 4
SMALLEST_WAVELENGTH = 6  # pixels
WAVELENGTH_RATIO = 2
BANDWIDTH = 0.55  # standard deviation of the log-Gabor filter over its centre frequency
ANGLE_RATIO = 1.2  # angle between orientations over the standard deviation of the angular Gaussian
NOISE_DEVIATIONS = 2.0
NOISE_CORRECTION = 1.7  # PC2 overestimates the effect of noise by this much [2]
PHASE_CONSTANT = 0.85  # T1 of [1]
GRADIENT_CONSTANT = 160.0  # T2 of [1], for grey values up to 255
WORKING_SIZE = 256  # shorter side, in pixels, to which larger images are reduced by whole factors [1]


@dataclass(frozen=True)
class Features:
    """What FSIM compares of an image: phase congruency and gradient magnitude, both ``(h, w)`` float32."""

    phase_congruency: NDArray[np.float32]
    gradient: NDArray[np.float32]


@dataclass(frozen=True)
class _Filters:
    """Log-Gabor filters of one image size, in the Fourier domain, and their share in the noise estimate."""

    bank: NDArray[np.float32]  # (ORIENTATIONS, SCALES, h, w)
    noise_gain: NDArray[np.float64]  # (ORIENTATIONS,): noise energy² over the median squared response


def fsim(image: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Feature similarity of two grey images.

    Parameters
    ----------
    image, truth : ndarray
        ``(H, W)``, unit range.

    Returns
    -------
    float
        1 for equal images.
    """
    return compare_features(image_features(image), image_features(truth))


def image_features(image: NDArray[np.floating]) -> Features:
    """The maps that FSIM compares, for an ``(H, W)`` image in the unit range.

    Worth keeping when one truth is compared with many images: they take nearly all of the time.
    """
    grey = _reduced(np.asarray(image, dtype=np.float32) * np.float32(255))
    return Features(_phase_congruency(grey), _gradient_magnitude(grey))


def compare_features(image: Features, truth: Features) -> float:
    """FSIM from the features of the two images: equations 4 to 7 of [1]."""
    phase = _similarity(image.phase_congruency, truth.phase_congruency, PHASE_CONSTANT)
    gradient = _similarity(image.gradient, truth.gradient, GRADIENT_CONSTANT)
    weight = np.maximum(image.phase_congruency, truth.phase_congruency)
    total = float(weight.sum(dtype=np.float64))
    if total == 0:  # two flat images have no features to differ in
        return 1.0
    return float((phase * gradient * weight).sum(dtype=np.float64) / total)


def _similarity(a: NDArray[np.float32], b: NDArray[np.float32], constant: float) -> NDArray[np.float32]:
    c = np.float32(constant)
    similarity: NDArray[np.float32] = ((2 * a * b + c) / (a * a + b * b + c)).astype(np.float32)
    return similarity


def _reduced(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over blocks, so that the shorter side comes near WORKING_SIZE; an incomplete last block is left out."""
    factor = max(1, round(min(grey.shape) / WORKING_SIZE))
    if factor == 1:
        return grey
    height, width = grey.shape[0] // factor, grey.shape[1] // factor
    blocks = grey[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def _gradient_magnitude(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scharr gradient, zero outside the image."""
    smooth = np.array([3, 10, 3], dtype=np.float32) / 16
    difference = np.array([-1, 0, 1], dtype=np.float32)
    along = [
        correlate1d(correlate1d(grey, difference, axis=axis, mode="constant"), smooth, axis=1 - axis, mode="constant")
        for axis in (0, 1)
    ]
    magnitude: NDArray[np.float32] = np.hypot(along[0], along[1])
    return magnitude


def _phase_congruency(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Phase congruency PC2 of [2] over all orientations, with its noise threshold."""
    epsilon = np.finfo(np.float32).eps
    filters = _filters(*grey.shape)
    spectrum = scipy.fft.fft2(grey)
    energy_sum = np.zeros(grey.shape, dtype=np.float32)
    amplitude_sum = np.zeros(grey.shape, dtype=np.float32)
    for orientation in range(ORIENTATIONS):
        response = scipy.fft.ifft2(spectrum * filters.bank[orientation], overwrite_x=True)  # (SCALES, h, w) complex
        even, odd = response.real, response.imag
        amplitude = np.abs(response)
        total = response.sum(axis=0)
        length = np.abs(total) + epsilon
        mean_even, mean_odd = total.real / length, total.imag / length
        # Sum over scales of A_n (cos(phase deviation) - |sin(phase deviation)|).
        energy = total.real * mean_even + total.imag * mean_odd
        energy -= np.abs(even * mean_odd - odd * mean_even).sum(axis=0)
        # The median squared response of the finest scale is mostly noise; it is Rayleigh distributed [2].
        finest = (amplitude[0] ** 2).ravel()
        middle = (finest.size - 1) // 2
        noise_energy2 = float(np.partition(finest, middle)[middle]) * float(filters.noise_gain[orientation])
        tau = math.sqrt(noise_energy2 / 2)
        threshold = tau * (math.sqrt(math.pi / 2) + NOISE_DEVIATIONS * math.sqrt(2 - math.pi / 2)) / NOISE_CORRECTION
        energy_sum += np.maximum(energy - np.float32(threshold), 0)
        amplitude_sum += amplitude.sum(axis=0)
    congruency: NDArray[np.float32] = (energy_sum + epsilon) / (amplitude_sum + epsilon)
    return congruency


@lru_cache(maxsize=8)
def _filters(height: int, width: int) -> _Filters:
    rows, columns = (_frequencies(size) for size in (height, width))
    radius = np.hypot(rows[:, None], columns[None, :])
    theta = np.arctan2(-np.broadcast_to(columns[None, :], radius.shape), rows[:, None])
    low_pass = 1 / (1 + (radius / 0.45) ** 30)  # keeps the corners of the spectrum out
    radius[0, 0] = 1  # any value but 0, whose logarithm is taken; the filters are 0 there

    bank = np.empty((ORIENTATIONS, SCALES, height, width))
    angular_sigma = math.pi / (ORIENTATIONS * ANGLE_RATIO)
    for orientation in range(ORIENTATIONS):
        angle = orientation * math.pi / ORIENTATIONS
        difference = np.abs(np.arctan2(np.sin(theta - angle), np.cos(theta - angle)))
        spread = np.exp(-(difference**2) / (2 * angular_sigma**2))
        for scale in range(SCALES):
            centre = 1 / (SMALLEST_WAVELENGTH * WAVELENGTH_RATIO**scale)
            band = np.exp(-(np.log(radius / centre) ** 2) / (2 * math.log(BANDWIDTH) ** 2)) * low_pass
            band[0, 0] = 0
            bank[orientation, scale] = band * spread

    # Expected noise energy² = 2 N (sum A_n² + 2 sum over pairs A_i A_j) with N the noise power, [2]; A_n are the
    # filters in the image domain. The two sums together are the squared sum of all scales.
    in_image = scipy.fft.ifft2(bank).real * math.sqrt(height * width)
    summed2 = (in_image.sum(axis=1) ** 2).sum(axis=(-2, -1))
    mean_over_median = -1 / math.log(0.5)
    noise_gain = 2 * mean_over_median * summed2 / (bank[:, 0] ** 2).sum(axis=(-2, -1))
    return _Filters(bank.astype(np.float32), noise_gain)


def _frequencies(size: int) -> NDArray[np.float64]:
    """Frequencies of an axis, zero first; an odd axis is divided by one less, as in the authors' code."""
    if size % 2:
        return np.fft.ifftshift(np.arange(-(size - 1) / 2, size / 2) / max(size - 1, 1))
    return np.fft.ifftshift(np.arange(-size / 2, size / 2) / size)
