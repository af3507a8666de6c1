"""Clouds as a fit has them, for the benchmarks of the renderers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SPREAD = 0.6
"""Sigma of a splat over the mean distance of splats: what fits end with, roughly."""


def cloud(
    side: int, count: int, *, batch: int = 1, channels: int = 1, seed: int = 0, device: str = "cpu"
) -> dict[str, Tensor]:
    """Arguments of ``splat``: means, conics, opacities, values, all of them leaves that gather gradients.

    Sigmas are ``SPREAD`` times the mean distance of splats, log-normal by a factor of 1.5 on each axis; opacities lie
    between 0.1 and 0.9.
    """
    random = torch.Generator().manual_seed(seed)
    means = torch.rand((batch, count, 2), generator=random) * side
    scale = SPREAD * side / math.sqrt(count)
    sigmas = scale * torch.exp(0.4 * torch.randn((batch, count, 2), generator=random))
    angles = torch.rand((batch, count), generator=random) * math.pi
    cosine, sine = torch.cos(angles), torch.sin(angles)
    p, q = sigmas[..., 0] ** -2, sigmas[..., 1] ** -2
    conics = torch.stack([cosine**2 * p + sine**2 * q, cosine * sine * (p - q), sine**2 * p + cosine**2 * q], -1)
    opacities = torch.rand((batch, count), generator=random) * 0.8 + 0.1
    values = torch.rand((count, channels), generator=random)
    tensors = {"means": means, "conics": conics, "opacities": opacities, "values": values}
    return {name: v.to(device).requires_grad_() for name, v in tensors.items()}
