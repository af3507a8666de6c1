"""Losses that are still where they were computed: fetched together, and late, so that no iteration waits for a GPU."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

Tag = TypeVar("Tag")


class _Batch(NamedTuple, Generic[Tag]):
    """Losses on their way to the host; ``there`` is None where they need not travel."""

    tags: list[Tag]
    values: Tensor
    there: torch.cuda.Event | None


class PendingLosses(Generic[Tag]):
    """Losses with what the caller wants to remember of each.

    On a GPU, asking for a loss waits for everything launched before it. Losses are collected until there are
    ``at_once``, then sent to page-locked memory without waiting, and handed out when the next ones are sent: by then
    they have arrived. That also keeps the host from running ahead without limit.

    Parameters
    ----------
    device : torch.device
        Where losses are computed.
    at_once : int
        How many are sent together; 1 hands out every loss at once.
    """

    def __init__(self, device: torch.device, at_once: int) -> None:
        self._device = device
        self.at_once = at_once
        self._tags: list[Tag] = []
        self._losses: list[Tensor] = []
        self._under_way: _Batch[Tag] | None = None

    def __bool__(self) -> bool:
        return bool(self._losses) or self._under_way is not None

    def add(self, loss: Tensor, tag: Tag) -> list[tuple[Tag, float]]:
        """Keep a loss ``()``; returns those that became known, oldest first."""
        self._losses.append(loss)
        self._tags.append(tag)
        if len(self._losses) < self.at_once:
            return []
        if self.at_once == 1:
            return self.rest()
        earlier, self._under_way = self._under_way, self._send()
        return [] if earlier is None else _read(earlier)

    def rest(self) -> list[tuple[Tag, float]]:
        """All losses not handed out yet, oldest first; waits for them."""
        found = [] if self._under_way is None else _read(self._under_way)
        self._under_way = None
        if self._losses:
            found += _read(self._send())
        return found

    def _send(self) -> _Batch[Tag]:
        values, tags = torch.stack(self._losses), self._tags
        self._losses, self._tags = [], []
        if self._device.type != "cuda":
            return _Batch(tags, values, None)
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        there = torch.cuda.Event()
        there.record(torch.cuda.current_stream(self._device))
        return _Batch(tags, host, there)


def _read(batch: _Batch[Tag]) -> list[tuple[Tag, float]]:
    if batch.there is not None:
        batch.there.synchronize()
    return list(zip(batch.tags, batch.values.tolist(), strict=True))
