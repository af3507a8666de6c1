"""Training patches of the self-supervised prior: rows kept as far apart as the slices are, and the rows between them.

Patches of many steps are planned at once on the host, sent in one go and cut out where the slices are, so that no step
waits for numbers of the host; on a CPU that takes half the time of cutting them one by one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss._errors import PriorError
from napari_emgauss._torch import uploaded
from napari_emgauss.priors.learned._training_config import TrainingConfig

_STEPS_AT_ONCE = 64

EVEN_TOLERANCE = 1.15
"""Gaps that differ by less than this factor count as even: rounding a gap to whole pixels is not information."""


def log_gaps(gaps: NDArray[Any], usual: float | None = None) -> NDArray[np.float32]:
    """Logarithm of each gap over the usual (median) one, zero where the gap is nearly that."""
    logarithm = np.log(gaps / (np.median(gaps) if usual is None else usual))
    return np.where(np.abs(logarithm) < np.log(EVEN_TOLERANCE), 0, logarithm).astype(np.float32)


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


class RowDropSampler:
    """Draws training patches: rows kept at the distances of the stack's slices, and the rows between them.

    Parameters
    ----------
    images : ndarray
        ``(K, H, W)`` standardised slices with square pixels.
    gaps_px : ndarray
        ``(K-1,)`` distances between slices in pixels; need be neither even nor whole.
    nodes : int
        In-between rows per gap, see `NetworkConfig`.
    config : TrainingConfig
        Patch sizes.
    seed : int
        Of the draws.
    device : torch.device
        Where batches are wanted.

    Raises
    ------
    PriorError
        If the slices are too small to hold two rows one gap apart.
    """

    def __init__(
        self,
        images: NDArray[np.float32],
        gaps_px: NDArray[np.float64],
        nodes: int,
        config: TrainingConfig,
        seed: int,
        device: torch.device | None = None,
    ) -> None:
        self.gaps, self.usual_gap = gaps_px, float(np.median(gaps_px))
        self.batch, self.nodes = config.batch, nodes
        self.shape = images.shape
        shortest = min(images.shape[1:])
        self.columns = min(config.columns, shortest)
        self.rows = min(config.rows, len(gaps_px) + 1, int((shortest - 1) / self.usual_gap) + 1)
        if self.rows < 2:
            raise PriorError(
                f"Slices of {images.shape[1]} x {images.shape[2]} pixels are smaller than the gap between them "
                f"({self.usual_gap:.0f} pixels): nothing can be learned within them; choose the prior 'linear+blur'."
            )
        self._random = np.random.default_rng(seed)
        self._device = torch.device("cpu") if device is None else device
        self._pixels = uploaded(np.ascontiguousarray(images), self._device).reshape(-1)
        self._column = torch.arange(self.columns, device=self._device)
        self._step = _STEPS_AT_ONCE
        self._before_plan = self._random.bit_generator.state
        self._places: Tensor
        self._numbers: Tensor
        self._whole = False

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """One batch: rows ``(B, R, X)``, log gaps ``(B, R-1)``, and the rows between ``(B, nodes, R-1, X)``."""
        if self._step == _STEPS_AT_ONCE:
            self._make_plan()
            self._step = 0
        here = slice(self._step * self.batch, (self._step + 1) * self.batch)
        self._step += 1
        places, numbers = self._places[here], self._numbers[here]
        start, row_step, column_step, last = (v[:, :, None] for v in places[:, :4].split(1, dim=1))
        rows = self._cut(start, row_step, column_step, places[:, 4 : 4 + self.rows])
        log_gap = numbers[:, : self.rows - 1]
        low = places[:, 4 + self.rows :]
        if self._whole:
            between = self._cut(start, row_step, column_step, low)
        else:
            between = torch.zeros((*low.shape, self.columns), device=self._device)
            for tap, weight in enumerate(_cubic_weights(numbers[:, self.rows - 1 :, None])):
                near = torch.minimum((low + (tap - 1)).clamp(min=0), last[:, :, 0])
                between += weight * self._cut(start, row_step, column_step, near)
        return rows, log_gap, between.reshape(self.batch, self.nodes, self.rows - 1, self.columns)

    def apart(self, seed: int) -> RowDropSampler:
        """Another sampler of the same slices, with draws of its own."""
        other = copy.copy(self)
        other._random = np.random.default_rng(seed)
        other._before_plan, other._step = other._random.bit_generator.state, _STEPS_AT_ONCE
        return other

    def _cut(self, start: Tensor, row_step: Tensor, column_step: Tensor, rows: Tensor) -> Tensor:
        """Pixels ``(B, n, columns)`` of rows ``(B, n)`` of the patches."""
        return self._pixels[start + rows[:, :, None] * row_step + self._column * column_step].float()

    def plan(self, steps: int) -> PatchPlan:
        """Draw where the patches of ``steps`` batches lie."""
        random, count = self._random, steps * self.batch
        offsets = self._row_offsets(count)
        slices, height, width = self.shape
        transposed = random.random(count) < 0.5
        rows, columns = np.where(transposed, width, height), np.where(transposed, height, width)
        return PatchPlan(
            image=random.integers(0, slices, count),
            transposed=transposed,
            rows_flipped=random.random(count) < 0.5,
            columns_flipped=random.random(count) < 0.5,
            top=random.integers(0, rows - offsets[:, -1]),
            left=random.integers(0, columns - self.columns + 1),
            offsets=offsets,
        )

    def state(self) -> dict[str, Any]:
        """Where the draws are, as JSON can hold it: the generator before the plan in use, and the steps taken of it."""
        used_up = self._step == _STEPS_AT_ONCE
        return {"generator": self._random.bit_generator.state if used_up else self._before_plan, "step": self._step}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another sampler of the same slices and settings was, see :meth:`state`."""
        step = state["step"]
        if type(step) is not int or not 0 <= step <= _STEPS_AT_ONCE:
            raise ValueError("The number of steps is not one of a plan.")
        self._random.bit_generator.state = state["generator"]
        self._step = step
        if self._step < _STEPS_AT_ONCE:
            self._make_plan()

    def _make_plan(self) -> None:
        self._before_plan = self._random.bit_generator.state
        self._send(self.plan(_STEPS_AT_ONCE))

    def _row_offsets(self, count: int) -> NDArray[np.int64]:
        """Kept rows ``(count, R)``: runs of the stack's own gaps, forwards or backwards, rounded to whole pixels."""
        random = self._random
        runs = np.lib.stride_tricks.sliding_window_view(self.gaps, self.rows - 1)
        longest = min(self.shape[1:]) - 1
        usual = max(1, int(self.usual_gap))
        out = np.tile(np.arange(self.rows, dtype=np.int64) * usual, (count, 1))
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
        """Bring a plan to the device as places in the flat array of all slices."""
        _, height, width = self.shape
        offsets = plan.offsets
        last = offsets[:, -1]
        row_stride, column_stride = np.where(plan.transposed, 1, width), np.where(plan.transposed, width, 1)
        first_row = plan.top + np.where(plan.rows_flipped, last, 0)
        first_column = plan.left + np.where(plan.columns_flipped, self.columns - 1, 0)
        start = plan.image * (height * width) + first_row * row_stride + first_column * column_stride
        row_step = row_stride * np.where(plan.rows_flipped, -1, 1)
        column_step = column_stride * np.where(plan.columns_flipped, -1, 1)
        low, part = places_between(offsets, self.nodes)
        self._whole = bool(np.all(part < 1e-6))
        flat_low: Any = low.reshape(len(offsets), -1)
        places = np.column_stack([start, row_step, column_step, last, offsets, flat_low]).astype(np.int64)
        gaps = np.diff(offsets, axis=1)
        numbers = np.column_stack([log_gaps(gaps, self.usual_gap), part.reshape(len(offsets), -1)])
        self._places = uploaded(places, self._device)
        self._numbers = uploaded(numbers.astype(np.float32), self._device)


def places_between(offsets: NDArray[np.int64], nodes: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows at ``nodes`` even positions within each gap of kept rows ``(n, R)``.

    Returns
    -------
    low : ndarray
        ``(n, nodes, R-1)`` whole row at or before the position.
    part : ndarray
        The same shape: how far beyond it, in [0, 1).
    """
    steps = np.arange(1, nodes + 1)[:, None] / (nodes + 1)
    positions = offsets[:, None, :-1] + steps * np.diff(offsets, axis=1)[:, None]
    low = np.floor(positions + 1e-9).astype(np.int64)
    return low, (positions - low).astype(np.float32)


def _cubic_weights(s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of the pixels at -1, 0, 1, 2 at ``s`` in [0, 1): Catmull-Rom's cubic (Keys 1981, a = -1/2)."""
    return (
        ((-s + 2) * s - 1) * s / 2,
        ((3 * s - 5) * s * s + 2) / 2,
        ((-3 * s + 4) * s + 1) * s / 2,
        (s - 1) * s * s / 2,
    )
