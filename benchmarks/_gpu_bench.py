"""What the sections of ``gpu.py`` share: the device, its clock, its speeds, floors."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_emgauss.render import available_backends, choose_backend

Row = dict[str, Any]


class Clock:
    """What is left of the time that a section may take."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()


@dataclass(frozen=True)
class Rates:
    """What the device does at best, measured: a copy, and matrix products in float32 and in bfloat16."""

    bytes_per_s: float
    flops_per_s: float
    bfloat16_flops_per_s: float

    def floor_ms(self, nbytes: float, flops: float, *, bfloat16: bool = False) -> float:
        """Least time for so many bytes moved and so many operations, whichever takes longer."""
        return 1e3 * max(
            nbytes / self.bytes_per_s, flops / (self.bfloat16_flops_per_s if bfloat16 else self.flops_per_s)
        )


@dataclass(frozen=True)
class Bench:
    """Where and with what is measured."""

    device: str
    backends: tuple[str, ...]
    toy: bool
    reason: str = ""
    statuses: tuple[Any, ...] = field(default=(), repr=False)

    @classmethod
    def here(cls, *, cpu: bool, toy: bool) -> Bench:
        """The device that ``auto`` takes (the CPU if asked for), and its renderers."""
        statuses = available_backends()
        choice = choose_backend("cpu" if cpu else "auto")
        wanted = ("triton", "cuda", "reference") if choice.device.startswith("cuda") else ("cpu", "reference")
        working = {s.name for s in statuses if s.available}
        backends = tuple(name for name in wanted if name in working)
        return cls(choice.device, backends, toy, f"{choice.backend} on {choice.device}: {choice.reason}", statuses)

    @property
    def cuda(self) -> bool:
        """Whether there is a GPU to wait for."""
        return self.device.startswith("cuda")

    def wait(self) -> None:
        """Until everything launched is done."""
        if self.cuda:
            torch.cuda.synchronize()

    def milliseconds(self, work: Callable[[], object], repeats: int = 20) -> float:
        """Median wall time of a call, the GPU's work included; the first three (toy: the first) do not count."""
        times = []
        unheeded = 1 if self.toy else 3
        for k in range((2 if self.toy else repeats) + unheeded):
            self.wait()
            begun = time.perf_counter()
            work()
            self.wait()
            if k >= unheeded:
                times.append(time.perf_counter() - begun)
        return float(np.median(times)) * 1e3

    @contextmanager
    def peak(self, row: Row) -> Iterator[None]:
        """Write the peak of GPU memory during the block into ``row``."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        yield
        row["peak_gpu_mb"] = torch.cuda.max_memory_allocated() / 2**20 if self.cuda else None

    @cached_property
    def rates(self) -> Rates:
        """Measured once: half a second on a GPU."""
        elements, side = (1 << 20, 256) if self.toy else (1 << 28, 8192)
        source = torch.zeros(elements, device=self.device)
        target = torch.empty_like(source)
        copy_ms = self.milliseconds(lambda: target.copy_(source), 10)

        def product(dtype: torch.dtype) -> float:
            matrix = torch.ones(side, side, device=self.device, dtype=dtype)
            return 2.0 * side**3 / self.milliseconds(lambda: matrix @ matrix, 5) * 1e3

        return Rates(8.0 * elements / copy_ms * 1e3, product(torch.float32), product(torch.bfloat16))


def guarded(row: Row, work: Callable[[], None]) -> Row:
    """``row`` after ``work`` has filled it; where that failed, with the error in one line instead."""
    try:
        work()
    except Exception as error:  # one renderer or size that fails must not take the others along
        text = str(error).strip() or type(error).__name__
        row["error"] = text.splitlines()[0][:200]
    return row


FORWARD_FLOPS, BACKWARD_FLOPS = 16, 50
"""Operations for a pixel that lies in a splat's ellipse, counted in the formula and in its gradient."""


def ellipse_pixels(conics: Tensor, opacities: Tensor) -> float:
    """Pairs of a pixel and a splat that it sees, were there no borders: the ellipses' areas."""
    a, b, c = conics.detach().double().unbind(-1)
    cut = torch.log((opacities.detach().double() * 255).clamp(min=1.0))
    return float((2 * math.pi * cut / (a * c - b * b).sqrt()).sum())


def render_floors(cloud: dict[str, Tensor], side: int, rates: Rates) -> tuple[float, float]:
    """Least milliseconds forwards, and forwards and backwards: inputs read and outputs written once, each pair once."""
    batch, count = cloud["opacities"].shape
    channels = cloud["values"].shape[1]
    pairs = ellipse_pixels(cloud["conics"], cloud["opacities"])
    image = 4.0 * batch * channels * side * side
    splats = 24.0 * batch * count + 4.0 * count * channels
    forward = rates.floor_ms(splats + image, pairs * FORWARD_FLOPS)
    backward = rates.floor_ms(2 * splats + image + 8.0 * batch * side * side, pairs * BACKWARD_FLOPS)
    return forward, forward + backward
