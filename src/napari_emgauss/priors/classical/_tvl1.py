"""TV-L1 optical flow of many pairs of slices at once, in plain torch on any device.

Steps, settings and pyramid are those of ``skimage.registration.optical_flow_tvl1``: Zach, Pock and Bischof, "A duality
based approach for realtime TV-L1 optical flow", DAGM 2007, in the form of Pérez, Meinhardt-Llopis and Facciolo, IPOL
2013. Images and flows keep axes in the order y, x. Nothing here makes the host wait for a graphics card.

On a CPU thread it takes a fifth of the time of scikit-image's for the same flow.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_emgauss._torch import uploaded

# The cheapest setting within 0.02 dB of the best found on FIB-SEM crops.
_ATTACHMENT, _WARPS, _ITERATIONS = 15, 4, 10
# As scikit-image has them and we leave them.
_TIGHTNESS = 0.3
_TOLERANCE = 1e-4
_REGULARISATION_STEPS = 2
_TIME_STEP = 0.25
_SMALLEST_SIDE = 16
_MOST_LEVELS = 10
_SMALLEST_TO_HALVE = 64
_PYRAMID_SIGMA_PIXELS = 2 / 3


@torch.no_grad()
def tvl1_flow(source: Tensor, target: Tensor, *, halved: bool = False) -> Tensor:
    """Displacement ``(n, 2, H, W)`` (y, x; pixels) such that ``target(x + flow(x))`` looks like ``source(x)``.

    Parameters
    ----------
    source, target : Tensor
        ``(n, H, W)`` float32 in the unit range; blur noisy slices first.
    halved : bool
        Stop at half the resolution, which takes a quarter of the time, and enlarge what was found; for images of at
        least 64 pixels a side.
    """
    levels = [(source, target)]
    while len(levels) < _MOST_LEVELS and min(levels[-1][0].shape[1:]) > 2 * _SMALLEST_SIDE:
        levels.append((_halved(levels[-1][0]), _halved(levels[-1][1])))
    flow = source.new_zeros(len(source), 2, *levels[-1][0].shape[1:])
    halved = halved and min(source.shape[1:]) >= _SMALLEST_TO_HALVE
    for first, second in reversed(levels[1:] if halved else levels):
        flow = _solved(first, second, _resized(flow, first.shape[1:]))
    return _enlarged(flow, source.shape[1:]) if halved else flow


def _solved(source: Tensor, target: Tensor, flow: Tensor) -> Tensor:
    """One level of the pyramid: ``(n, H, W)`` twice and the flow to begin with."""
    step_limit = _ATTACHMENT * _TIGHTNESS
    tolerance = _TOLERANCE * source[0].numel()
    dual_y, dual_x = torch.zeros_like(flow), torch.zeros_like(flow)
    slope_y, slope_x = torch.zeros_like(flow), torch.zeros_like(flow)
    found, going = flow, torch.ones(len(flow), 1, 1, 1, dtype=torch.bool, device=flow.device)
    for _ in range(_WARPS):
        warped = warp(target, flow)
        gradient = _gradient(warped)
        square = gradient.square().sum(1)
        square.masked_fill_(square == 0, 1.0)
        constant = warped - source - (gradient * flow).sum(1)
        begun = flow
        for iteration in range(_ITERATIONS):
            # Data term
            residual = (gradient * flow).sum(1).add_(constant)
            step = residual.div_(square).clamp_(-step_limit, step_limit)
            pulled = torch.addcmul(flow, step[:, None], gradient, value=-1)
            if iteration == 0:
                begun = pulled
            # Regularisation term
            flow = pulled
            for _ in range(_REGULARISATION_STEPS):
                torch.sub(flow[..., 1:, :], flow[..., :-1, :], out=slope_y[..., :-1, :])
                torch.sub(flow[..., 1:], flow[..., :-1], out=slope_x[..., :-1])
                norm = slope_y.square().addcmul_(slope_x, slope_x).sqrt_().mul_(_TIME_STEP / _TIGHTNESS).add_(1.0)
                dual_y.add_(slope_y, alpha=-_TIME_STEP).div_(norm)
                dual_x.add_(slope_x, alpha=-_TIME_STEP).div_(norm)
                flow = pulled - dual_y
                flow.sub_(dual_x)
                flow[..., 1:, :].add_(dual_y[..., :-1, :])
                flow[..., 1:].add_(dual_x[..., :-1])
        # A pair that hardly moved any more is done: it keeps this flow while others go on.
        found = torch.where(going, flow, found)
        going = going & ((begun - flow).square_().sum((1, 2, 3), keepdim=True) >= tolerance)
        # A CPU's answer is there to be looked at; a graphics card's would have to be waited for.
        if flow.device.type == "cpu" and not bool(going.any()):
            break
    return found


def warp(images: Tensor, displacement: Tensor) -> Tensor:
    """``images(x + displacement(x))``, linear between pixels, edge pixels continued outside; ``(n, H, W)``."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device, dtype=images.dtype)[:, None]
    columns = torch.arange(width, device=images.device, dtype=images.dtype)
    y = (displacement[:, 0] + rows).mul_(2 / max(1, height - 1)).sub_(1)
    x = (displacement[:, 1] + columns).mul_(2 / max(1, width - 1)).sub_(1)
    grid = torch.stack((x, y), dim=-1)
    return F.grid_sample(images[:, None], grid, mode="bilinear", padding_mode="border", align_corners=True)[:, 0]


