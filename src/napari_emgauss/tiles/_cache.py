"""Tiles kept in memory: the ones used last, up to a number of bytes, each loaded once however many threads ask."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class ByteBoundCache(Generic[Key, Value]):
    """Least recently used values go when all together exceed ``max_bytes``.

    Parameters
    ----------
    load : callable
        Makes the value of a key. Runs outside the lock; a second thread that asks meanwhile waits for the first.
    bytes_of : callable
        Size of a value.
    max_bytes : int
        Limit. A value larger than it is handed out, but not kept.
    """

    def __init__(self, load: Callable[[Key], Value], bytes_of: Callable[[Value], int], max_bytes: int) -> None:
        self._load, self._bytes_of = load, bytes_of
        self._max_bytes = int(max_bytes)
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._loading: dict[Key, Future[Value]] = {}
        self._lock = threading.Lock()
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes kept now."""
        return self._bytes

    @property
    def max_bytes(self) -> int:
        """Limit in bytes; setting it lower drops values at once."""
        return self._max_bytes

    @max_bytes.setter
    def max_bytes(self, value: int) -> None:
        with self._lock:
            self._max_bytes = int(value)
            self._shrink()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: object) -> bool:
        return key in self._kept

    def get(self, key: Key) -> Value:
        """The value of ``key``, loaded if it is not kept; an error of loading reaches every thread that waits."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
            future = self._loading.get(key)
            mine = future is None
            if future is None:
                future = self._loading[key] = Future()
        if not mine:
            return future.result()
        try:
            value = self._load(key)
        except BaseException as error:
            with self._lock:
                del self._loading[key]
            future.set_exception(error)
            raise
        with self._lock:
            del self._loading[key]
            size = self._bytes_of(value)
            self._kept[key] = (value, size)
            self._bytes += size
            self._shrink()
        future.set_result(value)
        return value

    def drop(self, key: Key) -> None:
        """Forget a value."""
        with self._lock:
            if key in self._kept:
                self._bytes -= self._kept.pop(key)[1]

    def _shrink(self) -> None:
        while self._bytes > self._max_bytes and self._kept:
            self._bytes -= self._kept.popitem(last=False)[1][1]
