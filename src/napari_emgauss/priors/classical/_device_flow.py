"""TV-L1 optical flow of many pairs of slices at once in plain torch, and what interpolates along it, on a device.

Steps, settings and pyramid are those of ``skimage.registration.optical_flow_tvl1``: Zach, Pock and Bischof, "A duality
based approach for realtime TV-L1 optical flow", DAGM 2007, in the form of Pérez, Meinhardt-Llopis and Facciolo, IPOL
2013. Images and flows keep axes in the order y, x. Nothing here makes the host wait before a finished slice is fetched.
"""

from __future__ import annotations

from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_emgauss._torch import uploaded
from napari_emgauss.priors._protocol import PseudoLabel
from napari_emgauss.priors.classical._flow import AGREEMENT_SCALE, AGREEMENT_SIGMA_PIXELS, ATTACHMENT, ITERATIONS, WARPS
from napari_emgauss.priors.classical._pixelwise import BLUR_SIGMA_PIXELS, locate_gap

# As scikit-image has them and we leave them.
_TIGHTNESS = 0.3
_TOLERANCE = 1e-4
_REGULARISATION_STEPS = 2
_TIME_STEP = 0.25
_SMALLEST_SIDE = 16
_MOST_LEVELS = 10
_PYRAMID_SIGMA_PIXELS = 2 / 3

_BYTES_A_PIXEL = 120
"""Memory of the solver for each pixel of each pair: flow, dual variables, gradients and what passes through."""
_MOST_PIXELS = 1 << 23
_BYTES_KEPT = 1 << 30
_SHARE_OF_MEMORY = 0.25


@torch.no_grad()
def tvl1_flow(source: Tensor, target: Tensor) -> Tensor:
    """Displacement ``(n, 2, H, W)`` (y, x; pixels) such that ``target(x + flow(x))`` looks like ``source(x)``.

    Parameters
    ----------
    source, target : Tensor
        ``(n, H, W)`` float32 in the unit range; blur noisy slices first.
    """
    levels = [(source, target)]
    while len(levels) < _MOST_LEVELS and min(levels[-1][0].shape[1:]) > 2 * _SMALLEST_SIDE:
        levels.append((_halved(levels[-1][0]), _halved(levels[-1][1])))
    flow = source.new_zeros(len(source), 2, *levels[-1][0].shape[1:])
    for first, second in reversed(levels):
        flow = _solved(first, second, _resized(flow, first.shape[1:]))
    return flow


def _solved(source: Tensor, target: Tensor, flow: Tensor) -> Tensor:
    """One level of the pyramid: ``(n, H, W)`` twice and the flow to begin with."""
    step_limit = ATTACHMENT * _TIGHTNESS
    tolerance = _TOLERANCE * source[0].numel()
    dual_y, dual_x = torch.zeros_like(flow), torch.zeros_like(flow)
    slope_y, slope_x = torch.zeros_like(flow), torch.zeros_like(flow)
    found, going = flow, torch.ones(len(flow), 1, 1, 1, dtype=torch.bool, device=flow.device)
    for _ in range(WARPS):
        warped = warp(target, flow)
        gradient = _gradient(warped)
        square = gradient.square().sum(1)
        square.masked_fill_(square == 0, 1.0)
        constant = warped - source - (gradient * flow).sum(1)
        begun = flow
        for iteration in range(ITERATIONS):
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


class DeviceFlows:
    """Flow both ways in every gap of a stack, estimated for neighbouring gaps together when one is first needed.

    Parameters
    ----------
    images : ndarray
        ``(K, H, W)`` float32, unit range.
    device : torch.device
        Where it is calculated and kept.
    sigma_pixels : float
        Blur of the images before flow is estimated; 0 where they are blurred already.
    """

    def __init__(
        self, images: NDArray[np.float32], device: torch.device, sigma_pixels: float = BLUR_SIGMA_PIXELS
    ) -> None:
        self.device = device
        self._images, self._sigma = images, sigma_pixels
        self._groups: dict[int, Tensor] = {}
        self._lock = Lock()
        pixels = images[0].size
        self._size = max(1, _pixels_at_once(device) // (2 * pixels))
        self._kept = max(1, _bytes_kept(device) // (self._size * pixels * 16))

    def of(self, index: int) -> Tensor:
        """Flow ``(2, 2, H, W)`` of the gap below slice ``index``: from its upper slice to the lower one, and back."""
        with self._lock:
            group, place = divmod(index, self._size)
            if group not in self._groups:
                if len(self._groups) >= self._kept:
                    del self._groups[next(iter(self._groups))]
                self._groups[group] = self._estimated(group * self._size)
            return self._groups[group][place]

    @torch.no_grad()
    def _estimated(self, start: int) -> Tensor:
        images = uploaded(np.ascontiguousarray(self._images[start : start + self._size + 1]), self.device)
        if self._sigma > 0:
            images = blurred(images, self._sigma)
        above, below = images[:-1], images[1:]
        flow = tvl1_flow(torch.cat((above, below)), torch.cat((below, above)))
        return flow.unflatten(0, (2, len(above))).movedim(1, 0)


def _pixels_at_once(device: torch.device) -> int:
    if device.type != "cuda":
        return _MOST_PIXELS // 8
    free, _ = torch.cuda.mem_get_info(device)
    return int(min(_MOST_PIXELS, _SHARE_OF_MEMORY * free // _BYTES_A_PIXEL))


def _bytes_kept(device: torch.device) -> int:
    if device.type != "cuda":
        return _BYTES_KEPT // 4
    free, _ = torch.cuda.mem_get_info(device)
    return int(min(_BYTES_KEPT, _SHARE_OF_MEMORY * free))


class DeviceFlowInterpolator:
    """Slices at any depth along the flow, on its device; see `FlowPrior`.

    Parameters
    ----------
    images, z_nm : ndarray
        What is carried along the flow, ``(K, H, W)``, and depths (nm).
    flows : DeviceFlows
        Of the same slices.
    with_linear : bool
        Take the mean with linear interpolation.
    """

    def __init__(
        self, images: NDArray[np.float32], z_nm: NDArray[np.float64], flows: DeviceFlows, *, with_linear: bool
    ) -> None:
        self._images, self._z_nm, self._flows, self._with_linear = images, z_nm, flows, with_linear

    @torch.no_grad()
    def at(self, z_nm: float) -> PseudoLabel:
        """Slice and confidence at a depth; see `Interpolator.at`."""
        index, u = locate_gap(self._z_nm, z_nm)
        pair = uploaded(np.ascontiguousarray(self._images[index : index + 2]), self._flows.device)
        flow = self._flows.of(index)
        above, below = warp(pair, torch.stack((-u * flow[0], -(1 - u) * flow[1])))
        image = (1 - u) * above + u * below
        disagreement = above - below
        if self._with_linear:
            linear = (1 - u) * pair[0] + u * pair[1]
            disagreement = image - linear
            image = (image + linear) / 2
        scale = AGREEMENT_SCALE**2
        squared = blurred(disagreement.square()[None], AGREEMENT_SIGMA_PIXELS)[0]
        found = torch.stack((image, scale / (scale + squared))).cpu().numpy()
        return PseudoLabel(found[0], found[1])
