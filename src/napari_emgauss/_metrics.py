"""Metrics of one image against the truth, and their means: PSNR, SSIM and FSIM of grey images in the unit range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_emgauss._fsim import Features

SSIM_SIGMA = 1.5  # pixels; Wang et al. 2004
SSIM_IN_DB = 16.0
"""How many dB of PSNR a unit of SSIM is worth: the rate between methods on FIB-SEM tissue (0.06 per dB)."""
SSIM_WINDOW = 11  # pixels: 2 * round(3.5 sigma) + 1, as scikit-image cuts the Gaussian off


@dataclass(frozen=True)
class Scores:
    """Scores of one image, or means over several; None is "could not be measured".

    Parameters
    ----------
    psnr : float or None
        dB; infinite for equal images.
    ssim : float or None
        1 for equal images; None where the image is narrower than its window.
    fsim : float or None
        1 for equal images.
    """

    psnr: float | None
    ssim: float | None
    fsim: float | None

    def as_dict(self) -> dict[str, float | None]:
        """The three numbers by name."""
        return asdict(self)


def psnr(image: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Peak signal-to-noise ratio in dB, of ``(H, W)`` images with data range 1; infinite for equal images."""
    from skimage.metrics import peak_signal_noise_ratio

    image, truth = np.asarray(image, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if np.array_equal(image, truth):  # scikit-image would divide by zero and warn
        return math.inf
    return float(peak_signal_noise_ratio(truth, image, data_range=1.0))


def ssim(image: NDArray[np.floating], truth: NDArray[np.floating]) -> float | None:
    """Structural similarity (Wang et al. 2004) of ``(H, W)`` images: Gaussian window of sigma 1.5, data range 1.

    None where a side is shorter than the window of 11 pixels.
    """
    from skimage.metrics import structural_similarity

    image, truth = np.asarray(image, dtype=np.float32), np.asarray(truth, dtype=np.float32)
    if min(image.shape) < SSIM_WINDOW:
        return None
    value = structural_similarity(
        truth, image, data_range=1.0, gaussian_weights=True, sigma=SSIM_SIGMA, use_sample_covariance=False
    )
    return float(value)


def compare(
    image: NDArray[np.floating],
    truth: NDArray[np.floating],
    *,
    truth_features: Features | None = None,
) -> Scores:
    """All three scores of ``image`` against ``truth``, both ``(H, W)`` in the unit range.

    Parameters
    ----------
    image, truth : ndarray
        ``(H, W)``.
    truth_features : Features, optional
        FSIM's maps of the truth, where they are known already.
    """
    from napari_emgauss._fsim import compare_features, image_features

    features = image_features(truth) if truth_features is None else truth_features
    return Scores(psnr(image, truth), ssim(image, truth), compare_features(image_features(image), features))


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Mean of each score over images; None where any image could not be measured, or where there is none."""
    return Scores(
        _mean([one.psnr for one in scores]), _mean([one.ssim for one in scores]), _mean([one.fsim for one in scores])
    )


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    if not numbers or len(numbers) < len(values):
        return None
    return float(np.mean(numbers))
