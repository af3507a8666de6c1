"""Canonical Gaussians and their deformation over depth (paper, section 3; ``docs/architecture.md`` for conventions)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_emgauss.model._config import ModelConfig
from napari_emgauss.model._field import make_field
from napari_emgauss.model._windows import DepthWindow, depth_windows, knots_of

CANONICAL = ("means", "log_scales", "rotations", "opacity_logits", "values")


@dataclass(frozen=True)
class Splats:
    """2D Gaussians at ``B`` depths as ``render.splat`` takes them.

    Parameters
    ----------
    means : Tensor
        ``(B, N, 2)``, (x, y) pixels, pixel centres at +0.5.
    conics : Tensor
        ``(B, N, 3)``: (a, b, c) of the inverse covariance ``[[a, b], [b, c]]``, 1/pixel².
    opacities : Tensor
        ``(B, N)`` in (0, 1).
    values : Tensor
        ``(N, C)`` grey, the same at every depth.
    """

    means: Tensor
    conics: Tensor
    opacities: Tensor
    values: Tensor


def conics_of(log_scales: Tensor, rotations: Tensor, softness: float = 0.0) -> Tensor:
    """Inverse covariance (a, b, c) of ``R diag(s² + softness²) Rᵀ``; log-scales ``(…, 2)``, angles ``(…)`` in rad."""
    cos, sin = torch.cos(rotations), torch.sin(rotations)
    if softness > 0.0:
        inverse = 1.0 / (torch.exp(2.0 * log_scales) + softness * softness)
    else:
        inverse = torch.exp(-2.0 * log_scales)
    i_x, i_y = inverse[..., 0], inverse[..., 1]
    a = cos * cos * i_x + sin * sin * i_y
    b = cos * sin * (i_x - i_y)
    c = sin * sin * i_x + cos * cos * i_y
    return torch.stack([a, b, c], dim=-1)


class GaussianCloud(nn.Module):
    """One canonical cloud with its deformation field: all of a stack, or one depth window of it.

    Parameters
    ----------
    config : ModelConfig
        What the model consists of.
    size : tuple of int
        ``(H, W)`` in pixels.
    knots : ndarray
        Depths in t at which a ``grid`` or ``spline`` field has knots.
    count : int
        Number of Gaussians.
    """

    def __init__(self, config: ModelConfig, size: tuple[int, int], knots: NDArray[np.float64], count: int) -> None:
        super().__init__()
        self.config = config
        self.size = size
        self.means = nn.Parameter(torch.zeros(count, 2))
        self.log_scales = nn.Parameter(torch.zeros(count, 2))
        self.rotations = nn.Parameter(torch.zeros(count))
        self.opacity_logits = nn.Parameter(torch.zeros(count))
        self.values = nn.Parameter(torch.zeros(count, config.channels))
        self.field = make_field(config, size, knots, count)

    def __len__(self) -> int:
        return int(self.means.shape[0])

    def splats(self, t: Sequence[float], *, deform: bool = True) -> Splats:
        """The Gaussians at depths ``t``; the canonical ones at every depth if not ``deform``.

        The paper's constraints are here: shifts and scales change in the plane only, grey values never, rotation only
        with ``dynamic_rotation``; deltas are added before exp and sigmoid; positions enter the field detached.
        """
        batch = len(t)
        if not deform:
            conics = conics_of(self.log_scales, self.rotations, self.config.softness_pixels)
            return Splats(
                self.means.expand(batch, -1, -1),
                conics.expand(batch, -1, -1),
                torch.sigmoid(self.opacity_logits).expand(batch, -1),
                self.values,
            )
        delta = self.field(self.means.detach(), t)
        means = self.means + delta[..., :2]
        log_scales = self.log_scales + delta[..., 2:4]
        logits = self.opacity_logits.expand(batch, -1)
        rotations = self.rotations.expand(batch, -1)
        if self.config.dynamic_opacity:
            logits = logits + delta[..., 4]
        if self.config.dynamic_rotation:
            rotations = rotations + delta[..., -1]
        return Splats(
            means, conics_of(log_scales, rotations, self.config.softness_pixels), torch.sigmoid(logits), self.values
        )


class GaussianModel(nn.Module):
    """Canonical Gaussians and deformation field over the depths of a stack: parameters, without a renderer.

    Parameters
    ----------
    config : ModelConfig
        What the model consists of.
    slice_t : ndarray
        ``(K,)`` depths of the slices in [0, 1].
    size : tuple of int
        ``(H, W)`` in pixels.
    counts : int or sequence of int
        Gaussians in each depth window; one number means that many in every window.
    """

    def __init__(
        self,
        config: ModelConfig,
        slice_t: NDArray[np.float64],
        size: tuple[int, int],
        counts: int | Sequence[int],
    ) -> None:
        super().__init__()
        self.config = config
        self.slice_t = np.asarray(slice_t, dtype=np.float64)
        self.size = (int(size[0]), int(size[1]))
        self.windows: list[DepthWindow] = depth_windows(self.slice_t, config.window_slices)
        each = [int(counts)] * len(self.windows) if isinstance(counts, int) else [int(n) for n in counts]
        if len(each) != len(self.windows):
            raise ValueError(f"{len(each)} counts for {len(self.windows)} depth windows.")
        self.clouds = nn.ModuleList(
            GaussianCloud(config, self.size, knots_of(self.slice_t, window, config.knots_per_gap), count)
            for window, count in zip(self.windows, each, strict=True)
        )

    @property
    def gaussian_count(self) -> int:
        """Gaussians in all windows together."""
        return sum(len(cloud) for cloud in self.cloud_list)

    @property
    def cloud_list(self) -> list[GaussianCloud]:
        """The clouds, one per depth window."""
        return [cloud for cloud in self.clouds if isinstance(cloud, GaussianCloud)]

    def active(self, t: float) -> list[tuple[int, float]]:
        """Windows seen at ``t`` and their weights, which sum to 1."""
        found = [(k, window.weight(t)) for k, window in enumerate(self.windows)]
        return [(k, weight) for k, weight in found if weight > 1e-4] or [
            max(found, key=lambda item: item[1]),
        ]
