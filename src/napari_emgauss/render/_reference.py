"""The formula in plain torch: slow, readable, any float dtype and any torch device.

It is the twin that every fast backend is compared with, and what devices without a kernel of their own use.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from napari_emgauss._torch import constant, wide
from napari_emgauss.render._formula import MAX_ALPHA, MIN_ALPHA

_TILE = 32
_ELEMENTS_AT_ONCE = 1 << 21
"""Pixels times splats held at once: about 100 MB in float32 with the intermediates that autograd keeps."""


def splat_reference(
    means: Tensor,
    conics: Tensor,
    opacities: Tensor,
    values: Tensor,
    size: tuple[int, int],
    background: Tensor,
    *,
    tile: int | None = _TILE,
) -> Tensor:
    """Blend splats in index order.

    Parameters
    ----------
    means, conics, opacities : Tensor
        ``(B, N, 2)``, ``(B, N, 3)``, ``(B, N)``.
    values : Tensor
        ``(N, C)``.
    size : tuple of int
        Rows and columns of the image.
    background : Tensor
        ``(C,)``.
    tile : int or None
        Side of the square tiles in which the image is built, each from the splats whose bounding box meets it; None
        takes every splat for every pixel (the result is the same).

    Returns
    -------
    Tensor
        ``(B, C, H, W)``.
    """
    height, width = size
    valid = _valid(means, conics, opacities)
    # Replaced before use, not masked after it: an infinite mean would turn the zero gradient of the mask into NaN.
    means = torch.where(valid[..., None], means, torch.zeros_like(means))
    conics = torch.where(valid[..., None], conics, constant(conics, 1.0, 0.0, 1.0))
    opacities = torch.where(valid, opacities, torch.zeros_like(opacities))
    side = max(height, width, 1) if tile is None else tile
    images = []
    for b in range(means.shape[0]):
        boxes = None if tile is None else _bounding_boxes(means[b], conics[b], opacities[b])
        rows = []
        for y0 in range(0, height, side):
            y1 = min(height, y0 + side)
            row = []
            for x0 in range(0, width, side):
                x1 = min(width, x0 + side)
                if boxes is None:
                    chosen = torch.arange(means.shape[1], device=means.device)
                else:
                    meets = (boxes[0] <= x1) & (boxes[1] >= x0) & (boxes[2] <= y1) & (boxes[3] >= y0)
                    chosen = torch.nonzero(meets).squeeze(1)
                row.append(
                    _tile_image(
                        means[b, chosen],
                        conics[b, chosen],
                        opacities[b, chosen],
                        values[chosen],
                        background,
                        (y0, y1, x0, x1),
                    )
                )
            rows.append(torch.cat(row, dim=2))
        images.append(torch.cat(rows, dim=1))
    # Sums over nothing: they are zero, and tie the image to every input even where no splat meets it.
    ties = means[:, :0].sum() + conics[:, :0].sum() + opacities[:, :0].sum() + values[:0].sum()
    return torch.stack(images) + ties


def _valid(means: Tensor, conics: Tensor, opacities: Tensor) -> Tensor:
    """Where a splat is finite, its conic positive definite, and its opacity above the cut: ``(B, N)`` bool."""
    a, b, c = wide(conics.detach()).unbind(-1)
    finite = torch.isfinite(means).all(-1) & torch.isfinite(conics).all(-1) & torch.isfinite(opacities)
    return finite & (a > 0) & (c > 0) & (a * c - b * b > 0) & (opacities > MIN_ALPHA)


def _bounding_boxes(means: Tensor, conics: Tensor, opacities: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Left, right, top, bottom of each splat's visible ellipse and a pixel more; an unseen splat is nowhere."""
    with torch.no_grad():
        a, b, c = conics.unbind(-1)
        reach = 2 * torch.log((opacities / MIN_ALPHA).clamp(min=1.0))
        determinant = (a * c - b * b).clamp(min=torch.finfo(a.dtype).tiny)
        half_width = torch.sqrt(reach * c / determinant) * 1.01 + 1
        half_height = torch.sqrt(reach * a / determinant) * 1.01 + 1
        nowhere = opacities <= MIN_ALPHA
        half_width = torch.where(nowhere, torch.full_like(half_width, -torch.inf), half_width)
        x, y = means.unbind(-1)
        return x - half_width, x + half_width, y - half_height, y + half_height


