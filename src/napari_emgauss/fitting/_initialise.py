"""Where Gaussians start: on image gradients of all slices, and partly anywhere (guide: method, section 3)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from napari_emgauss.model import GaussianModel

_START_OPACITY = 0.5
# One Gaussian covers its share of the image with this many standard deviations to each side.
_START_SPREAD = 0.7


@torch.no_grad()
def initialise(
    model: GaussianModel, images: NDArray[np.float32], uniform_share: float, rng: np.random.Generator
) -> None:
    """Place, size and colour the canonical Gaussians of every depth window from its own slices.

    Every Gaussian takes one slice of its window: its position is drawn there, with a probability that follows the
    gradient, and its grey value is that slice's at this place.

    Parameters
    ----------
    model : GaussianModel
        A fresh model.
    images : ndarray
        ``(K, H, W)``, or ``(K, C, H, W)`` with several channels, unit range.
    uniform_share : float
        Share of Gaussians that ignore the gradient.
    rng : numpy Generator
        The fit's randomness.
    """
    # Edges of any channel count; each Gaussian takes the grey values of all.
    images = images[:, None] if images.ndim == 3 else images
    *_, height, width = images.shape
    for window, cloud in zip(model.windows, model.cloud_list, strict=True):
        count = len(cloud)
        slices = images[window.first : window.last + 1]
        of_slice = np.sort(rng.integers(0, len(slices), count))
        flat = np.empty(count, dtype=np.int64)
        for k, image in enumerate(slices):
            mine = np.flatnonzero(of_slice == k)
            flat[mine] = rng.choice(height * width, size=len(mine), p=_density(image, uniform_share))
        # The blending order is the index order: slices must not hide one another systematically.
        order = rng.permutation(count)
        of_slice, flat = of_slice[order], flat[order]
        rows, columns = np.divmod(flat, width)
        jitter = rng.random((count, 2))
        means = np.stack([columns, rows], axis=1) + jitter
        values = slices[of_slice, :, rows, columns]
        spacing = math.sqrt(height * width / count)
        device = cloud.means.device
        cloud.means.copy_(torch.as_tensor(means, dtype=torch.float32, device=device))
        cloud.values.copy_(torch.as_tensor(values, dtype=torch.float32, device=device))
        cloud.log_scales.fill_(math.log(_START_SPREAD * spacing))
        cloud.rotations.copy_(torch.as_tensor(rng.uniform(0, math.pi, count), dtype=torch.float32, device=device))
        cloud.opacity_logits.fill_(math.log(_START_OPACITY / (1 - _START_OPACITY)))


def _density(image: NDArray[np.float32], uniform_share: float) -> NDArray[np.float64]:
    """Probability of each pixel of ``(C, H, W)`` to get a Gaussian, flat."""
    rows, columns = np.gradient(image.astype(np.float64), axis=(1, 2))
    edges = np.hypot(rows, columns).mean(axis=0).ravel()
    total = edges.sum()
    even = np.full(edges.size, 1.0 / edges.size)
    if total <= 0:
        return even
    density = uniform_share * even + (1.0 - uniform_share) * edges / total
    return np.asarray(density / density.sum())
