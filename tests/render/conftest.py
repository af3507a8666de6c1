"""Random clouds of every awkward kind, and the pixels where two correct renderers may disagree."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from napari_emgauss.render._formula import MAX_ALPHA, MIN_ALPHA


@dataclass
class Cloud:
    """Arguments of ``splat``."""

    means: Tensor
    conics: Tensor
    opacities: Tensor
    values: Tensor
    size: tuple[int, int]
    background: Tensor

    def inputs(self, dtype: torch.dtype, device: str = "cpu") -> list[Tensor]:
        """Leaves that gather gradients: means, conics, opacities, values, background."""
        tensors = (self.means, self.conics, self.opacities, self.values, self.background)
        return [t.to(device, dtype).clone().requires_grad_() for t in tensors]

    def undecided(self, margin: float = 2e-3) -> tuple[Tensor, Tensor]:
        """``(B, H, W)``: how many splats are within rounding of the cut, and where one is of the clamp at 0.99."""
        means, conics, opacities = (t.double() for t in (self.means, self.conics, self.opacities))
        height, width = self.size
        y = torch.arange(height) + 0.5
        x = torch.arange(width) + 0.5
        dx = x[None, None, None, :] - means[..., 0, None, None]
        dy = y[None, None, :, None] - means[..., 1, None, None]
        a, b, c = (conics[..., j, None, None] for j in range(3))
        sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
        opacities = opacities[..., None, None]
        at_cut = (sigma - torch.log(opacities / MIN_ALPHA)).abs() < margin
        at_clamp = (opacities * torch.exp(-sigma) - MAX_ALPHA).abs() < margin
        return at_cut.sum(1), at_clamp.any(1)


def _conics(sigmas: Tensor, angles: Tensor) -> Tensor:
    cosine, sine = torch.cos(angles), torch.sin(angles)
    p, q = sigmas[..., 0] ** -2, sigmas[..., 1] ** -2
    return torch.stack([cosine**2 * p + sine**2 * q, cosine * sine * (p - q), sine**2 * p + cosine**2 * q], -1)


def _make_cloud(
    kind: str, seed: int, *, size: tuple[int, int] = (23, 37), batch: int = 2, channels: int = 1, count: int = 40
) -> Cloud:
    random = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=random) * (high - low) + low

    height, width = size
    extent = torch.tensor([float(width), float(height)])
    means = uniform(-0.1, 1.1, batch, count, 2) * extent
    sigmas = torch.exp(uniform(math.log(0.4), math.log(6.0), batch, count, 2))
    opacities = uniform(0.02, 0.98, batch, count)
    if kind == "tiny":
        sigmas = torch.exp(uniform(math.log(0.03), math.log(0.5), batch, count, 2))
    elif kind == "huge":
        sigmas = torch.exp(uniform(math.log(20.0), math.log(500.0), batch, count, 2))
    elif kind == "thin":
        sigmas[..., 0] = 0.3
        sigmas[..., 1] = uniform(5.0, 12.0, batch, count)
    elif kind == "off-screen":
        means = (uniform(0.0, 1.0, batch, count, 2) - 0.5) * 4 * extent + extent / 2
    elif kind == "faint":
        opacities = uniform(0.5 * MIN_ALPHA, 3 * MIN_ALPHA, batch, count)
    elif kind == "opaque":
        opacities = uniform(0.97, 0.999, batch, count)
        sigmas = sigmas + 1.0
    elif kind == "stacked":
        means = uniform(0.4, 0.6, batch, count, 2) * extent
        sigmas = sigmas + 4.0
        opacities = uniform(0.9, 0.999, batch, count)
    elif kind != "mixed":
        raise ValueError(kind)
    angles = uniform(0.0, math.pi, batch, count)
    values = uniform(-0.2, 1.2, count, channels)
    return Cloud(means, _conics(sigmas, angles), opacities, values, size, uniform(0.0, 1.0, channels))


CLOUD_KINDS = ("mixed", "tiny", "huge", "thin", "off-screen", "faint", "opaque", "stacked")


@pytest.fixture
def make_cloud() -> Callable[..., Cloud]:
    return _make_cloud


@pytest.fixture(params=CLOUD_KINDS)
def cloud_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
