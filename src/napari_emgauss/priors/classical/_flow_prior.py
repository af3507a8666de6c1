"""Interpolation along optical flow as `Prior` objects; on a CUDA device where there is one."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from napari_emgauss._errors import ConfigError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.priors._protocol import Interpolator, Observation
from napari_emgauss.priors.classical._flow import FLOW_METHODS, FlowInterpolator, FlowMethod, Flows
from napari_emgauss.priors.classical._pixelwise import BLUR_SIGMA_PIXELS, blur_slices
from napari_emgauss.priors.classical._priors import check_sigma, chosen_device


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
        check_sigma(self.blur_sigma_pixels)
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

    def flows(self, observation: Observation) -> Flows:
        """Flow in every gap, on the chosen device: `along` takes it, also that of a prior that differs in its blur."""
        device = chosen_device(self.device) if self.method == "tvl1" else "cpu"
        sigma = self.blur_sigma_pixels or BLUR_SIGMA_PIXELS
        return Flows(observation.images, torch.device(device), method=self.method, sigma_pixels=sigma)

    def along(self, observation: Observation, flows: Flows) -> FlowInterpolator:
        """Interpolate the slices, blurred where asked, along a flow that is known."""
        images = observation.images
        if self.blur_sigma_pixels > 0:
            images = blur_slices(images, self.blur_sigma_pixels)
        return FlowInterpolator(images, observation.z_nm, flows, with_linear=self.with_linear)


# How the registry makes them.


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
