"""A spawned process with one pipe in, two switches, and a sure end. Knows neither Qt nor napari.

The window's side is :class:`ChildProcess`, the child's side is :class:`Channel`.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from napari_emgauss._errors import EmgaussError

from ._wording import sentence

LOGGER = logging.getLogger("napari_emgauss.plugin")

# Never fork: Qt, CUDA and OpenMP do not survive it.
SPAWN = multiprocessing.get_context("spawn")

MESSAGE_INTERVAL_S = 0.1
"""Least time between two progress messages. Unthrottled messages block the window's event loop for seconds."""

_MAIN_LOCK = threading.Lock()


@dataclass(frozen=True)
class Failure:
    """What a child says when it fails: one sentence for the user, and the traceback for the log."""

    sentence: str
    details: str
    expected: bool = False


class ChildFailedError(EmgaussError, RuntimeError):
    """The work in a child process failed; the message is for the user, ``details`` for the log."""

    def __init__(self, sentence: str, details: str = "") -> None:
        super().__init__(sentence)
        self.details = details


@contextlib.contextmanager
def _hidden_main() -> Iterator[None]:
    """Keep spawn from running the user's script again in the child.

    Scripts create their viewer at the top level, outside ``if __name__ == "__main__"``; the child would open another.
    Sound because every target lives in an importable module, never in ``__main__``.
    """
    with _MAIN_LOCK:
        main = sys.modules["__main__"]
        saved: dict[str, Any] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
        try:
            vars(main).pop("__file__", None)
            main.__spec__ = None
            yield
        finally:
            vars(main).update(saved)


class Channel:
    """What a child holds: a way to tell, and the window's wishes.

    Parameters
    ----------
    connection : multiprocessing.connection.Connection
        Where messages go.
    pause, stop, attention, crowded : multiprocessing.synchronize.Event
        Set by the window. ``attention`` is free for the target's own use (the fit: "show me the present state");
        ``crowded`` says that the window wants a core.
    """

    def __init__(self, connection: Any, pause: Any, stop: Any, attention: Any, crowded: Any) -> None:
        self._connection = connection
        self._pause, self._stop, self.attention, self.crowded = pause, stop, attention, crowded
        self._last = 0.0

    def tell(self, message: object) -> None:
        """Send a message that must arrive."""
        self._connection.send(message)

    def tell_progress(self, message: object) -> bool:
        """Send a message unless the last one was less than :data:`MESSAGE_INTERVAL_S` ago."""
        now = time.perf_counter()
        if now - self._last < MESSAGE_INTERVAL_S:
            return False
        self._last = now
        self._connection.send(message)
        return True

    @property
    def stop_wanted(self) -> bool:
        """The window asked to stop, or is gone."""
        parent = multiprocessing.parent_process()
        return bool(self._stop.is_set()) or (parent is not None and not parent.is_alive())

    def wait_while_paused(self) -> None:
        """Return when the work may go on (or must stop)."""
        while self._pause.is_set() and not self.stop_wanted:
            time.sleep(0.02)


def _in_child(target: Callable[..., None], connection: Any, switches: tuple[Any, Any, Any, Any], args: Any) -> None:
    """Where every child starts."""
    lower_priority()
    share_cores()
    _end_in_order()
    channel = Channel(connection, *switches)
    try:
        target(channel, *args)
    except (BrokenPipeError, ConnectionError, KeyboardInterrupt, SystemExit):
        pass  # the window is gone: so are we
    except BaseException as error:
        with contextlib.suppress(OSError):
            connection.send(describe_failure(error))
    finally:
        connection.close()


def lower_priority() -> None:
    """Let the window go first on a busy machine: it needs little, the child needs all that is left."""
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(5)


def _end_in_order() -> None:
    """Let a child that is told to end write down what it is at: a fit keeps its state."""

    def leave(*_: Any) -> None:
        raise SystemExit

    with contextlib.suppress(ValueError):  # not in the main thread of a test
        signal.signal(signal.SIGTERM, leave)


def share_cores() -> None:
    """Let threads of OpenMP wait asleep; before torch is loaded.

    libgomp's threads spin while they wait for each other. As soon as the window wants one of their cores, most of that
    time is lost; a short spin costs a fit nothing that could be measured.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _LARGEST_KEPT_BYTES = 128 << 20, 32 << 20


def keep_freed_memory() -> None:
    """Let the process keep what it frees, up to 128 MB, for the next time; where the C library is glibc.

    Otherwise all of a picture's arrays go back to the system after each picture and come anew, zeroed page by page, for
    the next one: of a slice of 512 by 512 pixels that is 1,500 pages.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)


