"""Values kept in memory: the ones used last, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class ByteBoundCache(Generic[Key, Value]):
    """Least recently used values go when all together exceed ``max_bytes``. Safe to use from several threads.

    Parameters
    ----------
    bytes_of : callable
        Size of a value.
    max_bytes : int
        Limit. A value larger than it is not kept.
    """

    def __init__(self, bytes_of: Callable[[Value], int], max_bytes: int) -> None:
        self._bytes_of = bytes_of
        self._max_bytes = int(max_bytes)
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._loading: dict[Key, Future[Value]] = {}
        self._lock = threading.Lock()
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._nbytes

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

    def get(self, key: Key) -> Value | None:
        """The value of ``key``, or None where it is not kept."""
        with self._lock:
            return self._touched(key)

    def put(self, key: Key, value: Value) -> None:
        """Keep a value; it must not be changed afterwards. One that is kept already stays."""
        with self._lock:
            self._keep(key, value)

    def get_or_load(self, key: Key, load: Callable[[Key], Value]) -> Value:
        """The value of ``key``, loaded if it is not kept: once, however many threads ask.

        ``load`` runs outside the lock; its error reaches every thread that waits, and is not remembered.
        """
        with self._lock:
            kept = self._touched(key)
            if kept is not None:
                return kept
            future = self._loading.get(key)
            mine = future is None
            if future is None:
                future = self._loading[key] = Future()
        if not mine:
            return future.result()
        try:
            value = load(key)
        except BaseException as error:
            with self._lock:
                del self._loading[key]
            future.set_exception(error)
            raise
        with self._lock:
            del self._loading[key]
            self._keep(key, value)
        future.set_result(value)
        return value

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._kept.clear()
            self._nbytes = 0

    def _touched(self, key: Key) -> Value | None:
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def _keep(self, key: Key, value: Value) -> None:
        if key not in self._kept:  # two threads may have made the same one
            size = self._bytes_of(value)
            self._kept[key] = (value, size)
            self._nbytes += size
            self._shrink()

    def _shrink(self) -> None:
        while self._nbytes > self._max_bytes and self._kept:
            self._nbytes -= self._kept.popitem(last=False)[1][1]
