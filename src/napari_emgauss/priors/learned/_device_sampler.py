"""Training patches of the self-supervised prior drawn where the network is: no step waits for numbers of the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss._torch import uploaded
from napari_emgauss.priors.learned._training import RowDropSampler, log_gaps

_STEPS_AT_ONCE = 64


@dataclass(frozen=True)
class PatchPlan:
    """Where the patches of some steps lie: ``n = steps * batch`` of each.

    Parameters
    ----------
    image : ndarray
        ``(n,)`` slice.
    transposed, rows_flipped, columns_flipped : ndarray
        ``(n,)`` bool: how the slice, then the patch, is turned.
    top, left : ndarray
        ``(n,)`` first row and column in the slice as it is turned.
    offsets : ndarray
        ``(n, R)`` kept rows of the patch, the first is 0.
    """

    image: NDArray[np.int64]
    transposed: NDArray[np.bool_]
    rows_flipped: NDArray[np.bool_]
    columns_flipped: NDArray[np.bool_]
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    offsets: NDArray[np.int64]


class DeviceSampler:
    """Draws what a `RowDropSampler` draws, from slices kept on a device.

    Patches of many steps are planned at once on the host (another sequence of random numbers than the
    `RowDropSampler` has, of the same distribution), sent in one go, and cut out on the device.

    Parameters
    ----------
    sampler : RowDropSampler
        Its slices, gaps, sizes and generator.
    device : torch.device
        Where batches are wanted.
    """

    def __init__(self, sampler: RowDropSampler, device: torch.device) -> None:
        self._sampler = sampler
        self._device = device
        self._random = sampler.random
        self._pixels = uploaded(np.ascontiguousarray(sampler.images), device).reshape(-1)
        self._columns = torch.arange(sampler.columns, device=device)
        self._left = 0
        self._step = 0
        self._places: Tensor
        self._parts: Tensor
        self._whole = False

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """One batch, as `RowDropSampler.draw` has it."""
        if self._step == self._left:
            self._send(self.plan(_STEPS_AT_ONCE))
            self._left, self._step = _STEPS_AT_ONCE, 0
        sampler = self._sampler
        batch, kept, nodes = sampler.batch, sampler.rows, sampler.nodes
        here = slice(self._step * batch, (self._step + 1) * batch)
        self._step += 1
        places, parts = self._places[here], self._parts[here]
        start, row_step, column_step, last = (v[:, :, None] for v in places[:, :4].split(1, dim=1))
        rows = self._cut(start, row_step, column_step, places[:, 4 : 4 + kept])
        log_gap = parts[:, : kept - 1]
        low = places[:, 4 + kept :]
        if self._whole:
            between = self._cut(start, row_step, column_step, low)
        else:
            s = parts[:, kept - 1 :, None]
            # Catmull-Rom's cubic, as in `_rows_between`.
            weights = (
                ((-s + 2) * s - 1) * s / 2,
                ((3 * s - 5) * s * s + 2) / 2,
                ((-3 * s + 4) * s + 1) * s / 2,
                (s - 1) * s * s / 2,
            )
            between = torch.zeros((*low.shape, sampler.columns), device=self._device)
            for tap, weight in enumerate(weights):
                near = torch.minimum((low + (tap - 1)).clamp(min=0), last[:, :, 0])
                between += weight * self._cut(start, row_step, column_step, near)
        return rows, log_gap, between.reshape(batch, nodes, kept - 1, sampler.columns)

    def _cut(self, start: Tensor, row_step: Tensor, column_step: Tensor, rows: Tensor) -> Tensor:
        """Pixels ``(B, n, columns)`` of rows ``(B, n)`` of the patches."""
        return self._pixels[start + rows[:, :, None] * row_step + self._columns * column_step]

    def plan(self, steps: int) -> PatchPlan:
        """Draw where the patches of ``steps`` batches lie."""
        random, sampler = self._random, self._sampler
        count = steps * sampler.batch
        offsets = self._offsets(count)
        slices, height, width = sampler.images.shape
        transposed = random.random(count) < 0.5
        rows, columns = np.where(transposed, width, height), np.where(transposed, height, width)
        return PatchPlan(
            image=random.integers(0, slices, count),
            transposed=transposed,
            rows_flipped=random.random(count) < 0.5,
            columns_flipped=random.random(count) < 0.5,
            top=random.integers(0, rows - offsets[:, -1]),
            left=random.integers(0, columns - sampler.columns + 1),
            offsets=offsets,
        )

    def _offsets(self, count: int) -> NDArray[np.int64]:
        """Kept rows ``(count, R)``: runs of the stack's own gaps, forwards or backwards, rounded to whole pixels."""
        random, sampler = self._random, self._sampler
        runs = np.lib.stride_tricks.sliding_window_view(sampler.gaps, sampler.rows - 1)
        longest = min(sampler.images.shape[1:]) - 1
        usual = max(1, int(sampler.usual_gap))
        out = np.tile(np.arange(sampler.rows, dtype=np.int64) * usual, (count, 1))
        missing = np.arange(count)
        for _ in range(20):
            run = runs[random.integers(0, len(runs), len(missing))]
            run = np.where(random.random((len(missing), 1)) < 0.5, run[:, ::-1], run)
            broken = np.any(run != np.rint(run), axis=1)
            phase = np.where(broken, random.random(len(missing)), 0.0)
            whole = np.pad(np.cumsum(run, axis=1), ((0, 0), (1, 0)))
            offsets = np.floor(whole + phase[:, None]).astype(np.int64)
            good = np.all(np.diff(offsets, axis=1) >= 1, axis=1) & (offsets[:, -1] <= longest)
            out[missing[good]] = offsets[good]
            missing = missing[~good]
            if len(missing) == 0:
                break
        return out

    def _send(self, plan: PatchPlan) -> None:
        sampler = self._sampler
        _, height, width = sampler.images.shape
        offsets = plan.offsets
        last = offsets[:, -1]
        row_stride, column_stride = np.where(plan.transposed, 1, width), np.where(plan.transposed, width, 1)
        first_row = plan.top + np.where(plan.rows_flipped, last, 0)
        first_column = plan.left + np.where(plan.columns_flipped, sampler.columns - 1, 0)
        start = plan.image * (height * width) + first_row * row_stride + first_column * column_stride
        row_step = row_stride * np.where(plan.rows_flipped, -1, 1)
        column_step = column_stride * np.where(plan.columns_flipped, -1, 1)
        steps = np.arange(1, sampler.nodes + 1)[:, None] / (sampler.nodes + 1)
        gaps = np.diff(offsets, axis=1)
        positions = offsets[:, None, :-1] + steps * gaps[:, None]
        low = np.floor(positions + 1e-9).astype(np.int64)
        part = (positions - low).astype(np.float32)
        self._whole = bool(np.all(part < 1e-6))
        flat: Any = low.reshape(len(offsets), -1)
        places = np.column_stack([start, row_step, column_step, last, offsets, flat]).astype(np.int64)
        parts = np.column_stack([log_gaps(gaps, sampler.usual_gap), part.reshape(len(offsets), -1)])
        self._places = uploaded(places, self._device)
        self._parts = uploaded(parts.astype(np.float32), self._device)
