"""Classical interpolation as `Prior` objects: nothing is learned, ``prepare`` is instant, ``at`` does the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss.priors._flow import FLOW_METHODS, FlowGap, FlowMethod, flow_gap
from napari_emgauss.priors._interpolation import (
    BLUR_SIGMA_PIXELS,
    blur_slices,
    interpolate_cubic,
    interpolate_linear,
    interpolate_nearest,
    locate_gap,
)
from napari_emgauss.priors._protocol import Interpolator, Observation, PriorProgress, PseudoLabel

PixelwiseKind = Literal["nearest", "linear", "cubic"]

_PIXELWISE = {"nearest": interpolate_nearest, "linear": interpolate_linear, "cubic": interpolate_cubic}

_GAPS_KEPT = 4
"""Flow fields kept in memory at once; depths are usually asked in order, or a few gaps at a time."""


@dataclass(frozen=True)
class PixelwisePrior:
    """Interpolates each pixel along z on its own.

    Parameters
    ----------
    name : str
        How settings call it.
    kind : str
        ``nearest``, ``linear`` or ``cubic``.
    blur_sigma_pixels : float
        Blur of the slices beforehand; 0 leaves them as they are.
    """

    name: str
    kind: PixelwiseKind
    blur_sigma_pixels: float = 0.0

    def __post_init__(self) -> None:
        _check_sigma(self.blur_sigma_pixels)

    def prepare(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        on_progress: Callable[[PriorProgress], None] | None = None,
    ) -> Interpolator:
        """Blur the slices where asked; see `Prior.prepare`."""
        images = observation.images
        if self.blur_sigma_pixels > 0:
            images = blur_slices(images, self.blur_sigma_pixels)
        _tell_ready(on_progress, self.name)
        return _PixelwiseInterpolator(self.kind, images, observation.z_nm)


@dataclass(frozen=True)
class _PixelwiseInterpolator:
    kind: PixelwiseKind
    images: NDArray[np.float32]
    z_nm: NDArray[np.float64]

    def at(self, z_nm: float) -> PseudoLabel:
        return PseudoLabel(_PIXELWISE[self.kind](self.images, self.z_nm, z_nm)[0])


@dataclass(frozen=True)
class FlowPrior:
    """Interpolates along optical flow, or the mean of that and linear interpolation.

    Parameters
    ----------
    name : str
        How settings call it.
    blur_sigma_pixels : float
        Blur of the slices beforehand; 0 leaves them as they are.
    with_linear : bool
        Take the mean with linear interpolation (the ``ensemble``).
    method : str
        Flow method, see `optical_flow`.
    """

    name: str
    blur_sigma_pixels: float = BLUR_SIGMA_PIXELS
    with_linear: bool = False
    method: FlowMethod = "tvl1"

    def __post_init__(self) -> None:
        _check_sigma(self.blur_sigma_pixels)
        if self.method not in FLOW_METHODS:
            raise ConfigError(f"Unknown optical flow '{self.method}'; choose one of {', '.join(FLOW_METHODS)}.")

    def prepare(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        on_progress: Callable[[PriorProgress], None] | None = None,
    ) -> Interpolator:
        """Blur the slices where asked; the flow of a gap is computed when first needed. See `Prior.prepare`."""
        images = observation.images
        if self.blur_sigma_pixels > 0:
            images = blur_slices(images, self.blur_sigma_pixels)
        _tell_ready(on_progress, self.name)
        return _FlowInterpolator(self, images, observation.z_nm)


@dataclass
class _FlowInterpolator:
    prior: FlowPrior
    images: NDArray[np.float32]
    z_nm: NDArray[np.float64]
    _gaps: dict[int, FlowGap] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def at(self, z_nm: float) -> PseudoLabel:
        index, position = locate_gap(self.z_nm, z_nm)
        above, below = self._gap(index).warped(position)
        u = np.float32(position)
        image = (1 - u) * above + u * below
        disagreement = above - below
        if self.prior.with_linear:
            linear = (1 - u) * self.images[index] + u * self.images[index + 1]
            disagreement = image - linear
            image = (image + linear) / 2
        return PseudoLabel(image, agreement_confidence(disagreement))

    def _gap(self, index: int) -> FlowGap:
        with self._lock:
            if index not in self._gaps:
                if len(self._gaps) >= _GAPS_KEPT:
                    del self._gaps[next(iter(self._gaps))]
                self._gaps[index] = flow_gap(
                    self.images, index, method=self.prior.method, blurred=self.prior.blur_sigma_pixels > 0
                )
            return self._gaps[index]


AGREEMENT_SCALE = 0.08
"""Difference between two guesses (unit range) at which confidence falls to a half: about the noise of EM slices."""


def agreement_confidence(difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """Confidence ``s² / (s² + d²)`` in (0, 1] from the difference ``d`` of two guesses, smoothed over a few pixels."""
    from scipy.ndimage import gaussian_filter

    squared = gaussian_filter(np.square(difference, dtype=np.float32), 1.5)
    scale = np.float32(AGREEMENT_SCALE**2)
    confidence: NDArray[np.float32] = (scale / (scale + squared)).astype(np.float32)
    return confidence


def _check_sigma(sigma_pixels: float) -> None:
    if not sigma_pixels >= 0:
        raise ConfigError(f"The blur of a prior must be 0 or more pixels, not {sigma_pixels}.")


def _tell_ready(on_progress: Callable[[PriorProgress], None] | None, name: str) -> None:
    if on_progress is not None:
        on_progress(PriorProgress(1.0, text=f"prior {name} ready"))
