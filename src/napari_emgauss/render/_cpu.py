"""The CPU renderer: numba kernels with a hand-written backward pass, spread over threads of our own.

The kernels are serial and free of the GIL; a pool of Python threads runs them on ranges of tasks. numba's own parallel
loops would need a threading layer, of which the one that is always there (workqueue) aborts the process when two Python
threads launch at once, as a fit and a slider do. This way any number of threads may render at the same time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from napari_emgauss._torch import rendering_threads
from napari_emgauss.render import _cpu_kernels as kernels

_BAND_ROWS = 16
"""Rows of a band: its scratch fits the first two caches, and a splat of a few pixels meets one or two bands."""
_CHUNK_SPLATS = 2048
"""Splats per task where work is divided by splats; fixed, so that the order of sums does not depend on the threads."""
_MOST_CHUNKS = 16
_TASKS_PER_THREAD = 4
"""Bands differ in cost: more ranges than threads even that out."""

FloatArray = NDArray[np.float32]


class _Entries(NamedTuple):
    """What ``prepare``, ``lay_out`` and ``list_entries`` found; see ``_cpu_kernels``."""

    geometry: FloatArray
    boxes: NDArray[np.int32]
    starts: NDArray[np.intp]
    edges: NDArray[np.intp]
    entries: NDArray[np.int32]


def splat_cpu(
    means: Tensor,
    conics: Tensor,
    opacities: Tensor,
    values: Tensor,
    size: tuple[int, int],
    background: Tensor,
) -> Tensor:
    """Blend splats in index order; arguments and result as in ``splat_reference``, float32 on the CPU."""
    return _Splat.apply(means, conics, opacities, values, size, background)


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
        painted, behind = _as_array(values), _as_array(background)
        height, width = size
        batch = means.shape[0]
        found = _find_entries(_as_array(means), _as_array(conics), _as_array(opacities), height, width)
        image = np.empty((batch, painted.shape[1], height, width), np.float32)
        transmittance = np.empty((batch, height, width), np.float32)
        bands = found.edges.shape[1] - 1
        exhausted = np.empty((batch, bands), np.bool_)
        _run(
            kernels.blend,
            batch * bands,
            *(found.geometry, found.boxes, painted, behind, found.entries, found.edges),
            *(_BAND_ROWS, image, transmittance, exhausted),
        )
        if any(ctx.needs_input_grad):
            ctx.kept = (found, painted, behind, transmittance, exhausted)
        return torch.from_numpy(image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found, painted, behind, transmittance, exhausted = ctx.kept
        batch, count = found.boxes.shape[:2]
        channels = painted.shape[1]
        bands = found.edges.shape[1] - 1
        sums = np.empty((found.entries.shape[0], 6 + channels), np.float32)
        _run(
            kernels.blend_backward,
            batch * bands,
            *(found.geometry, found.boxes, painted, behind, found.entries, found.edges),
            *(_BAND_ROWS, transmittance, exhausted, _as_array(grad), sums),
        )
        grads = [np.empty(shape, np.float32) for shape in ((batch, count, 2), (batch, count, 3), (batch, count))]
        grad_values = np.empty((count, channels), np.float32)
        _run(
            kernels.gather,
            found.starts.shape[1],
            *(found.geometry, found.boxes, found.starts, _BAND_ROWS, sums, *grads, grad_values),
        )
        grad_background = None
        if ctx.needs_input_grad[5]:
            grad_background = torch.einsum("bcyx,byx->c", grad, torch.from_numpy(transmittance))
        return (*(torch.from_numpy(g) for g in grads), torch.from_numpy(grad_values), None, grad_background)


def _as_array(tensor: Tensor) -> FloatArray:
    array: FloatArray = tensor.detach().contiguous().numpy()
    return array


def _find_entries(means: FloatArray, conics: FloatArray, opacities: FloatArray, height: int, width: int) -> _Entries:
    batch, count = opacities.shape
    bands = -(-height // _BAND_ROWS)
    chunks = max(1, min(_MOST_CHUNKS, -(-count // _CHUNK_SPLATS)))
    geometry = np.empty((batch, count, kernels.GEOMETRY), np.float32)
    boxes = np.empty((batch, count, 4), np.int32)
    counts = np.empty((batch, chunks, bands), np.intp)
    _run(
        kernels.prepare,
        batch * chunks,
        *(means, conics, opacities, height, width, _BAND_ROWS, geometry, boxes, counts),
    )
    starts = np.empty_like(counts)
    edges = np.empty((batch, bands + 1), np.intp)
    entries = np.empty(kernels.lay_out(counts, starts, edges), np.int32)
    _run(kernels.list_entries, batch * chunks, boxes, starts, _BAND_ROWS, entries)
    return _Entries(geometry, boxes, starts, edges, entries)


_pool: ThreadPoolExecutor


def _new_pool() -> None:
    global _pool
    _pool = ThreadPoolExecutor(max_workers=128, thread_name_prefix="emgauss-render")


_new_pool()
if hasattr(os, "register_at_fork"):  # threads do not survive a fork; waiting for them in the child would hang
    os.register_at_fork(after_in_child=_new_pool)


def _run(kernel: Callable[..., Any], tasks: int, *arguments: Any) -> None:
    """Run ``kernel(*arguments, first, last)`` over all tasks, on as many threads as torch may use."""
    threads = min(rendering_threads(), tasks)
    if threads <= 1:
        kernel(*arguments, 0, tasks)
        return
    ranges = min(tasks, threads * _TASKS_PER_THREAD)
    borders = [k * tasks // ranges for k in range(ranges + 1)]
    waiting = iter(list(pairwise(borders)))

    def work() -> None:
        for first, last in waiting:  # an iterator shared by the threads: each range is taken once
            kernel(*arguments, first, last)

    helpers = [_pool.submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        for helper in helpers:
            helper.result()
