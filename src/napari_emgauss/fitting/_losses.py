"""Losses of the fit: L1 (or Charbonnier) and D-SSIM, the latter with its gradient written out."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_emgauss._torch import constant

SSIM_RADIUS = 5
SSIM_SIGMA = 1.5
_C1 = 0.01**2
_C2 = 0.03**2


def charbonnier(difference: Tensor, epsilon: float) -> Tensor:
    """``sqrt(d² + ε²) - ε`` per pixel: |d| for ``epsilon`` 0, about d²/2ε for differences well below it."""
    if epsilon == 0.0:
        return difference.abs()
    return torch.sqrt(difference * difference + epsilon * epsilon) - epsilon


@lru_cache(maxsize=8)
def _taps() -> tuple[float, ...]:
    offsets = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    taps = np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    return tuple(float(v) for v in taps / taps.sum())


@lru_cache(maxsize=32)
def _border_gain(length: int, device: str, dtype: torch.dtype) -> Tensor:
    """What the truncated window misses at each position along an axis, inverted."""
    taps = np.asarray(_taps())
    total = np.convolve(np.ones(length), taps, mode="full")[SSIM_RADIUS : SSIM_RADIUS + length]
    return torch.as_tensor(1.0 / total, dtype=dtype, device=device)


def _blur_axis(x: Tensor, axis: int) -> Tensor:
    """Zero-padded Gaussian blur along one axis: shifted sums, which on a CPU beat a one-channel convolution."""
    taps = _taps()
    length = x.shape[axis]
    out = x * taps[SSIM_RADIUS]
    for shift in range(1, min(SSIM_RADIUS, length - 1) + 1):
        weight = taps[SSIM_RADIUS + shift]
        inner = length - shift
        out.narrow(axis, 0, inner).add_(x.narrow(axis, shift, inner), alpha=weight)
        out.narrow(axis, shift, inner).add_(x.narrow(axis, 0, inner), alpha=weight)
    return out


def _blur(x: Tensor) -> Tensor:
    if x.is_cuda:
        return _blur_by_convolution(x)
    return _blur_axis(_blur_axis(x, -1), -2)


def _blur_by_convolution(x: Tensor) -> Tensor:
    """The same blur in two launches, where forty-four of shifted sums would cost more than their arithmetic."""
    taps = constant(x, *_taps())
    planes = x.reshape(-1, 1, *x.shape[-2:])
    # TensorFloat-32 keeps ten bits: variances are differences of such blurs, and would be noise.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        planes = F.conv2d(planes, taps[None, None, None, :], padding=(0, SSIM_RADIUS))
        planes = F.conv2d(planes, taps[None, None, :, None], padding=(SSIM_RADIUS, 0))
    return planes.reshape(x.shape)


def _gain(x: Tensor) -> Tensor:
    rows = _border_gain(x.shape[-2], str(x.device), x.dtype)
    columns = _border_gain(x.shape[-1], str(x.device), x.dtype)
    return rows[:, None] * columns


class _Ssim(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        gain = _gain(x)
        mean_x, mean_y, xx, yy, xy = _blur(torch.stack([x, y, x * x, y * y, x * y])) * gain
        a1 = 2 * mean_x * mean_y + _C1
        a2 = 2 * (xy - mean_x * mean_y) + _C2
        b1 = mean_x * mean_x + mean_y * mean_y + _C1
        b2 = xx - mean_x * mean_x + yy - mean_y * mean_y + _C2
        ssim = a1 * a2 / (b1 * b2)
        ctx.save_for_backward(x, y, mean_x, mean_y, a1, a2, b1, b2, ssim, gain)
        return ssim

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (grad,) = grad_outputs
        x, y, mean_x, mean_y, a1, a2, b1, b2, ssim, gain = ctx.saved_tensors
        by_xx = -ssim / b2
        by_xy = 2 * a1 / (b1 * b2)
        by_mean = 2 * (mean_y * a2 / (b1 * b2) - ssim * mean_x / b1) - 2 * mean_x * by_xx - mean_y * by_xy
        # The blur is symmetric; only the border's gain has to be applied before it instead of after.
        to_mean, to_xx, to_xy = _blur(torch.stack([by_mean, by_xx, by_xy]) * (grad * gain))
        return to_mean + 2 * x * to_xx + y * to_xy, None


def ssim_map(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity per pixel, Gaussian window σ 1.5 (11 pixels), renormalised at the border.

    Wang et al. 2004 with population covariances and data range 1. Differentiable in ``image`` only.

    Parameters
    ----------
    image, target : Tensor
        ``(..., H, W)``, unit range.
    """
    result: Tensor = _Ssim.apply(image, target)
    return result


def reconstruction_loss(
    image: Tensor, target: Tensor, *, dssim_weight: float, epsilon: float, confidence: Tensor | None = None
) -> Tensor:
    """``(1 - w) · L1 + w · (1 - SSIM)``, mean over pixels (3D Gaussian splatting, section 7, w = 0.2).

    Parameters
    ----------
    image, target : Tensor
        ``(..., H, W)``, unit range.
    dssim_weight : float
        ``w``.
    epsilon : float
        Of the Charbonnier loss in place of L1; 0 is L1.
    confidence : Tensor, optional
        Weight per pixel in [0, 1].
    """
    pixel = charbonnier(image - target, epsilon)
    loss = (pixel if confidence is None else pixel * confidence).mean() * (1.0 - dssim_weight)
    if dssim_weight > 0:
        dissimilar = 1.0 - ssim_map(image, target)
        loss = loss + dssim_weight * (dissimilar if confidence is None else dissimilar * confidence).mean()
    return loss
