"""Metrics are public here; they lie on the ground floor, where priors use them too."""

from napari_emgauss._fsim import fsim as fsim
from napari_emgauss._metrics import Scores as Scores
from napari_emgauss._metrics import compare as compare
from napari_emgauss._metrics import mean_scores as mean_scores
from napari_emgauss._metrics import psnr as psnr
from napari_emgauss._metrics import ssim as ssim
