"""A spawned process with one pipe in, two switches, and a sure end. Knows neither Qt nor napari.

The window's side is :class:`ChildProcess`, the child's side is :class:`Channel`.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ._problem import ChildFailedError, Problem, memory_advice, problem_of
from ._sharing import lower_priority, share_cores

LOGGER = logging.getLogger("napari_emgauss.plugin")

# Never fork: Qt, CUDA and OpenMP do not survive it.
SPAWN = multiprocessing.get_context("spawn")

MESSAGE_INTERVAL_S = 0.1
"""Least time between two progress messages. Unthrottled messages block the window's event loop for seconds."""

TERMINATED = 128 + 15
"""Exit code of a child that was told to end by SIGTERM and did so in order."""

_MAIN_LOCK = threading.Lock()


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
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
    saving : multiprocessing.synchronize.Event
        Set by the child while it must not be ended.
    """

    def __init__(self, connection: Any, pause: Any, stop: Any, attention: Any, crowded: Any, saving: Any) -> None:
        self._connection = connection
        self._pause, self._stop, self.attention, self.crowded = pause, stop, attention, crowded
        self._saving = saving
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

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """What is being written is written to its end, whoever asks the process to leave meanwhile."""
        self._saving.set()
        before: Any = None
        with contextlib.suppress(ValueError):  # not in the main thread of a test
            before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            yield
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)
            self._saving.clear()

    @property
    def stop_wanted(self) -> bool:
        """The window asked to stop, or is gone."""
        parent = multiprocessing.parent_process()
        return bool(self._stop.is_set()) or (parent is not None and not parent.is_alive())

    def wait_while_paused(self) -> None:
        """Return when the work may go on (or must stop)."""
        while self._pause.is_set() and not self.stop_wanted:
            time.sleep(0.02)


def _in_child(name: str, target: Callable[..., None], connection: Any, switches: tuple[Any, ...], args: Any) -> None:
    """Where every child starts."""
    lower_priority()
    share_cores()
    _end_in_order()
    channel = Channel(connection, *switches)
    try:
        target(channel, *args)
    except SystemExit:
        raise  # told to end: the exit code says so
    except (BrokenPipeError, ConnectionError, KeyboardInterrupt):
        pass  # the window is gone: so are we
    except BaseException as error:
        with contextlib.suppress(OSError):
            connection.send(problem_of(error, name))
    finally:
        connection.close()


def _end_in_order() -> None:
    """Let a child that is told to end write down what it is at: a fit keeps its state."""

    def leave(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: a second one would cut the writing short
        raise SystemExit(TERMINATED)

    with contextlib.suppress(ValueError):  # not in the main thread of a test
        signal.signal(signal.SIGTERM, leave)


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
    patience_s : float
        How long it may take to come to an end after it was told to by SIGTERM. While it says that it is saving,
        nothing but :meth:`kill` ends it.
    """

    def __init__(
        self, target: Callable[..., None], args: tuple[Any, ...], *, name: str, patience_s: float = 3.0
    ) -> None:
        self._target, self._args, self.name, self._patience_s = target, args, name, patience_s
        self._heard = False
        self._pause, self._stop, self._attention, self._crowded, self._saving = (SPAWN.Event() for _ in range(5))
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
        """Start the process; False, and no process, when it was told to stop before.

        Raises
        ------
        ChildFailedError
            It could not be started.
        """
        with self._lifetime:
            if self._stop.is_set():
                return False
            # A pipe, not a queue: when the child is killed, reading raises EOFError at once.
            self._connection, theirs = SPAWN.Pipe(duplex=False)
            switches = (self._pause, self._stop, self._attention, self._crowded, self._saving)
            shared = (self.name, self._target, theirs, switches, self._args)
            self._process = SPAWN.Process(target=_in_child, args=shared, daemon=True, name=f"emgauss-{self.name}")
            try:
                with hidden_main():
                    self._process.start()
            except Exception as error:  # no memory for it, killed at birth, or arguments that cannot be sent
                self._discard_half_started()
                raise self._start_failed(error) from error
            finally:
                theirs.close()  # our copy; with it open there would be no EOFError
            return True

    def _discard_half_started(self) -> None:
        process, self._process = self._process, None
        self._connection.close()
        with contextlib.suppress(ValueError, AttributeError, AssertionError):  # it was never born
            process.kill()
            process.join(1)

    def _start_failed(self, error: Exception) -> ChildFailedError:
        told = problem_of(error)
        if told.kind == "memory" or isinstance(error, OSError):
            return ChildFailedError(
                f"The {self.name} process could not be started ({type(error).__name__}: {error}): close other "
                "programs, then try again.",
                told.details,
                "ended",
            )
        return ChildFailedError(
            f"The {self.name} process could not be started ({type(error).__name__}); the log has the details.",
            told.details,
            "surprise",
        )

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
            raise self._ended() from None
        except Exception as error:  # cut off in the middle, or of a class that cannot be loaded here
            raise ChildFailedError(
                f"The {self.name} process sent something that cannot be read ({type(error).__name__}): try again; the "
                "log has the details.",
                problem_of(error).details,
                "surprise",
            ) from error
        self._heard = True
        if isinstance(message, Problem):
            raise ChildFailedError.of(message)
        return message

    def _ended(self) -> ChildFailedError:
        """Why there will be no more messages."""
        self._process.join(10)  # its pipe has closed, so it is about to go
        code = self._process.exitcode
        if code is not None and (code < 0 or code == TERMINATED):
            sentence = (
                f"The {self.name} process was ended from outside (exit code {code}), most often because memory ran "
                f"out: {memory_advice(self.name)}."
            )
        elif not self._heard:
            sentence = (
                f"The {self.name} process could not start (exit code {code}): try again; the log has the details."
            )
        else:
            sentence = f"The {self.name} process ended without an answer (exit code {code}): try again."
        return ChildFailedError(sentence, f"exit code {code}", "ended")

    def close(self, wait_s: float = 3.0) -> None:
        """End the process: politely, then surely, but never while it saves. Returns when it is gone."""
        self.stop()
        with self._lifetime:
            process = self._process
            if process is None:
                return
            self._join(process, wait_s)
            if process.is_alive():
                process.terminate()
                self._join(process, self._patience_s)
            if process.is_alive():
                process.kill()
                process.join()
            self._connection.close()

    def _join(self, process: Any, wait_s: float) -> None:
        """Wait for an end: so long, and as long as it saves."""
        deadline = time.monotonic() + wait_s
        while process.is_alive() and (self._saving.is_set() or time.monotonic() < deadline):
            process.join(0.05)

    def kill(self) -> None:
        """End the process at once, whatever it is writing; returns immediately."""
        process = self._process
        if process is not None:
            with contextlib.suppress(ValueError, OSError):  # it is gone
                process.kill()

    def close_soon(self) -> None:
        """:meth:`close`, from a thread of its own: for the window's thread."""
        self.stop()
        threading.Thread(target=self.close, name=f"close-emgauss-{self.name}", daemon=True).start()