def describe_failure(error: BaseException) -> Failure:
    """One sentence that says what to do, and the traceback."""
    details = "".join(traceback.format_exception(error))
    if isinstance(error, EmgaussError):
        return Failure(sentence(error), details, expected=True)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Failure(
            "There is not enough memory: choose a smaller region, fewer slices or the preset 'fast'.", details, True
        )
    if isinstance(error, ImportError):
        return Failure(f"A needed package could not be loaded ({error}): reinstall napari-emgauss.", details)
    first_line = str(error).partition("\n")[0] or "no message"
    return Failure(f"Something went wrong ({type(error).__name__}: {first_line}); the log has the details.", details)


_FITS: weakref.WeakSet[ChildProcess] = weakref.WeakSet()


MOVING_LASTS_S = 0.6
_moved_at = float("-inf")


def note_movement() -> None:
    """Somebody scrubs: the window wants a core of its own for a moment."""
    global _moved_at
    _moved_at = time.monotonic()


def moved_lately() -> bool:
    """Whether somebody scrubs now."""
    return time.monotonic() - _moved_at < MOVING_LASTS_S


def fit_runs() -> bool:
    """Whether a fit of this napari works now: what else wants the cores is to be sparing."""
    return any(one.alive and not one.paused for one in list(_FITS))


class ChildProcess:
    """One piece of work in a process of its own.

    Only :meth:`start`, :meth:`poll` and :meth:`close` may take time; call them from a worker thread. The others set a
    flag and may be called from the window's thread.

    Parameters
    ----------
    target : callable
        ``target(channel, *args)``, a function of an importable module.
    args : tuple
        Small: it is pickled. Arrays go through shared memory.
    name : str
        How the process is called, in messages too.
    """

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], *, name: str) -> None:
        self._target, self._args, self.name = target, args, name
        self._pause, self._stop, self._attention, self._crowded = (SPAWN.Event() for _ in range(4))
        self._process: Any = None
        self._connection: Any = None
        self._lifetime = threading.Lock()

    @property
    def paused(self) -> bool:
        """Whether it was asked to wait."""
        return bool(self._pause.is_set())

    @property
    def pid(self) -> int | None:
        """Process id, None before the start."""
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.is_alive()

    def start(self) -> bool:
        """Start the process; False, and no process, when it was told to stop before."""
        with self._lifetime:
            if self._stop.is_set():
                return False
            # A pipe, not a queue: when the child is killed, reading raises EOFError at once.
            self._connection, theirs = SPAWN.Pipe(duplex=False)
            switches = (self._pause, self._stop, self._attention, self._crowded)
            shared = (self._target, theirs, switches, self._args)
            self._process = SPAWN.Process(target=_in_child, args=shared, daemon=True, name=f"emgauss-{self.name}")
            with _hidden_main():
                self._process.start()
            if self.name == "fit":
                _FITS.add(self)
            theirs.close()  # our copy; with it open there would be no EOFError
            return True

    def pause(self) -> None:
        """Ask the child to wait."""
        self._pause.set()

    def resume(self) -> None:
        """Let the child go on."""
        self._pause.clear()

    def stop(self) -> None:
        """Ask the child to end soon; it may still say something."""
        self._stop.set()

    @property
    def stop_asked(self) -> bool:
        """Whether :meth:`stop` was called."""
        return bool(self._stop.is_set())

    def tell_crowded(self, crowded: bool) -> None:
        """Tell the target whether the window wants a core."""
        if crowded != self._crowded.is_set():
            (self._crowded.set if crowded else self._crowded.clear)()

    def ask_attention(self) -> None:
        """Raise the target's own flag."""
        self._attention.set()

    def poll(self, timeout: float = MESSAGE_INTERVAL_S) -> Any:
        """Next message, or None when there is none within ``timeout`` seconds.

        Raises
        ------
        ChildFailedError
            The child failed, or was ended from outside.
        """
        try:
            if not self._connection.poll(timeout):
                return None
            message = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(1)
            code = self._process.exitcode
            raise ChildFailedError(
                f"The {self.name} process was ended from outside (exit code {code}), most often because memory ran "
                "out: choose a smaller region or the preset 'fast'.",
                f"exit code {code}",
            ) from None
        if isinstance(message, Failure):
            raise ChildFailedError(message.sentence, message.details)
        return message

    def close(self, wait_s: float = 3.0) -> None:
        """End the process: politely, then surely. Returns when it is gone."""
        self.stop()
        with self._lifetime:
            process = self._process
            if process is None:
                return
            process.join(wait_s)
            if process.is_alive():
                process.terminate()
                process.join(3)
            if process.is_alive():
                process.kill()
                process.join()
            self._connection.close()

    def close_soon(self) -> None:
        """:meth:`close`, from a thread of its own: for the window's thread."""
        self.stop()
        threading.Thread(target=self.close, name=f"close-emgauss-{self.name}", daemon=True).start()
