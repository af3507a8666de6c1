"""Growing and pruning of a cloud (3D Gaussian splatting, section 5), with a hard cap on its size.

Noise in electron micrographs otherwise grows the cloud without limit, which the paper states as its own weakness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_emgauss.fitting._optimiser import CANONICAL_GROUPS, ModelOptimiser
from napari_emgauss.model import GaussianCloud
from napari_emgauss.render import splat

if TYPE_CHECKING:
    from napari_emgauss.render import Backend

# 3D Gaussian splatting: larger than this part of the scene is split, smaller is cloned; a split divides scales by 1.6.
_SPLIT_EXTENT = 0.01
_SPLIT_SHRINK = 1.6


@dataclass
class GradientRecord:
    """Sum of positional gradients per Gaussian of one cloud since the last round, and how many there were."""

    total: Tensor
    count: int = 0

    def add(self, gradient: Tensor, half_extent: float) -> None:
        """Add the gradient ``(N, 2)`` of the loss by position in pixels, as its norm per half image side."""
        self.total += gradient.norm(dim=-1) * half_extent
        self.count += 1

    def mean(self) -> Tensor:
        """Mean norm per Gaussian, ``(N,)``."""
        return self.total / max(1, self.count)


@torch.no_grad()
def brightest_opacity(cloud: GaussianCloud, depths: list[float]) -> Tensor:
    """Largest opacity of each Gaussian over ``depths``: one that is transparent canonically may still appear."""
    best = torch.sigmoid(cloud.opacity_logits).clone()
    if cloud.config.dynamic_opacity:
        for depth in depths:
            best = torch.maximum(best, cloud.splats([depth]).opacities[0])
    return best


@torch.no_grad()
def choose_growth(
    gradient: Tensor, opacity: Tensor, *, grow_gradient: float, prune_opacity: float, cap: int
) -> tuple[Tensor, Tensor]:
    """Which Gaussians stay and which are doubled.

    Parameters
    ----------
    gradient, opacity : Tensor
        ``(N,)`` mean positional gradient and largest opacity.
    grow_gradient, prune_opacity : float
        Thresholds.
    cap : int
        Most Gaussians allowed; where more want to grow, those with the largest gradients do.

    Returns
    -------
    index : Tensor
        ``(M,)`` int64, ascending: where each Gaussian of the new cloud comes from. Children sit beside their parent in
        the blending order.
    is_new : Tensor
        ``(M,)`` bool: the second of a doubled one.
    """
    keep = opacity >= prune_opacity
    if not bool(keep.any()):
        keep = opacity >= opacity.max()
    grow = keep & (gradient > grow_gradient)
    room = max(0, cap - int(keep.sum()))
    wanting = torch.nonzero(grow).ravel()
    if len(wanting) > room:
        order = torch.argsort(gradient[wanting], descending=True, stable=True)
        grow = torch.zeros_like(grow)
        grow[wanting[order[:room]]] = True
    copies = keep.long() + grow.long()
    index = torch.repeat_interleave(torch.arange(len(copies), device=copies.device), copies)
    is_new = torch.zeros(len(index), dtype=torch.bool, device=copies.device)
    is_new[1:] = index[1:] == index[:-1]
    return index, is_new


# The estimate of each Gaussian's change is a mean of at least so many squares.
_LEAST_PROBES = 16


def change_without(
    cloud: GaussianCloud, depths: list[float], rng: np.random.Generator, *, backend: Backend = "auto"
) -> Tensor:
    """Mean squared change of the images at ``depths`` if a Gaussian were not there: ``(N,)``, unit range squared.

    An image is linear in the opacity of each Gaussian, so without Gaussian i it changes by ``o_i dI/do_i`` exactly. The
    sum of its squares over pixels is the mean of ``(v · o_i dI/do_i)²`` over images v of random signs (Hutchinson,
    Communications in Statistics 18, 1989): one backward pass each, for all Gaussians at once.
    """
    total = torch.zeros(len(cloud), device=cloud.means.device)
    rounds = -(-_LEAST_PROBES // len(depths))
    height, width = cloud.size
    for depth in depths:
        with torch.no_grad():
            splats = cloud.splats([depth])
        opacities = splats.opacities.clone().requires_grad_(True)
        for _ in range(rounds):
            with torch.enable_grad():
                image = splat(
                    splats.means, splats.conics, opacities, splats.values.detach(), (height, width), backend=backend
                )
                signs = rng.integers(0, 2, image.shape, dtype=np.int8) * np.int8(2) - np.int8(1)
                signed = (image * torch.as_tensor(signs, device=image.device)).sum()
                (gradient,) = torch.autograd.grad(signed, opacities)
            total += (gradient[0] * opacities[0]).detach() ** 2
    return total / (len(depths) * rounds * height * width * cloud.config.channels)


@torch.no_grad()
def worth_keeping(change: Tensor, error: float) -> Tensor:
    """Which Gaussians stay, ascending, if images may change by ``error`` (root mean square, unit range).

    Changes add up as those of independent images do. At least one Gaussian stays.
    """
    order = torch.argsort(change, stable=True)
    dropped = int((torch.cumsum(change[order], 0) <= error * error).sum())
    return torch.sort(order[min(dropped, len(change) - 1) :]).values


@torch.no_grad()
def reindex(cloud: GaussianCloud, index: Tensor, is_new: Tensor, optimiser: ModelOptimiser | None) -> None:
    """Make ``cloud`` ``cloud[index]``, its optimiser's moments included."""
    changed = {name: getattr(cloud, name).detach()[index] for name in CANONICAL_GROUPS}
    changed.update({f"field.{name}": value for name, value in cloud.field.on_select(index).items()})
    parameters = dict(cloud.named_parameters())
    for name, value in changed.items():
        parameters[name].data = value
        parameters[name].grad = None
        if optimiser is not None:
            optimiser.reindex(parameters[name], index, is_new)


@torch.no_grad()
def place_children(cloud: GaussianCloud, index: Tensor, is_new: Tensor, rng: np.random.Generator) -> None:
    """Split doubled Gaussians that are large: both halves shrink, and move to random places inside the parent.

    Small ones stay doubled where they are; the optimiser parts them.
    """
    doubled = is_new.clone()
    doubled[:-1] |= is_new[1:]
    large = cloud.log_scales.amax(dim=-1) > math.log(max(1.0, _SPLIT_EXTENT * max(cloud.size)))
    split = doubled & large
    count = int(split.sum())
    if count == 0:
        return
    draws = torch.as_tensor(rng.standard_normal((count, 2)), dtype=torch.float32, device=split.device)
    along = draws * torch.exp(cloud.log_scales[split])
    angle = cloud.rotations[split]
    cos, sin = torch.cos(angle), torch.sin(angle)
    shift = torch.stack([cos * along[:, 0] - sin * along[:, 1], sin * along[:, 0] + cos * along[:, 1]], dim=1)
    cloud.means[split] += shift
    cloud.log_scales[split] -= math.log(_SPLIT_SHRINK)
