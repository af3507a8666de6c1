"""Weights to start from: the network of the self-supervised prior after training on generated phantoms alone.

They know what membranes, organelles and noise look like on either side of a gap of 4 to 16 pixels, but no real tissue;
`scripts/pretrain_prior.py` makes them. Started from them, a prior needs far fewer steps on the stack itself.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_emgauss.priors.learned._network import GapNetwork, NetworkConfig

WEIGHTS = Path(__file__).with_name("generic.safetensors")
ANCHORS = 17
"""Even positions from one observed row to the next at which the generic network's last layer is known."""
REFERENCE_GAP_PX = 8.0
GAPS_PX = (4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16)
"""Gaps that the generic weights were trained on."""


class GenericNetwork(GapNetwork):
    """A `GapNetwork` for any gap: told its length in pixels, with a last layer interpolated between anchors.

    Both are linear, so that the network for one gap is a plain `GapNetwork`, see `specialised`.

    Parameters
    ----------
    channels : tuple of int
        See `NetworkConfig`.
    """

    def __init__(self, channels: tuple[int, ...] = (48, 64, 96)) -> None:
        super().__init__(NetworkConfig(ANCHORS, channels, (1,) + (2,) * (len(channels) - 1)))
        self.gap_px = int(REFERENCE_GAP_PX)
        """Gap that `forward` restores, for training at one gap after another."""
        self.length = nn.Linear(2, channels[0], bias=False)
        nn.init.zeros_(self.length.weight)

    def specialised(self, nodes: int, gap_px: float) -> GapNetwork:
        """The network for ``nodes`` rows in gaps of ``gap_px`` pixels, with the same answers."""
        config = NetworkConfig(nodes, self.config.channels, self.config.blocks, self.config.decoder_blocks)
        network = GapNetwork(config)
        network.load_state_dict({name: value.detach() for name, value in self.state_for(nodes, gap_px).items()})
        return network

    def state_for(self, nodes: int, gap_px: float) -> dict[str, Tensor]:
        """Parameters by name of the network for ``nodes`` rows in gaps of ``gap_px`` pixels, differentiable."""
        own: dict[str, Tensor] = dict(self.named_parameters())
        length = own.pop("length.weight")
        mix = _between_anchors(nodes)
        for name in ("leave.weight", "leave.bias"):
            mean, log_variance = own[name].split(ANCHORS)
            mixed = [torch.einsum("nm,m...->n...", mix, part) for part in (mean, log_variance)]
            own[name] = torch.cat(mixed)
        clipped = min(max(gap_px, GAPS_PX[0]), GAPS_PX[-1])
        log_gap = math.log(clipped / REFERENCE_GAP_PX)
        own["enter.bias"] = own["enter.bias"] + length @ torch.tensor([log_gap, log_gap**2])
        # What a gap a little longer than the usual one adds: the slope of the line above.
        own["gap_length.weight"] = (length[:, 0] + 2 * log_gap * length[:, 1])[:, None]
        return own

    def forward(self, rows: Tensor, log_gap: Tensor) -> tuple[Tensor, Tensor]:
        """Restore the rows between rows ``(B, R, X)`` that are evenly ``gap_px`` apart; see `restore`."""
        return self.restore(rows, self.gap_px)

    def restore(self, rows: Tensor, gap_px: int) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the ``gap_px - 1`` rows between rows ``(B, R, X)``; see `GapNetwork.forward`."""
        network = GapNetwork(
            NetworkConfig(gap_px - 1, self.config.channels, self.config.blocks, self.config.decoder_blocks)
        )
        even = rows.new_zeros(rows.shape[0], rows.shape[1] - 1)
        answer: tuple[Tensor, Tensor] = torch.func.functional_call(
            network, self.state_for(gap_px - 1, gap_px), (rows, even)
        )
        return answer


def _between_anchors(nodes: int) -> Tensor:
    """``(nodes, ANCHORS)`` weights that interpolate anchors linearly at ``j / (nodes + 1)``."""
    place = torch.arange(1, nodes + 1) / (nodes + 1) * (ANCHORS - 1)
    lower = place.floor().clamp(max=ANCHORS - 2)
    part = (place - lower)[:, None]
    index = lower.long()
    return (1 - part) * F.one_hot(index, ANCHORS) + part * F.one_hot(index + 1, ANCHORS)


def warm_network(config: NetworkConfig, gap_px: float) -> GapNetwork | None:
    """A network of this size that knows phantoms, or None where no weights of this size exist.

    Parameters
    ----------
    config : NetworkConfig
        Size and number of rows in a gap.
    gap_px : float
        The usual gap in pixels.
    """
    generic = _generic()
    same = ("channels", "blocks", "decoder_blocks", "first_kernel")
    if any(getattr(config, name) != getattr(generic.config, name) for name in same):
        return None
    return generic.specialised(config.nodes, gap_px)


@lru_cache(maxsize=1)
def _generic() -> GenericNetwork:
    from safetensors.torch import load_file

    network = GenericNetwork()
    state = {name: value.float() for name, value in load_file(WEIGHTS).items()}
    network.load_state_dict(state)
    return network.requires_grad_(False)
