"""What hidden slices say of a guess: PSNR and SSIM as one number, and whether structure is left at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._metrics import SSIM_IN_DB, psnr, ssim

if TYPE_CHECKING:
    from napari_emgauss._fsim import Features

_MOST_DB = 120.0


def mean_score(guess: NDArray[np.float32], truth: NDArray[np.float32]) -> dict[str, float]:
    """Mean PSNR (dB) and SSIM over slices ``(n, H, W)``; no SSIM where slices are too small for its window."""
    pairs = list(zip(guess, truth, strict=True))
    # Equal slices would be infinitely good, and so would be their mean.
    score = {"psnr": float(np.mean([min(psnr(*pair), _MOST_DB) for pair in pairs]))}
    alike = [ssim(*pair) for pair in pairs]
    if measured := [value for value in alike if value is not None]:
        score["ssim"] = float(np.mean(measured))
    return score


def merit(score: dict[str, float]) -> float:
    """One number for a score, in dB: PSNR alone rewards blur, SSIM alone rewards texture in the wrong place."""
    return score["psnr"] + SSIM_IN_DB * score.get("ssim", 0.0)


class Structure:
    """How much of the truth's structure guesses keep: mean FSIM over slices.

    Parameters
    ----------
    truth : ndarray
        ``(n, H, W)`` in the unit range.
    """

    def __init__(self, truth: NDArray[np.float32]) -> None:
        from napari_emgauss._fsim import image_features

        self._features: list[Features] = [image_features(image) for image in truth]

    def of(self, guess: NDArray[np.float32]) -> float:
        """FSIM of ``(n, H, W)``."""
        from napari_emgauss._fsim import compare_features, image_features

        found = [compare_features(image_features(one), true) for one, true in zip(guess, self._features, strict=True)]
        return float(np.mean(found))
