"""Signals that ask a command to end, as exceptions: what it was writing is cleared away as for any other error."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

EXIT_OF_SIGNALS = 128  # as shells count: 128 and the signal's number


class Stopped(BaseException):
    """A signal asked the process to end.

    Parameters
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What the process says when it ends."""
        return EXIT_OF_SIGNALS + self.number

    @property
    def name(self) -> str:
        """``SIGTERM``, ``SIGHUP``."""
        return signal.Signals(self.number).name


def polite_signals() -> list[int]:
    """Signals that ask to end and can be answered: the terminal's end is no reason where it was set aside (nohup)."""
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]


@contextlib.contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """SIGTERM and SIGHUP raise :class:`Stopped` in this block; once, for what follows is clearing up."""
    before: dict[int, Any] = {}
    hook = sys.unraisablehook

    def stop(number: int, _frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        survive_lost_terminal()
        raise Stopped(number)

    def take(numbers: Iterable[int]) -> None:
        for number in numbers:
            previous = signal.signal(number, stop)
            before.setdefault(number, previous)

    def again(unraisable: sys.UnraisableHookArgs) -> None:
        """An exception that Python can only ignore (in the end of an object, in a callback) must not be lost."""
        lost = unraisable.exc_value
        if isinstance(lost, Stopped):
            take(before)
            _send_soon(lost.number)
        elif isinstance(lost, KeyboardInterrupt):
            _send_soon(signal.SIGINT)
        else:
            hook(unraisable)

    with contextlib.suppress(ValueError):  # not in the main thread: whoever calls from there has own ways
        take(polite_signals())
    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _send_soon(number: int) -> None:
    threading.Timer(0.01, os.kill, (os.getpid(), number)).start()


def survive_lost_terminal() -> None:
    """Let output go nowhere where the terminal has gone: writing to it would be one more error."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            number = stream.fileno()
            if not stat.S_ISCHR(os.fstat(number).st_mode):
                continue
            try:
                os.write(number, b"\n")
            except OSError:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)
