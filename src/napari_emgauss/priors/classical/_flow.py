"""Interpolation along dense optical flow: structures that move between two slices are followed, not faded.

Between slices a and b the flow is estimated both ways. At position u both are warped towards the depth,
``(1 - u) a(x - u F_ab(x)) + u b(x - (1 - u) F_ba(x))``: the first-order form of bidirectional frame interpolation
(Baker et al., "A database and evaluation methodology for optical flow", IJCV 2011, without its occlusion step).
"""

from __future__ import annotations

from threading import Lock
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_emgauss._errors import ConfigError
from napari_emgauss._torch import uploaded
from napari_emgauss.priors._protocol import PseudoLabel
from napari_emgauss.priors.classical._pixelwise import (
    AGREEMENT_SCALE,
    AGREEMENT_SIGMA_PIXELS,
    BLUR_SIGMA_PIXELS,
    blur_slices,
    locate_gap,
)
from napari_emgauss.priors.classical._tvl1 import blurred, tvl1_flow, warp

FlowMethod = Literal["tvl1", "dis"]
FLOW_METHODS: tuple[FlowMethod, ...] = ("tvl1", "dis")

# Of a graphics card's memory. On a CPU two images at a time, and a few gaps kept: what stays in its caches is fastest.
_BYTES_A_PIXEL = 120
"""Memory of the solver for each pixel of each pair: flow, dual variables, gradients and what passes through."""
_MOST_PIXELS = 1 << 23
_BYTES_KEPT = 1 << 30
_SHARE_OF_MEMORY = 0.25
_GAPS_KEPT_ON_CPU = 4
"""Depths are usually asked in order, or a few gaps at a time."""


def optical_flow(
    source: NDArray[np.float32], target: NDArray[np.float32], method: FlowMethod = "tvl1"
) -> NDArray[np.float32]:
    """Dense displacement ``(2, H, W)`` (y, x; pixels) such that ``target(x + flow(x))`` looks like ``source(x)``.

    Parameters
    ----------
    source, target : ndarray
        ``(H, W)`` float32 in the unit range; blur noisy slices first.
    method : str
        ``tvl1``: TV-L1 (Zach, Pock and Bischof 2007), see `tvl1_flow`. ``dis``: OpenCV's DIS (Kroeger et al. 2016),
        several times as fast and slightly less accurate on membranes; needs opencv-python-headless.

    Raises
    ------
    ConfigError
        If the method is unknown or OpenCV is not installed.
    """
    if method == "tvl1":
        pair = (torch.as_tensor(np.ascontiguousarray(image, dtype=np.float32))[None] for image in (source, target))
        return np.asarray(tvl1_flow(*pair)[0].numpy())
    if method == "dis":
        try:
            import cv2
        except ImportError:
            raise ConfigError(
                "Optical flow 'dis' needs OpenCV: run pip install opencv-python-headless, or choose 'tvl1'."
            ) from None
        engine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        first, second = (np.clip(image * 255, 0, 255).astype(np.uint8) for image in (source, target))
        flow = engine.calc(first, second, None)
        return np.ascontiguousarray(np.moveaxis(flow, -1, 0)[::-1], dtype=np.float32)
    raise ConfigError(f"Unknown optical flow '{method}'; choose one of {', '.join(FLOW_METHODS)}.")


class Flows:
    """Flow both ways in every gap of a stack, estimated when first needed and kept for a few gaps.

    It is estimated on blurred slices, since noise has no flow, and may be applied to others: two priors that differ
    only in the blur of what they carry along can share it. A graphics card estimates neighbouring gaps together.

    Parameters
    ----------
    images : ndarray
        ``(K, H, W)`` float32, unit range.
    device : torch.device
        Where it is calculated and kept; the CPU by default.
    method : str
        See `optical_flow`; ``dis`` is calculated on the CPU.
    sigma_pixels : float
        Blur of the images before flow is estimated; 0 where they are blurred already.
    """

    def __init__(
        self,
        images: NDArray[np.float32],
        device: torch.device | None = None,
        *,
        method: FlowMethod = "tvl1",
        sigma_pixels: float = BLUR_SIGMA_PIXELS,
    ) -> None:
        self.device = torch.device("cpu") if device is None else device
        self._images, self._method, self._sigma = images, method, sigma_pixels
        self._groups: dict[int, Tensor] = {}
        self._lock = Lock()
        self._size, self._kept = _groups(images[0].size, self.device)

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
        sources, targets = torch.cat((above, below)), torch.cat((below, above))
        if self._method == "tvl1":
            flow = tvl1_flow(sources, targets)
        else:
            pairs = zip(sources.numpy(), targets.numpy(), strict=True)
            flow = torch.as_tensor(np.stack([optical_flow(*pair, self._method) for pair in pairs]))
        return flow.unflatten(0, (2, len(above))).movedim(1, 0)


def _groups(pixels: int, device: torch.device) -> tuple[int, int]:
    """Gaps whose flow is estimated together, and how many such groups are kept, for slices of so many pixels."""
    if device.type == "cpu":
        return 1, _GAPS_KEPT_ON_CPU
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 8 * _BYTES_KEPT
    at_once = min(_MOST_PIXELS, _SHARE_OF_MEMORY * free // _BYTES_A_PIXEL)
    size = max(1, int(at_once) // (2 * pixels))
    return size, max(1, int(min(_BYTES_KEPT, _SHARE_OF_MEMORY * free)) // (size * pixels * 16))


class FlowInterpolator:
    """Slices at any depth along the flow, calculated where the flow is; see `FlowPrior`.

    Parameters
    ----------
    images, z_nm : ndarray
        What is carried along the flow, ``(K, H, W)``, and depths (nm).
    flows : Flows
        Of the same slices.
    with_linear : bool
        Take the mean with linear interpolation.
    """

    def __init__(
        self, images: NDArray[np.float32], z_nm: NDArray[np.float64], flows: Flows, *, with_linear: bool
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


def interpolate_flow(
    images: NDArray[np.float32],
    z_nm: NDArray[np.float64],
    at_nm: ArrayLike,
    *,
    method: FlowMethod = "tvl1",
    blurred: bool = False,
) -> NDArray[np.float32]:
    """Slices ``(n, H, W)`` at depths ``at_nm`` along both-way optical flow; ``blurred`` if they are that already."""
    flows = Flows(images, method=method, sigma_pixels=0.0 if blurred else BLUR_SIGMA_PIXELS)
    return _at_all(FlowInterpolator(images, z_nm, flows, with_linear=False), at_nm)


def interpolate_ensemble(
    images: NDArray[np.float32], z_nm: NDArray[np.float64], at_nm: ArrayLike, *, method: FlowMethod = "tvl1"
) -> NDArray[np.float32]:
    """Mean of linear and flow interpolation, both of blurred slices: the best method here that learns nothing."""
    smooth = blur_slices(images)
    return _at_all(
        FlowInterpolator(smooth, z_nm, Flows(smooth, method=method, sigma_pixels=0.0), with_linear=True), at_nm
    )


def _at_all(interpolator: FlowInterpolator, at_nm: ArrayLike) -> NDArray[np.float32]:
    depths = np.atleast_1d(np.asarray(at_nm, dtype=np.float64))
    return np.stack([interpolator.at(float(depth)).image for depth in depths])
