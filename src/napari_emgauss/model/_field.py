"""Deformation fields: what changes in a Gaussian over depth.

All have one form, ``field(mu, t) -> (B, N, outputs)``: in-plane shift (x, y) in pixels, change of the two log-scales,
then change of the opacity's logit and of the rotation where these are dynamic. Outputs start at zero, so that a fresh
model shows its canonical image at every depth.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_emgauss._torch import constant
from napari_emgauss.model._config import ModelConfig


def output_count(config: ModelConfig) -> int:
    """Numbers a field gives per Gaussian: dx, dy, ds_x, ds_y, then do and dR where dynamic."""
    return 4 + int(config.dynamic_opacity) + int(config.dynamic_rotation)


class DeformationField(nn.Module):
    """Base of the fields. ``size`` is ``(H, W)`` in pixels."""

    def __init__(self, config: ModelConfig, size: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        self.size = size

    @abstractmethod
    def forward(self, mu: Tensor, t: Sequence[float]) -> Tensor:
        """Deltas ``(B, N, outputs)`` of canonical positions ``mu`` (N, 2), (x, y) pixels, at ``B`` depths ``t``."""

    def on_select(self, index: Tensor) -> dict[str, Tensor]:
        """New values of the parameters that are per Gaussian when the cloud becomes ``cloud[index]``."""
        return {}


def fourier_features(x: Tensor, frequencies: int) -> Tensor:
    """``x`` and sin, cos of ``2^k π x`` for k = 0 … frequencies-1 along the last axis (NeRF, section 5.1)."""
    bands = (2.0 ** torch.arange(frequencies, device=x.device, dtype=x.dtype)) * math.pi
    angles = (x[..., None] * bands).flatten(-2)
    return torch.cat([x, torch.sin(angles), torch.cos(angles)], dim=-1)


class MlpField(DeformationField):
    """The paper's network: Fourier features of position and depth, 8 x 256 ReLU, input again at layer 4."""

    def __init__(self, config: ModelConfig, size: tuple[int, int], knots: NDArray[np.float64]) -> None:
        super().__init__(config, size)
        inputs = 2 * (1 + 2 * config.mlp_frequencies) + 1 + 2 * config.mlp_depth_frequencies
        layers: list[nn.Module] = []
        for k in range(config.mlp_layers):
            width = inputs if k == 0 else config.mlp_width
            if k == config.mlp_skip and k > 0:
                width += inputs
            layers.append(nn.Linear(width, config.mlp_width))
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(config.mlp_width, output_count(config))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, mu: Tensor, t: Sequence[float]) -> Tensor:
        height, width = self.size
        centre = constant(mu, width / 2, height / 2)
        half = max(height, width) / 2
        place = fourier_features((mu - centre) / half, self.config.mlp_frequencies)
        # Filled in where they are needed: numbers that are sent to a GPU make the host wait for it.
        depths = torch.cat([mu.new_full((1, 1), float(depth)) for depth in t])
        depth = fourier_features(depths * 2 - 1, self.config.mlp_depth_frequencies)
        batch, count = depth.shape[0], place.shape[0]
        inputs = torch.cat(
            [place.expand(batch, count, -1), depth[:, None].expand(batch, count, -1)],
            dim=-1,
        )
        h = inputs
        for k, layer in enumerate(self.layers):
            if k == self.config.mlp_skip and k > 0:
                h = torch.cat([inputs, h], dim=-1)
            h = F.relu(layer(h))
        out = self.head(h)
        # Positions move in units of the half image, as the base method's network moves them in scene units.
        unit = torch.ones(out.shape[-1], dtype=out.dtype, device=out.device)
        unit[:2] = half
        return torch.as_tensor(out * unit)


class _KnotField(DeformationField):
    """A field with something at every knot in t, linear between knots.

    Knots are separate parameters: an optimiser then leaves those alone that a depth does not touch.
    """

    def __init__(self, config: ModelConfig, size: tuple[int, int], knots: NDArray[np.float64]) -> None:
        super().__init__(config, size)
        self.knot_t = np.asarray(knots, dtype=np.float64)
        self.knots = nn.ParameterList()

    def _between(self, t: float) -> tuple[int, float]:
        """Index of the knot below ``t`` and the fraction of the way to the next."""
        below = int(np.clip(np.searchsorted(self.knot_t, t, side="right") - 1, 0, len(self.knot_t) - 2))
        step = self.knot_t[below + 1] - self.knot_t[below]
        return below, float(np.clip((t - self.knot_t[below]) / step, 0.0, 1.0))

    def _at(self, t: Sequence[float]) -> Tensor:
        """What the knots hold, interpolated at each depth and stacked."""
        planes = []
        for depth in t:
            below, fraction = self._between(depth)
            if fraction == 0.0:
                planes.append(self.knots[below])
            elif fraction == 1.0:
                planes.append(self.knots[below + 1])
            else:
                planes.append(torch.lerp(self.knots[below], self.knots[below + 1], fraction))
        return torch.stack(planes)

    def _in_pixels(self, out: Tensor) -> Tensor:
        unit = torch.ones(out.shape[-1], dtype=out.dtype, device=out.device)
        unit[:2] = self.config.displacement_pixels
        return out * unit


