"""Interpolation along dense optical flow: structures that move between two slices are followed, not faded.

Between slices a and b the flow is estimated both ways. At position u both are warped towards the depth,
``(1 - u) a(x - u F_ab(x)) + u b(x - (1 - u) F_ba(x))``: the first-order form of bidirectional frame interpolation
(Baker et al., "A database and evaluation methodology for optical flow", IJCV 2011, without its occlusion step).
"""

from __future__ import annotations

from threading import Lock
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss.priors.classical._pixelwise import BLUR_SIGMA_PIXELS, blur_slices, interpolate_linear, locate_gap

FlowMethod = Literal["tvl1", "dis"]
FLOW_METHODS: tuple[FlowMethod, ...] = ("tvl1", "dis")

# The cheapest setting of TV-L1 within 0.02 dB of the best found on FIB-SEM crops.
ATTACHMENT, WARPS, ITERATIONS = 15, 4, 10

AGREEMENT_SCALE = 0.08
"""Difference between two guesses (unit range) at which confidence falls to a half: about the noise of EM slices."""
AGREEMENT_SIGMA_PIXELS = 1.5
"""Blur of squared differences before they are looked at."""

_GAPS_KEPT = 4
"""Flow fields kept in memory at once; depths are usually asked in order, or a few gaps at a time."""


def optical_flow(
    source: NDArray[np.float32], target: NDArray[np.float32], method: FlowMethod = "tvl1"
) -> NDArray[np.float32]:
    """Dense displacement ``(2, H, W)`` (y, x; pixels) such that ``target(x + flow(x))`` looks like ``source(x)``.

    Parameters
    ----------
    source, target : ndarray
        ``(H, W)`` float32 in the unit range; blur noisy slices first.
    method : str
        ``tvl1``: scikit-image's TV-L1 (Zach, Pock and Bischof 2007), needs nothing else. ``dis``: OpenCV's DIS (Kroeger
        et al. 2016), about fifty times faster and slightly less accurate on membranes; needs opencv-python-headless.

    Raises
    ------
    ConfigError
        If the method is unknown or OpenCV is not installed.
    """
    if method == "tvl1":
        from skimage.registration import optical_flow_tvl1

        return optical_flow_tvl1(
            source, target, attachment=ATTACHMENT, num_warp=WARPS, num_iter=ITERATIONS, dtype=np.float32
        )
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


Flow = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Of a gap: from its upper slice to the lower one, and back."""


class FlowGap:
    """The two slices around a gap with the flow both ways, ready to be warped to any position in it."""

    def __init__(self, above: NDArray[np.float32], below: NDArray[np.float32], flow: Flow) -> None:
        self._above, self._below = above, below
        self._forward, self._backward = flow

    def warped(self, position: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Upper and lower slice, each warped to ``position`` in [0, 1]; where they agree the flow is right."""
        u = np.float32(position)
        return _warp(self._above, -u * self._forward), _warp(self._below, -(1 - u) * self._backward)

    def at(self, position: float) -> NDArray[np.float32]:
        """The slice at ``position`` in the gap, ``(H, W)``."""
        above, below = self.warped(position)
        u = np.float32(position)
        return (1 - u) * above + u * below


def _warp(image: NDArray[np.float32], displacement: NDArray[np.float32]) -> NDArray[np.float32]:
    """``image(x + displacement(x))``, linear between pixels, edge pixels continued outside."""
    from scipy.ndimage import map_coordinates

    grid = np.indices(image.shape, dtype=np.float32)
    out: NDArray[np.float32] = map_coordinates(image, grid + displacement, order=1, mode="nearest", output=np.float32)
    return out


class Flows:
    """Flow both ways in every gap of a stack, estimated when first needed and kept for a few gaps.

    It is estimated on blurred slices, since noise has no flow, and may be applied to others: two priors that differ
    only in the blur of what they carry along can share it.

    Parameters
    ----------
    images : ndarray
        ``(K, H, W)`` float32, unit range.
    method : str
        See `optical_flow`.
    sigma_pixels : float
        Blur of the images before flow is estimated; 0 where they are blurred already.
    """

    def __init__(
        self, images: NDArray[np.float32], *, method: FlowMethod = "tvl1", sigma_pixels: float = BLUR_SIGMA_PIXELS
    ) -> None:
        self._images, self._method, self._sigma = images, method, sigma_pixels
        self._found: dict[int, Flow] = {}
        self._lock = Lock()

    def of(self, index: int) -> Flow:
        """Flow of the gap below slice ``index``."""
        with self._lock:
            if index not in self._found:
                if len(self._found) >= _GAPS_KEPT:
                    del self._found[next(iter(self._found))]
                pair = self._images[index : index + 2]
                first, second = blur_slices(pair, self._sigma) if self._sigma > 0 else pair
                self._found[index] = (
                    optical_flow(first, second, self._method),
                    optical_flow(second, first, self._method),
                )
            return self._found[index]


def interpolate_flow(
    images: NDArray[np.float32],
    z_nm: NDArray[np.float64],
    at_nm: ArrayLike,
    *,
    method: FlowMethod = "tvl1",
    blurred: bool = False,
) -> NDArray[np.float32]:
    """Slices ``(n, H, W)`` at depths ``at_nm`` along both-way optical flow; ``blurred`` if they are that already."""
    depths = np.atleast_1d(np.asarray(at_nm, dtype=np.float64))
    out = np.empty((len(depths), *images.shape[1:]), dtype=np.float32)
    flows = Flows(images, method=method, sigma_pixels=0.0 if blurred else BLUR_SIGMA_PIXELS)
    for row, depth in enumerate(depths):
        index, position = locate_gap(z_nm, float(depth))
        out[row] = FlowGap(images[index], images[index + 1], flows.of(index)).at(position)
    return out


def interpolate_ensemble(
    images: NDArray[np.float32], z_nm: NDArray[np.float64], at_nm: ArrayLike, *, method: FlowMethod = "tvl1"
) -> NDArray[np.float32]:
    """Mean of linear and flow interpolation, both of blurred slices: the best method here that learns nothing."""
    smooth = blur_slices(images)
    linear = interpolate_linear(smooth, z_nm, at_nm)
    along_flow = interpolate_flow(smooth, z_nm, at_nm, method=method, blurred=True)
    return np.asarray((linear + along_flow) / 2, dtype=np.float32)
