"""A process that answers the window's requests, one after the other. Knows neither Qt nor napari."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._problem import ChildFailedError, Problem, memory_advice, problem_of
from ._process import SPAWN, hidden_main

LOGGER = logging.getLogger("napari_emgauss.plugin")


class AskedChild:
    """The child and the pipe to it; not for several threads at once.

    It starts with the first request. Every answer is one message; to ``render`` it is shape and type of an image, whose
    pixels follow as bytes. An answer that is a :class:`Problem` says what went wrong.

    Parameters
    ----------
    name : str
        What it is, for messages: ``rendering``, ``labels``.
    work : str
        Key of what it does, for :func:`memory_advice`.
    on_end : callable
        Called whenever the process has ended.
    """

    def __init__(self, name: str, work: str, on_end: Callable[[], None] = lambda: None) -> None:
        self._name, self._work, self._on_end = name, work, on_end
        self._process: Any = None
        self._connection: Any = None
        self._is_over = False

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and bool(self._process.is_alive())

    @property
    def started(self) -> bool:
        """Whether it was started and not ended by us; it may have died."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """Process id, None while there is none."""
        return None if self._process is None else self._process.pid

    def ask(self, request: Sequence[Any], target: Callable[..., None], arguments: tuple[Any, ...]) -> Any:
        """One request, one answer. A process that died is started again once.

        Parameters
        ----------
        request : sequence
            Verb and arguments.
        target : callable
            What the process runs, with the connection and ``arguments``.
        arguments : tuple
            Of a process that has to be started.

        Raises
        ------
        ChildFailedError
            It answers that it failed, or keeps ending.
        """
        for attempt in (1, 2):
            if self._is_over:
                raise ChildFailedError("napari is closing.")
            try:
                if not self.alive:
                    self._on_end()
                    self._start(target, arguments)
                answer = self._exchange(request)
                break
            except Exception as error:  # it ended, or said half of something
                self._give_up_or_try_again(str(request[0]), attempt, error)
        if isinstance(answer, Problem):
            raise ChildFailedError.of(answer)
        return answer

    def close(self) -> None:
        """End the process. A later request starts a new one."""
        process, self._process = self._process, None
        self._on_end()
        if process is None:
            return
        with contextlib.suppress(OSError):
            self._connection.close()
        process.join(0.3)
        if process.is_alive():
            process.terminate()
            process.join(1)
        if process.is_alive():
            process.kill()
            process.join()

    def close_for_good(self) -> None:
        """End the process, and start no other for a thread that still waits."""
        self._is_over = True
        self.close()

    def _start(self, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        ours, theirs = SPAWN.Pipe(duplex=True)
        process = SPAWN.Process(
            target=target, args=(theirs, *arguments), daemon=True, name=f"emgauss-{self._name.split()[0]}"
        )
        with hidden_main():
            process.start()
        theirs.close()
        self._connection, self._process = ours, process

    def _give_up_or_try_again(self, verb: str, attempt: int, error: Exception) -> None:
        if self._is_over:
            raise ChildFailedError("napari is closing.") from None
        LOGGER.warning("The %s process ended (request %s, attempt %d): %r", self._name, verb, attempt, error)
        self.close()
        if attempt == 2:
            raise ChildFailedError(
                f"The {self._name} process keeps ending, most often because memory runs out: "
                f"{memory_advice(self._work)}.",
                problem_of(error).details,
                "ended",
            ) from None

    def _exchange(self, request: Sequence[Any]) -> Any:
        self._connection.send(tuple(request))
        answer = self._connection.recv()
        if request[0] != "render" or isinstance(answer, Problem):
            return answer
        shape, dtype = answer
        image = np.empty(shape, np.dtype(dtype))
        if image.nbytes:
            self._connection.recv_bytes_into(image.view(np.uint8).reshape(-1).data)
        return image


def answer_requests(connection: Any, answer: Callable[..., Any], work: str) -> None:
    """The child's side: answer ``answer(verb, *arguments)`` until the window is gone.

    Parameters
    ----------
    connection
        The pipe.
    answer : callable
        Gives what is sent; of ``render`` an image.
    work : str
        Key of what the process does, for what is said of problems.
    """
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            verb, *arguments = connection.recv()
            try:
                found = answer(verb, *arguments)
                if verb == "render":
                    image = np.ascontiguousarray(found)
                    connection.send((image.shape, image.dtype.str))
                    connection.send_bytes(image.view(np.uint8).reshape(-1).data)
                else:
                    connection.send(found)
            except (EOFError, BrokenPipeError):
                return
            except BaseException as error:
                connection.send(problem_of(error, work))
