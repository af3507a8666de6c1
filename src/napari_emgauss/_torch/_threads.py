"""Threads of torch beside those of the CPU renderer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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
