"""Effort of the self-supervised prior."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from napari_emgauss._errors import ConfigError

Effort = Literal["fast", "default", "best"]


@dataclass(frozen=True)
class SelfPriorConfig:
    """Effort of the self-supervised prior. Work is counted in steps, not seconds, so that a seed fixes the result.

    Parameters
    ----------
    iterations : int
        Training steps.
    channels : tuple of int
        Width of the network, see `NetworkConfig`.
    rotations_deg : tuple of float
        Families of planes used, see `PlaneDirections`.
    mirrored : bool
        Average mirrored planes.
    correction : float
        How much of what a network that knows phantoms would change in the fused slices is changed, in [0, 1]; see
        `FusionNetwork`. Not all: it learned from priors that were trained more briefly and leave more to correct.
    carried : float
        Share of the observed slices in what is inferred, carried along the motion that the inferred slices show, in
        [0, 1); see `carried_slices`.
    final_blur_pixels : float
        In-plane Gaussian blur of the fused slices, to take off what noise is left there.
    warm_start : bool
        Start from weights learned on generated phantoms, where there are some of this size, instead of from nothing:
        far better after a hundred steps; after a thousand it makes no difference.
    equivalent_gap : bool
        Drop rows as far apart as slices look, not as far as they are said to be; see `equivalent_gap_ratio`.
    device : str
        ``auto`` (a CUDA device where there is one), ``cpu`` or ``cuda``.
    least_iterations : int or None
        Training steps where more would not pay: half of them tell by how fast the error falls. None: always
        ``iterations``.
    """

    iterations: int = 1500
    channels: tuple[int, ...] = (48, 64, 96)
    rotations_deg: tuple[float, ...] = (0.0, 45.0)
    mirrored: bool = True
    correction: float = 0.85
    carried: float = 0.2
    final_blur_pixels: float = 0.0
    warm_start: bool = False
    equivalent_gap: bool = True
    device: str = "auto"
    least_iterations: int | None = 600

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ConfigError(f"The prior 'self' needs at least one training iteration, not {self.iterations}.")
        if self.least_iterations is not None and self.least_iterations < 1:
            raise ConfigError(f"The prior 'self' needs at least one training iteration, not {self.least_iterations}.")
        if not self.channels or min(self.channels) < 1:
            raise ConfigError("The prior 'self' needs at least one channel at every width.")
        if not self.rotations_deg:
            raise ConfigError("The prior 'self' needs at least one direction of planes; 0 stands for xz and yz.")
        if not 0 <= self.correction <= 1:
            raise ConfigError(f"The correction of the prior 'self' must lie between 0 and 1, not {self.correction}.")
        if not 0 <= self.carried < 1:
            raise ConfigError(
                f"The share of carried slices of the prior 'self' must be from 0 to below 1, not {self.carried}."
            )
        if not self.final_blur_pixels >= 0:
            raise ConfigError(f"The blur of a prior must be 0 or more pixels, not {self.final_blur_pixels}.")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"Unknown device '{self.device}'; choose one of auto, cpu, cuda.")


EFFORTS: dict[str, dict[str, Any]] = {
    "fast": {"iterations": 90, "rotations_deg": (0.0,), "mirrored": False, "warm_start": True},
    "default": {},
    "best": {"iterations": 4500, "least_iterations": None, "channels": (64, 96, 128)},
}
"""What an effort changes in `SelfPriorConfig`."""

_TRIAL_ITERATIONS = 80


def trial_config(config: SelfPriorConfig, most_iterations: int = _TRIAL_ITERATIONS) -> SelfPriorConfig:
    """A quicker version for a trial on hidden slices: a third of the steps, from weights that know phantoms."""
    return replace(
        config,
        iterations=min(most_iterations, max(1, config.iterations // 3)),
        rotations_deg=(0.0,),
        mirrored=False,
        warm_start=True,
    )
