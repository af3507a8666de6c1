"""Which renderers can be used here, and which one to take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Literal

import torch

from napari_emgauss._errors import BackendError

BackendName = Literal["reference", "cpu", "triton", "cuda"]


@dataclass(frozen=True)
class BackendStatus:
    """Whether a renderer can be used on this machine, and why not."""

    name: BackendName
    available: bool
    reason: str


@dataclass(frozen=True)
class BackendChoice:
    """A renderer, the torch device it runs on, and one line that says why."""

    backend: BackendName
    device: str
    reason: str


@cache
def _cpu_status() -> BackendStatus:
    if find_spec("numba") is None:
        return BackendStatus("cpu", False, "numba is not installed; pip install numba")
    return BackendStatus("cpu", True, "numba")


def available_backends() -> tuple[BackendStatus, ...]:
    """Every renderer, whether it can be used here, and the reason."""
    return (BackendStatus("reference", True, "plain torch, any device"), _cpu_status())


def choose_backend(device: str | torch.device = "auto") -> BackendChoice:
    """The device to fit and render on and its fastest renderer that works, with the reason in one line."""
    name = "cpu" if str(device) == "auto" else str(device)
    chosen = backend_for(torch.device(name), torch.float32, "auto")
    return BackendChoice(chosen, name, next(s.reason for s in available_backends() if s.name == chosen))


def backend_for(device: torch.device, dtype: torch.dtype, wanted: str) -> BackendName:
    """The renderer to use for tensors on ``device``."""
    if wanted == "auto":
        if device.type == "cpu" and dtype == torch.float32 and _cpu_status().available:
            return "cpu"
        return "reference"
    if wanted == "reference":
        return "reference"
    if wanted == "cpu":
        if device.type != "cpu" or dtype != torch.float32:
            raise BackendError(f"The cpu renderer takes float32 tensors on the CPU, not {dtype} on {device}.")
        if not _cpu_status().available:
            raise BackendError(f"The cpu renderer cannot be used: {_cpu_status().reason}.")
        return "cpu"
    raise BackendError(f"There is no renderer called {wanted!r}; there are reference, cpu, triton and cuda.")
