"""Interpolation pixel by pixel as `Prior` objects: nothing is learned, ``prepare`` is instant, ``at`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import BackendError, ConfigError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.priors._protocol import Interpolator, Observation, PseudoLabel
from napari_emgauss.priors.classical._pixelwise import (
    BLUR_SIGMA_PIXELS,
    blur_slices,
    interpolate_cubic,
    interpolate_linear,
    interpolate_nearest,
)

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
        check_sigma(self.blur_sigma_pixels)

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


def check_sigma(sigma_pixels: float) -> None:
    """Refuse a blur that cannot be."""
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