class GridField(_KnotField):
    """Features on a coarse (t, y, x) grid, looked up trilinearly, through a small network."""

    def __init__(self, config: ModelConfig, size: tuple[int, int], knots: NDArray[np.float64]) -> None:
        super().__init__(config, size, knots)
        rows, columns = (max(2, math.ceil(n / config.grid_cell_pixels) + 1) for n in size)
        for _ in range(len(knots)):
            self.knots.append(nn.Parameter(0.1 * torch.randn(config.grid_channels, rows, columns)))
        layers: list[nn.Module] = []
        width = config.grid_channels
        for _ in range(config.head_layers):
            layers += [nn.Linear(width, config.head_width), nn.ReLU()]
            width = config.head_width
        self.network = nn.Sequential(*layers)
        self.head = nn.Linear(width, output_count(config))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, mu: Tensor, t: Sequence[float]) -> Tensor:
        height, width = self.size
        planes = self._at(t)
        batch, channels, rows, columns = planes.shape
        place = mu * constant(mu, 2.0 / width, 2.0 / height) - 1.0
        # One lookup for all depths: the batch is folded into the channels because the positions are the same.
        stacked = planes.reshape(batch * channels, rows, columns)
        found = looked_up(stacked, place) if place.device.type == "mps" else _sampled(stacked, place)
        features = found.reshape(batch, channels, -1).transpose(1, 2)
        return self._in_pixels(self.head(self.network(features)))


def _sampled(planes: Tensor, place: Tensor) -> Tensor:
    """``(n, N)``: planes ``(n, rows, columns)`` at places ``(N, 2)``, (x, y) in [-1, 1] from first to last cell."""
    found = F.grid_sample(planes[None], place[None, None], mode="bilinear", padding_mode="border", align_corners=True)
    return found[0, :, 0]


def looked_up(planes: Tensor, place: Tensor) -> Tensor:
    """What :func:`_sampled` gives, by plain indexing: on Apple's GPU torch has neither its border nor its gradient."""
    _, rows, columns = planes.shape
    x = ((place[:, 0] + 1) * (0.5 * (columns - 1))).clamp(0, columns - 1)
    y = ((place[:, 1] + 1) * (0.5 * (rows - 1))).clamp(0, rows - 1)
    left, top = x.detach().floor().clamp(max=columns - 2), y.detach().floor().clamp(max=rows - 2)
    across, down = x - left, y - top
    at = top.long() * columns + left.long()
    flat = planes.flatten(1)
    upper = torch.lerp(flat[:, at], flat[:, at + 1], across)
    lower = torch.lerp(flat[:, at + columns], flat[:, at + columns + 1], across)
    return torch.lerp(upper, lower, down)


class SplineField(_KnotField):
    """Every Gaussian has its own deltas at every knot."""

    def __init__(self, config: ModelConfig, size: tuple[int, int], knots: NDArray[np.float64], count: int) -> None:
        super().__init__(config, size, knots)
        for _ in range(len(knots)):
            self.knots.append(nn.Parameter(torch.zeros(count, output_count(config))))

    def forward(self, mu: Tensor, t: Sequence[float]) -> Tensor:
        return self._in_pixels(self._at(t))

    def on_select(self, index: Tensor) -> dict[str, Tensor]:
        return {f"knots.{k}": knot.detach()[index] for k, knot in enumerate(self.knots)}


def make_field(config: ModelConfig, size: tuple[int, int], knots: NDArray[np.float64], count: int) -> DeformationField:
    """The field that ``config`` names, for a cloud of ``count`` Gaussians with knots at depths ``knots`` in t."""
    if config.field == "mlp":
        return MlpField(config, size, knots)
    if config.field == "spline":
        return SplineField(config, size, knots, count)
    return GridField(config, size, knots)
