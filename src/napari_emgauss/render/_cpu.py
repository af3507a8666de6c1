"""The CPU renderer: numba kernels with a hand-written backward pass."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from napari_emgauss.render import _cpu_kernels as kernels

_BANDS = 4


def splat_cpu(
    means: Tensor,
    conics: Tensor,
    opacities: Tensor,
    values: Tensor,
    size: tuple[int, int],
    background: Tensor,
) -> Tensor:
    """Blend splats in index order; arguments and result as in :func:`splat_reference`, float32 on the CPU."""
    return _Splat.apply(means, conics, opacities, values, size, background)


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means, conics, opacities, values, size, background) -> Tensor:  # type: ignore[no-untyped-def]
        arrays = [v.detach().contiguous().numpy() for v in (means, conics, opacities, values, background)]
        m, cn, o, v, bg = arrays
        batch, count = o.shape
        height, width = size
        geometry = np.ones((batch, count, 8), np.float32)
        boxes = np.empty((batch, count, 2), np.int32)
        kernels.prepare(m, cn, o, height, width, geometry, boxes)
        image = np.empty((batch, v.shape[1], height, width), np.float32)
        transmittance = np.empty((batch, height, width), np.float32)
        bands = min(_BANDS, height)
        _run(kernels.forward, batch * bands, geometry, boxes, v, bg, image, transmittance, tail=(bands,))
        ctx.kept = (geometry, boxes, v, bg, transmittance, bands)
        return torch.from_numpy(image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        geometry, boxes, v, bg, transmittance, bands = ctx.kept
        batch, count = boxes.shape[:2]
        g = grad.contiguous().numpy()
        tasks = batch * bands
        out = np.empty((tasks, count, 6), np.float32)
        grad_values = np.zeros((tasks, count, v.shape[1]), np.float32)
        _run(kernels.backward, tasks, geometry, boxes, v, bg, transmittance, g, out, grad_values, tail=(bands,))
        total = torch.from_numpy(out).view(batch, bands, count, 6).sum(1)
        grad_background = None
        if ctx.needs_input_grad[5]:
            grad_background = torch.einsum("bcyx,byx->c", grad, torch.from_numpy(transmittance))
        return (
            total[..., :2],
            total[..., 2:5],
            total[..., 5],
            torch.from_numpy(grad_values).sum(0),
            None,
            grad_background,
        )


_pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix="emgauss-render")


def _run(kernel: Callable[..., None], tasks: int, *arguments: Any, tail: tuple[Any, ...]) -> None:
    threads = min(torch.get_num_threads(), tasks)
    edges = [k * tasks // threads for k in range(threads + 1)]
    futures = [_pool.submit(kernel, *arguments, edges[k], edges[k + 1], *tail) for k in range(1, threads)]
    kernel(*arguments, edges[0], edges[1], *tail)
    for future in futures:
        future.result()