def _tile_image(
    means: Tensor,
    conics: Tensor,
    opacities: Tensor,
    values: Tensor,
    background: Tensor,
    window: tuple[int, int, int, int],
) -> Tensor:
    """``(C, rows, columns)`` of one window ``(y0, y1, x0, x1)``, a bounded number of splats at a time."""
    y0, y1, x0, x1 = window
    y = torch.arange(y0, y1, dtype=means.dtype, device=means.device) + 0.5
    x = torch.arange(x0, x1, dtype=means.dtype, device=means.device) + 0.5
    image = means.new_zeros((values.shape[1], y1 - y0, x1 - x0))
    transmittance = means.new_ones((y1 - y0, x1 - x0))
    count = means.shape[0]
    step = max(1, _ELEMENTS_AT_ONCE // max(1, transmittance.numel()))
    for start in range(0, count, step):
        part = (v[start : start + step] for v in (means, conics, opacities, values))
        image, transmittance = _Blend.apply(image, transmittance, *part, y, x)
    return image + transmittance * background[:, None, None]


class _Blend(torch.autograd.Function):
    """``_blend``, done again in the backward pass: what is kept does not grow with pixels times splats.

    What ``torch.utils.checkpoint`` does too, which however imports torch's compiler: seconds at the first picture.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*inputs)
        return _blend(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad
        inputs = [v.detach().requires_grad_(w) for v, w in zip(ctx.saved_tensors, wanted, strict=True)]
        with torch.enable_grad():
            outputs = _blend(*inputs)
        leaves = [v for v in inputs if v.requires_grad]
        found = iter(torch.autograd.grad(outputs, leaves, gradients, allow_unused=True))
        return tuple(next(found) if w else None for w in wanted)


def _running_product(factors: Tensor) -> Tensor:
    """Products of the first 1, 2, ... ``factors`` along the first axis; they lie above 0."""
    if factors.device.type == "mps":  # whose cumprod, or its gradient, is missing from versions of torch
        return product_by_logarithms(factors)
    return torch.cumprod(factors, dim=0)


def product_by_logarithms(factors: Tensor) -> Tensor:
    """What ``cumprod`` gives along the first axis for factors above 0."""
    return torch.exp(torch.cumsum(torch.log(factors), dim=0))


def _blend(
    image: Tensor,
    transmittance: Tensor,
    means: Tensor,
    conics: Tensor,
    opacities: Tensor,
    values: Tensor,
    y: Tensor,
    x: Tensor,
) -> tuple[Tensor, Tensor]:
    """Lay splats over what is there: ``C += c_i a_i T_i``, ``T_{i+1} = T_i (1 - a_i)``."""
    dx = x[None, None, :] - means[:, 0, None, None]
    dy = y[None, :, None] - means[:, 1, None, None]
    a, b, c = (conics[:, j, None, None] for j in range(3))
    # dᵀ Σ⁻¹ d / 2 with the square completed: long thin splats lose far fewer digits than in a dx² + 2b dx dy + c dy².
    along = dx + b / a * dy
    sigma = 0.5 * (a * along * along + (c - b * b / a) * dy * dy)
    cut = torch.log((opacities.detach() / MIN_ALPHA).clamp(min=torch.finfo(opacities.dtype).tiny))
    seen = (sigma <= cut[:, None, None]) & (opacities.detach() > MIN_ALPHA)[:, None, None]
    alpha = (opacities[:, None, None] * torch.exp(-torch.where(seen, sigma, 0.0))).clamp(max=MAX_ALPHA)
    alpha = torch.where(seen, alpha, 0.0)
    passed = _running_product(1 - alpha)
    before = transmittance * torch.cat([torch.ones_like(passed[:1]), passed[:-1]])
    image = image + torch.einsum("nyx,nc->cyx", alpha * before, values)
    return image, transmittance * passed[-1]
