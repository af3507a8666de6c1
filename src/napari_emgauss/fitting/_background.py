"""Run something long in a thread so that a generator can go on yielding, and can be closed in the middle."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

from napari_emgauss._torch import release_idle_threads

Message = TypeVar("Message")
Result = TypeVar("Result")


class _Cancelled(BaseException):
    """Raised inside the thread by the reporting call: no ``except Exception`` on its way may swallow it."""


_LEAST_WAIT_S = 0.002
"""A caller that asks again at once would take the interpreter from the work."""


class Background(Generic[Message, Result]):
    """``work(report)`` in a thread.

    Iterate over :meth:`messages` until it ends, then take :attr:`result`; an exception of the work is raised there.
    """

    def __init__(self, work: Callable[[Callable[[Message], None]], Result]) -> None:
        self._messages: queue.Queue[Message] = queue.Queue()
        self._cancel = threading.Event()
        self._done = threading.Event()
        self._result: list[Result] = []
        self._error: list[BaseException] = []
        self._work = work
        self._thread = threading.Thread(target=self._run, name="emgauss-prior", daemon=True)

    def _report(self, message: Message) -> None:
        if self._cancel.is_set():
            raise _Cancelled
        self._messages.put(message)

    def _run(self) -> None:
        try:
            self._result.append(self._work(self._report))
        except _Cancelled:
            pass
        except BaseException as error:  # handed over whole to the thread that waits for the result
            self._error.append(error)
        finally:
            self._done.set()

    def messages(self, interval_s: float) -> Generator[Message | None, None, None]:
        """The newest message at least every ``interval_s``, or None where nothing was said.

        Closing this iterator stops the work at its next report and waits for that.
        """
        # What this thread does between messages, a preview for instance, may make torch keep threads for it again.
        release_idle_threads()
        self._thread.start()
        try:
            while not self._done.wait(max(interval_s, _LEAST_WAIT_S)):
                yield self._newest()
                release_idle_threads()
            last = self._newest()
            if last is not None:
                yield last
        finally:
            self._cancel.set()
            self._thread.join()

    def _newest(self) -> Message | None:
        newest = None
        while True:
            try:
                newest = self._messages.get_nowait()
            except queue.Empty:
                return newest

    @property
    def result(self) -> Result:
        """What the work returned."""
        if self._error:
            raise self._error[0]
        return self._result[0]
