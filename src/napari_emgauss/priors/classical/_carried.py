"""Observed slices carried into a gap along the motion that its inferred slices show.

Flow straight from one observed slice to the next fails where structures move further than they are wide. A prior that
has inferred the slices in between knows the way: over the slice in the middle of the gap, each step is half as long.
What was measured, carried along that way, has the detail and the noise of a real slice; the inferred one has neither.
A mixture of both is closer to the truth than either (``python benchmarks/motion.py``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from napari_emgauss.priors.classical._pixelwise import BLUR_SIGMA_PIXELS
from napari_emgauss.priors.classical._tvl1 import blurred, tvl1_flow, warp

CARRIED_SIGMA_PIXELS = 0.65
"""Blur of the slices that are carried."""


@torch.no_grad()
def carried_slices(above: Tensor, below: Tensor, inferred: Tensor) -> Tensor:
    """Slices ``(nodes, H, W)`` at even positions of a gap: means of the two observed ones around it, carried there.

    Parameters
    ----------
    above, below : Tensor
        ``(H, W)`` float32, unit range: the observed slices.
    inferred : Tensor
        ``(nodes, H, W)``: what a prior says of the same positions; of these the one nearest to the middle is looked at.

    Notes
    -----
    Slices are blurred (`BLUR_SIGMA_PIXELS`) before their flow is estimated, at half the resolution, and a little less
    before they are carried: that takes off more noise than structure.
    """
    nodes = len(inferred)
    middle = nodes // 2
    first, inside, last = blurred(torch.stack((above, inferred[middle], below)), BLUR_SIGMA_PIXELS)
    up, down = _step(inside, first), _step(inside, last)
    # On to the other end: where the middle slice comes from, looked up at where its own step leads.
    up_whole, down_whole = _chained(_step(last, inside), up), _chained(_step(first, inside), down)
    carried = blurred(torch.stack((above, below)), CARRIED_SIGMA_PIXELS)
    out = torch.empty_like(inferred)
    half = (middle + 1) / (nodes + 1)
    for node in range(nodes):
        u = (node + 1) / (nodes + 1)
        to_first = _between(u, half, up, up_whole)
        to_last = _between(1 - u, 1 - half, down, down_whole)
        pair = warp(carried, torch.stack((to_first, to_last)))
        out[node] = (1 - u) * pair[0] + u * pair[1]
    return out


def _step(here: Tensor, there: Tensor) -> Tensor:
    return tvl1_flow(here[None], there[None], halved=True)[0]


def _chained(step: Tensor, onwards: Tensor) -> Tensor:
    """Displacement ``(2, H, W)`` of a step and of what follows where it leads."""
    return step + warp(onwards, step.expand(2, -1, -1, -1))


def _between(distance: float, known: float, there: Tensor, beyond: Tensor) -> Tensor:
    """Displacement to an observed slice from ``distance``: 0 at it, ``there`` at ``known``, ``beyond`` at 1."""
    if distance <= known:
        return there * (distance / known)
    share = (distance - known) / (1 - known)
    return torch.lerp(there, beyond, share)
