"""Metrics are public here; they lie on the ground floor, where priors use them too."""

from napari_emgauss._fsim import fsim as fsim
from napari_emgauss._metrics import (
    Scores as Scores,
    compare as compare,
    mean_scores as mean_scores,
    psnr as psnr,
    ssim as ssim,
)
