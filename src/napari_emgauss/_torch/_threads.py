"""Threads of torch beside those of the CPU renderer."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch

PIXELS_PER_THREAD = 2**18
"""Of a picture, for torch to be worth another thread."""

_RENDERING: ContextVar[int | None] = ContextVar("rendering", default=None)


def rendering_threads() -> int:
    """Threads that the CPU renderer may take: as many as torch, unless that is held back."""
    held = _RENDERING.get()
    return torch.get_num_threads() if held is None else held


@contextmanager
def torch_held_back(pixels: int) -> Iterator[None]:
    """Let torch take one thread for every ``PIXELS_PER_THREAD``, and the CPU renderer as many as torch had.

    After each of its operations torch's threads go on spinning for a while, on cores that the renderer's threads then
    wait for. On small pictures they bring nothing; on two cores an iteration of 250 x 250 pixels is a fifth faster
    without them. To let them sleep at once would be slower still: they are needed again within microseconds.
    """
    before = torch.get_num_threads()
    wanted = min(before, max(1, pixels // PIXELS_PER_THREAD))
    if wanted == before:
        yield
        return
    token = _RENDERING.set(before)
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _RENDERING.reset(token)


def release_idle_threads() -> None:
    """End the threads that torch keeps waiting for the calling thread; the next operation that wants them starts anew.

    To libgomp they count among those at work. Another thread that now makes torch work, with as many threads again, has
    more than there are cores: libgomp then lets each of them go to sleep after every operation, and a prior that is
    trained and asked in a thread of its own takes a third longer. Elsewhere than on Linux this does nothing.
    """
    pause = _pause()
    if pause is not None:
        pause(_SOFTLY)


_SOFTLY = 1
"""``omp_pause_soft`` of OpenMP 5: what threads keep for themselves stays as it is."""


@cache
def _pause() -> Callable[[int], int] | None:
    """``omp_pause_resource_all`` of the library that torch itself works with."""
    if sys.platform != "linux":
        return None
    try:
        # Looked up in torch's library and in all that it is linked with: the process may hold another OpenMP besides.
        return ctypes.CDLL(torch._C.__file__).omp_pause_resource_all
    except (OSError, AttributeError):
        return None