def _gradient(images: Tensor) -> Tensor:
    """Central differences ``(n, 2, H, W)``, one-sided at the edges, as those of ``numpy.gradient``."""
    out = images.new_empty(len(images), 2, *images.shape[1:])
    for axis in (0, 1):
        along, into = images.movedim(axis + 1, 0), out[:, axis].movedim(axis + 1, 0)
        into[1:-1] = (along[2:] - along[:-2]) / 2
        into[0] = along[1] - along[0]
        into[-1] = along[-1] - along[-2]
    return out


def _halved(images: Tensor) -> Tensor:
    """Half as many pixels, rounded up, of images blurred so that they have them."""
    size = [-(-length // 2) for length in images.shape[1:]]
    smooth = blurred(images, _PYRAMID_SIGMA_PIXELS)
    return F.interpolate(smooth[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _resized(flow: Tensor, size: torch.Size) -> Tensor:
    """The flow of a smaller level on a larger one: of the nearest pixel, and as much longer."""
    if flow.shape[2:] == size:
        return flow
    for axis, length in zip((2, 3), size, strict=True):
        before = flow.shape[axis]
        nearest = np.floor(np.arange(length) * ((before - 1) / max(1, length - 1)) + 0.5).astype(np.int64)
        flow = flow.index_select(axis, uploaded(nearest, flow.device))
        flow[:, axis - 2] *= length / before
    return flow


def _enlarged(flow: Tensor, size: torch.Size) -> Tensor:
    """The flow of images of half the size, straight between their pixels."""
    larger = F.interpolate(flow, size=size, mode="bilinear", align_corners=False)
    for axis in (0, 1):
        larger[:, axis] *= size[axis] / flow.shape[axis + 2]
    return larger


def blurred(images: Tensor, sigma_pixels: float) -> Tensor:
    """Gaussian blur of ``(n, H, W)`` images in their plane, mirrored at the edges, as SciPy's.

    As a sum of shifted images: a convolution may be calculated in ten bits on a graphics card.
    """
    radius = int(4.0 * sigma_pixels + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_pixels) ** 2)
    taps /= taps.sum()
    for axis in (1, 2):
        length = images.shape[axis]
        places = np.pad(np.arange(length), radius, mode="symmetric")
        padded = images.index_select(axis, uploaded(places, images.device))
        out = torch.zeros_like(images)
        for shift, tap in enumerate(taps):
            out.add_(padded.narrow(axis, shift, length), alpha=float(tap))
        images = out
    return images
