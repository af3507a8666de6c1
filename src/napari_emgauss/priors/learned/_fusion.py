"""From what the families of planes say of a voxel to its grey value: better than their mean.

Each family (xz, yz, turned ones) sees a voxel within one plane and shrinks towards what is usual there. The mean of
several such answers is too flat, keeps noise that a look within the slice would take off, and knows nothing of how
membranes run in xy. A small network looks at the fused slice, at the disagreement of the families and at the two
observed slices, and corrects the mean. It was trained on generated phantoms alone (`scripts/pretrain_fusion.py`), whose
planes were answered by networks trained on each phantom's own slices, as in use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from napari_emgauss._torch import low_precision
from napari_emgauss.priors.learned._network import ResidualBlock

WEIGHTS = Path(__file__).with_name("fusion.safetensors")
REFERENCE_GAP_PX = 8.0
LEAST_GAP_PX, MOST_GAP_PX = 5.0, 16.0
"""Gaps that the weights were trained on; shorter and longer ones are taken for these."""

FEATURES = 9
_MARGIN = 9
"""Pixels to either side that the network looks at."""
_PIXELS_AT_ONCE = 1 << 18
_LEAST_SPREAD = 1e-4


class FusionNetwork(nn.Module):
    """Corrects fused slices; changes nothing before it is trained.

    Parameters
    ----------
    channels : int
        Features inside.
    blocks : int
        Residual blocks.
    """

    def __init__(self, channels: int = 24, blocks: int = 3) -> None:
        super().__init__()
        self.filter = nn.Conv2d(FEATURES, 1, 5, padding=2)
        self.enter = nn.Conv2d(FEATURES, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.leave = nn.Conv2d(channels, 1, 3, padding=1)
        for last in (self.filter, self.leave):
            nn.init.zeros_(last.weight)
            if last.bias is not None:
                nn.init.zeros_(last.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Slices ``(B, H, W)`` from features ``(B, 9, H, W)`` (see `fusion_features`), standardised grey values."""
        inner = self.blocks(self.enter(features))
        correction = self.filter(features) + self.leave(F.relu(inner))
        return features[:, 0] + correction[:, 0].float()


def fusion_features(
    mean: Tensor, spread: Tensor, log_variance: Tensor, above: Tensor, below: Tensor, position: Tensor, gap_px: float
) -> Tensor:
    """What a `FusionNetwork` looks at, ``(B, 9, H, W)``.

    Parameters
    ----------
    mean, spread, log_variance : Tensor
        ``(B, H, W)``: precision-weighted mean and standard deviation of the families' means, and the logarithm of
        their fused variance; standardised grey values.
    above, below : Tensor
        ``(B, H, W)`` or ``(H, W)``: the observed slices around.
    position : Tensor
        ``(B,)``: place in the gap, 0 at ``above`` and 1 at ``below``.
    gap_px : float
        Length of the gap in pixels.
    """
    u = position[:, None, None].to(mean)
    above, below = above.expand_as(mean), below.expand_as(mean)
    linear = above + u * (below - above)
    upper = u < 0.5
    near, far = torch.where(upper, above, below), torch.where(upper, below, above)
    relative = min(max(gap_px, LEAST_GAP_PX), MOST_GAP_PX) / REFERENCE_GAP_PX
    distance = torch.minimum(u, 1 - u).expand_as(mean)
    length = torch.full_like(mean, math.log(relative))
    channels = (
        mean,
        mean - linear,
        4 * spread,
        log_variance / 2,
        near - mean,
        far - mean,
        distance,
        distance * relative,
        length,
    )
    return torch.stack(channels, dim=1)


@torch.no_grad()
def fused_slices(
    network: FusionNetwork,
    mean: Tensor,
    spread: Tensor,
    log_variance: Tensor,
    above: Tensor,
    below: Tensor,
    gap_px: float,
    nodes: Sequence[int] | None = None,
) -> Tensor:
    """Corrected slices ``(nodes, H, W)`` of one gap, from tensors of that shape on the network's device.

    ``above`` and ``below`` are ``(H, W)``; see `fusion_features`. Wide slices are corrected a band of rows at a time.
    Slices that are not among ``nodes`` (from 0) come back as they are.
    """
    count, height, width = mean.shape
    out = mean.clone()
    positions = torch.arange(1, count + 1, device=mean.device) / (count + 1)
    band = max(4 * _MARGIN, _PIXELS_AT_ONCE // width)
    at_once = max(1, _PIXELS_AT_ONCE // (min(band, height) * width))
    for top in range(0, height, band):
        bottom = min(height, top + band)
        shown = slice(max(0, top - _MARGIN), min(height, bottom + _MARGIN))
        inner = slice(top - shown.start, bottom - shown.start)
        for first in range(0, count if nodes is None else len(nodes), at_once):
            last = first + at_once
            some = slice(first, last) if nodes is None else list(nodes[first:last])
            features = fusion_features(
                mean[some, shown],
                spread[some, shown],
                log_variance[some, shown],
                above[shown],
                below[shown],
                positions[some],
                gap_px,
            )
            with low_precision(mean.device):
                corrected = network(features.contiguous(memory_format=torch.channels_last))
            out[some, top:bottom] = corrected[:, inner]
    return out


@dataclass(frozen=True)
class Correction:
    """A trained `FusionNetwork` for the gaps of one stack.

    Parameters
    ----------
    network : FusionNetwork
    gaps_px : ndarray
        ``(K-1,)`` lengths of the gaps in pixels.
    share : float
        How much of the network's correction is made, in [0, 1].
    nodes : tuple of int or None
        Slices of each gap, from 0, that are corrected; None: all.
    """

    network: FusionNetwork
    gaps_px: NDArray[np.float64]
    share: float = 1.0
    nodes: tuple[int, ...] | None = None

    def corrected(
        self, gap: int, mean: Tensor, square: Tensor, variance: Tensor, above: Tensor, below: Tensor
    ) -> Tensor:
        """Corrected slices of a gap, where ``mean`` is.

        Parameters
        ----------
        gap : int
            Index of the gap.
        mean, square, variance : Tensor
            ``(nodes, H, W)``: weighted mean of the families' means and of their squares, and the fused variance.
        above, below : Tensor
            ``(H, W)``: the observed slices around the gap.
        """
        # A card, too, where the volume is too large for it but not a gap.
        device = self.network.leave.weight.device
        here, square, variance, above, below = (one.to(device) for one in (mean, square, variance, above, below))
        spread = (square - here * here).clamp_min(_LEAST_SPREAD**2).sqrt()
        gap_px = float(self.gaps_px[gap])
        fused = fused_slices(self.network, here, spread, variance.log(), above, below, gap_px, self.nodes)
        return (fused if self.share == 1 else torch.lerp(here, fused, self.share)).to(mean.device)


@lru_cache(maxsize=1)
def fusion_network() -> FusionNetwork:
    """The network with the weights that come with the package; copy it before it is moved to a device."""
    from safetensors.torch import load_file

    network = FusionNetwork()
    network.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    return network.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
