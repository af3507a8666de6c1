"""Classical interpolation as `Prior` objects: nothing is learned, ``prepare`` is instant, ``at`` does the work.

Flow is estimated and followed on a CUDA device where there is one, see `_device_flow`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import BackendError, ConfigError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.priors._protocol import Interpolator, Observation, PseudoLabel
from napari_emgauss.priors.classical._flow import (
    AGREEMENT_SCALE,
    AGREEMENT_SIGMA_PIXELS,
    FLOW_METHODS,
    FlowGap,
    FlowMethod,
    Flows,
)
from napari_emgauss.priors.classical._pixelwise import (
    BLUR_SIGMA_PIXELS,
    blur_slices,
    interpolate_cubic,
    interpolate_linear,
    interpolate_nearest,
    locate_gap,
)

if TYPE_CHECKING:
    from napari_emgauss.priors.classical._device_flow import DeviceFlows

PixelwiseKind = Literal["nearest", "linear", "cubic"]

_PIXELWISE = {"nearest": interpolate_nearest, "linear": interpolate_linear, "cubic": interpolate_cubic}


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
        on_progress: OnProgress | None = None,
    ) -> Interpolator:
        """Blur the slices where asked; see `Prior.prepare`."""
        images = observation.images
        if self.blur_sigma_pixels > 0:
            images = blur_slices(images, self.blur_sigma_pixels)
        Progress(on_progress).tell(1.0, f"prior {self.name} ready")
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
    device : str
        ``auto`` (a CUDA device where there is one, if the method is ``tvl1``), ``cpu`` or ``cuda``.
    """

    name: str
    blur_sigma_pixels: float = BLUR_SIGMA_PIXELS
    with_linear: bool = False
    method: FlowMethod = "tvl1"
    device: str = "auto"

    def __post_init__(self) -> None:
        _check_sigma(self.blur_sigma_pixels)
        if self.method not in FLOW_METHODS:
            raise ConfigError(f"Unknown optical flow '{self.method}'; choose one of {', '.join(FLOW_METHODS)}.")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"Unknown device '{self.device}'; choose one of auto, cpu, cuda.")
        if self.device == "cuda" and self.method != "tvl1":
            raise ConfigError(f"Optical flow '{self.method}' does not run on a GPU; choose device 'cpu', or 'tvl1'.")

    def prepare(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> Interpolator:
        """Blur the slices where asked; the flow of a gap is computed when first needed. See `Prior.prepare`.

        Raises
        ------
        BackendError
            If ``cuda`` is asked for and there is none.
        """
        interpolator = self.along(observation, self.flows(observation))
        Progress(on_progress).tell(1.0, f"prior {self.name} ready")
        return interpolator

    def flows(self, observation: Observation) -> Flows | DeviceFlows:
        """Flow in every gap, on the chosen device: `along` takes it, also that of a prior that differs in its blur."""
        sigma = self.blur_sigma_pixels or BLUR_SIGMA_PIXELS
        if self.method == "tvl1" and chosen_device(self.device) == "cuda":
            import torch

            from napari_emgauss.priors.classical._device_flow import DeviceFlows

            return DeviceFlows(observation.images, torch.device("cuda"), sigma)
        return Flows(observation.images, method=self.method, sigma_pixels=sigma)

    def along(self, observation: Observation, flows: Flows | DeviceFlows) -> Interpolator:
        """Interpolate the slices, blurred where asked, along a flow that is known."""
        images = observation.images
        if self.blur_sigma_pixels > 0:
            images = blur_slices(images, self.blur_sigma_pixels)
        if isinstance(flows, Flows):
            return _FlowInterpolator(images, observation.z_nm, flows, self.with_linear)
        from napari_emgauss.priors.classical._device_flow import DeviceFlowInterpolator

        return DeviceFlowInterpolator(images, observation.z_nm, flows, with_linear=self.with_linear)


@dataclass(frozen=True)
class _FlowInterpolator:
    images: NDArray[np.float32]
    z_nm: NDArray[np.float64]
    flows: Flows
    with_linear: bool

    def at(self, z_nm: float) -> PseudoLabel:
        index, position = locate_gap(self.z_nm, z_nm)
        gap = FlowGap(self.images[index], self.images[index + 1], self.flows.of(index))
        above, below = gap.warped(position)
        u = np.float32(position)
        image = (1 - u) * above + u * below
        disagreement = above - below
        if self.with_linear:
            linear = (1 - u) * self.images[index] + u * self.images[index + 1]
            disagreement = image - linear
            image = (image + linear) / 2
        return PseudoLabel(image, agreement_confidence(disagreement))


def chosen_device(wanted: str, what: str = "optical flow") -> str:
    """``cpu`` or ``cuda``, from ``auto``, ``cpu`` or ``cuda``, for what is named in the error."""
    if wanted == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise BackendError(f"No CUDA device is available for {what}; choose device 'auto' or 'cpu'.")
    return "cpu"


def agreement_confidence(difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """Confidence ``s² / (s² + d²)`` in (0, 1] from the difference ``d`` of two guesses, smoothed over a few pixels."""
    from scipy.ndimage import gaussian_filter

    squared = gaussian_filter(np.square(difference, dtype=np.float32), AGREEMENT_SIGMA_PIXELS)
    scale = np.float32(AGREEMENT_SCALE**2)
    confidence: NDArray[np.float32] = (scale / (scale + squared)).astype(np.float32)
    return confidence


def _check_sigma(sigma_pixels: float) -> None:
    if not sigma_pixels >= 0:
        raise ConfigError(f"The blur of a prior must be 0 or more pixels, not {sigma_pixels}.")


# How the registry makes them. They take a device as all priors do; pixel by pixel there is no use for one.


def nearest_prior(*, device: str = "auto") -> PixelwisePrior:
    """The nearest slice."""
    return PixelwisePrior("nearest", "nearest")


def linear_prior(*, device: str = "auto") -> PixelwisePrior:
    """Straight lines between neighbours."""
    return PixelwisePrior("linear", "linear")


def cubic_prior(*, device: str = "auto") -> PixelwisePrior:
    """A cubic spline through all slices."""
    return PixelwisePrior("cubic", "cubic")


def blurred_linear_prior(*, blur_sigma_pixels: float = BLUR_SIGMA_PIXELS, device: str = "auto") -> PixelwisePrior:
    """Straight lines between blurred neighbours."""
    return PixelwisePrior("linear+blur", "linear", blur_sigma_pixels)


def flow_prior(*, method: FlowMethod = "tvl1", device: str = "auto") -> FlowPrior:
    """Along optical flow."""
    return FlowPrior("flow", 0.0, method=method, device=device)


def blurred_flow_prior(
    *, blur_sigma_pixels: float = BLUR_SIGMA_PIXELS, method: FlowMethod = "tvl1", device: str = "auto"
) -> FlowPrior:
    """Along optical flow, of blurred slices."""
    return FlowPrior("flow+blur", blur_sigma_pixels, method=method, device=device)


def flow_and_linear_prior(*, method: FlowMethod = "tvl1", device: str = "auto") -> FlowPrior:
    """Mean of flow and linear: the ensemble for stacks without noise, where a blur takes structure away."""
    return FlowPrior("flow+linear", 0.0, with_linear=True, method=method, device=device)


def ensemble_prior(
    *, blur_sigma_pixels: float = BLUR_SIGMA_PIXELS, method: FlowMethod = "tvl1", device: str = "auto"
) -> FlowPrior:
    """Mean of flow and linear, of blurred slices."""
    return FlowPrior("ensemble", blur_sigma_pixels, with_linear=True, method=method, device=device)
