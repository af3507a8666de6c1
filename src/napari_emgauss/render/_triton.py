"""The GPU renderer of our own: Triton kernels, which come with torch on Linux and need no CUDA toolkit."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from napari_emgauss.render import _triton_kernels as kernels

TILE = 16
"""Side of a tile in pixels: 256 pixels a program. A splat of a few pixels meets two tiles on average."""
RATIO = 4
"""Tiles along the side of a block."""
WARPS = 1
"""Warps a tile: with one, the backward pass adds up a splat's gradient by shuffles alone, without a barrier."""
CHANNELS_AT_ONCE = 8

_SPLATS_A_PROGRAM = 256
_FUSION = {"enable_fp_fusion": True}
"""Fused multiply-add, said aloud: Triton's default differs between versions."""


def splat_triton(
    means: Tensor,
    conics: Tensor,
    opacities: Tensor,
    values: Tensor,
    size: tuple[int, int],
    background: Tensor,
) -> Tensor:
    """Blend splats in index order; arguments and result as in ``splat_reference``, float32."""
    groups = zip(values.split(CHANNELS_AT_ONCE, 1), background.split(CHANNELS_AT_ONCE), strict=True)
    # The image is linear in the values, channel by channel: groups of channels are images of their own.
    images = [_Splat.apply(means, conics, opacities, v, size, b) for v, b in groups]
    return images[0] if len(images) == 1 else torch.cat(images, 1)


@dataclass(frozen=True)
class _Grid:
    """How an image is cut up, and how long the lists are."""

    height: int
    width: int
    count: int

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.height // TILE), -(-self.width // TILE)

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        rows, columns = self.tiles
        return -(-rows // RATIO), -(-columns // RATIO)

    @property
    def capacity(self) -> int:
        """Entries of a tile's list: eight times the splats whose mean lies in it, on average."""
        return self._capacity(8, TILE * TILE, 64, 1024)

    @property
    def block_capacity(self) -> int:
        """Entries of a block's list: four times the splats whose mean lies in it, on average."""
        return self._capacity(4, (TILE * RATIO) ** 2, 256, 16384)

    def _capacity(self, times: int, pixels: int, least: int, most: int) -> int:
        expected = times * self.count * pixels // (self.height * self.width) + 1
        return min(most, max(least, 1 << (expected - 1).bit_length()))


def _on(tensor: Tensor) -> AbstractContextManager[Any]:
    """Launch on the tensor's GPU, which need not be the current one."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        conics: Tensor,
        opacities: Tensor,
        values: Tensor,
        size: tuple[int, int],
        background: Tensor,
    ) -> Tensor:
        means, conics, opacities, values, background = (
            v.detach().contiguous() for v in (means, conics, opacities, values, background)
        )
        height, width = size
        batch, count = opacities.shape
        channels = values.shape[1]
        grid = _Grid(height, width, count)
        tiles, blocks = grid.tiles[0] * grid.tiles[1], grid.blocks[0] * grid.blocks[1]
        geometry = means.new_empty((batch * count, kernels.GEOMETRY.value))
        boxes = means.new_empty((batch * count, 4), dtype=torch.int32)
        # One buffer for both levels of lists, so that a walk is one pointer and an offset.
        block_lists = batch * tiles * grid.capacity
        lists = boxes.new_empty(block_lists + batch * blocks * grid.block_capacity)
        tile_counts = boxes.new_empty(batch * tiles)
        block_counts = boxes.new_empty(batch * blocks)
        image = means.new_empty((batch, channels, height, width))
        transmittance = means.new_empty((batch, height, width))
        last = boxes.new_empty((batch, height, width))
        with _on(means):
            if count:
                programs = -(-batch * count // _SPLATS_A_PROGRAM)
                kernels.prepare[(programs,)](
                    *(means, conics, opacities, geometry, boxes, batch * count, height, width),
                    BLOCK=_SPLATS_A_PROGRAM,
                    **_FUSION,
                )
            kernels.list_splats[(blocks, batch)](
                *(boxes, lists, block_counts, lists[block_lists:], block_counts, count),
                *(grid.blocks[1], 1, 1, grid.block_capacity, 1),
                RATIO=RATIO,
                SIDE=TILE * RATIO,
                FROM_BLOCKS=False,
                BLOCK=1024,
                **_FUSION,
            )
            kernels.list_splats[(tiles, batch)](
                *(boxes, lists[block_lists:], block_counts, lists, tile_counts, count),
                *(grid.tiles[1], grid.blocks[1], blocks, grid.capacity, grid.block_capacity),
                RATIO=RATIO,
                SIDE=TILE,
                FROM_BLOCKS=True,
                BLOCK=256,
                **_FUSION,
            )
            shape = (
                *(count, height, width, grid.tiles[1], grid.blocks[1], blocks),
                *(grid.capacity, grid.block_capacity, block_lists, channels),
            )
            static = {
                "SIDE": TILE,
                "RATIO": RATIO,
                "CHANNELS": 1 << (channels - 1).bit_length(),
                "num_warps": WARPS,
                **_FUSION,
            }
            kernels.blend[(tiles, batch)](
                *(geometry, boxes, values, background, lists, tile_counts, block_counts),
                *(image, transmittance, last),
                *shape,
                **static,
            )
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(
                geometry, boxes, values, background, lists, tile_counts, block_counts, transmittance, last
            )
            ctx.shape, ctx.static, ctx.programs = shape, static, (tiles, batch)
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        geometry, transmittance = saved[0], saved[-2]
        grad = grad.contiguous()
        batch = grad.shape[0]
        channels = grad.shape[1]
        count = ctx.shape[0]
        row = kernels.row_of_sums(channels)
        sums = grad.new_zeros((batch, count, row))
        grad_means = grad.new_empty((batch, count, 2))
        grad_conics = grad.new_empty((batch, count, 3))
        grad_opacities = grad.new_empty((batch, count))
        with _on(grad):
            if count:
                kernels.blend_backward[ctx.programs](*saved, grad, sums, *ctx.shape, ROW=row, **ctx.static)
                programs = -(-batch * count // _SPLATS_A_PROGRAM)
                kernels.finish[(programs,)](
                    *(geometry, sums, grad_means, grad_conics, grad_opacities, batch * count),
                    ROW=row,
                    BLOCK=_SPLATS_A_PROGRAM,
                    **_FUSION,
                )
        first = kernels.SUMS.value
        grad_values = sums[..., first : first + channels].sum(0)
        grad_background = None
        if ctx.needs_input_grad[5]:
            grad_background = torch.einsum("bcyx,byx->c", grad, transmittance)
        return grad_means, grad_conics, grad_opacities, grad_values, None, grad_background
