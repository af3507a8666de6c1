"""What devices can and cannot do, and how to hand them numbers without waiting for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_PAGE_LOCKED_BYTES = 64 << 20


def constant(like: Tensor, *values: float) -> Tensor:
    """A tensor of ``values`` with the dtype and device of ``like``; it must not be written to.

    Kept on the device: a new one would make the host wait until the GPU has done all that was launched before.
    """
    return _constant(values, like.dtype, like.device)


@lru_cache(maxsize=64)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # Made while rendering it would be of no use to a later backward pass.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def uploaded(array: NDArray[Any], device: torch.device) -> Tensor:
    """``array`` on ``device``; to a CUDA device by page-locked memory, so that the host does not wait.

    Large arrays are waited for: they are sent once, and torch never gives page-locked memory back.
    """
    # torch shares memory with arrays, and has no tensors that must not be written to.
    tensor = torch.as_tensor(array if array.flags.writeable else array.copy())
    if device.type == "cpu":
        return tensor
    if device.type == "cuda" and array.nbytes <= _PAGE_LOCKED_BYTES:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@cache
def has_float64(device: torch.device) -> bool:
    """Whether ``device`` calculates in float64: Apple's GPUs and many of Intel's do not."""
    if device.type == "mps":
        return False
    if device.type == "xpu":
        try:
            return bool(getattr(torch.xpu.get_device_properties(device), "has_fp64", False))
        except Exception:  # a driver that cannot even be asked
            return False
    return True


def wide(tensor: Tensor) -> Tensor:
    """``tensor`` in float64 where its device has that, as it is elsewhere."""
    return tensor.double() if has_float64(tensor.device) else tensor


@contextmanager
def tensor_float32(device: torch.device) -> Iterator[None]:
    """On a CUDA device, matrix products with ten bits of mantissa, several times as fast; as they are elsewhere.

    A deformation network's output is an offset of a few pixels: a thousandth of that does not show.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def has_fused_adam(device: torch.device) -> bool:
    """Whether torch's fused Adam runs on ``device``: tried once, since that changes with the version of torch."""
    try:
        with torch.inference_mode(False):
            parameter = nn.Parameter(torch.zeros(2, device=device))
            parameter.grad = torch.zeros_like(parameter)
            torch.optim.Adam([parameter], fused=True).step()
    except (RuntimeError, NotImplementedError, TypeError):
        return False
    return True
