"""Work in a child process that ends with one answer: the score of a stack, an export. Knows neither Qt nor napari."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from napari_emgauss._progress import Progress, ProgressUpdate

from ._problem import ChildFailedError
from ._process import Channel, ChildProcess


@dataclass(frozen=True)
class JobDone:
    """The answer of a job."""

    result: Any


class JobCancelledError(ChildFailedError):
    """The user cancelled; not a failure."""


class Cancelled(BaseException):
    """Raised inside a child's progress call, so that the work cleans up behind itself on its way out.

    No ``except Exception`` on that way may swallow it, hence the base.
    """


@dataclass(frozen=True)
class _CancelledMessage:
    pass


def answer_job(channel: Channel, work: Callable[[Progress], Any]) -> None:
    """In the child: run ``work(progress)`` and send its answer, or that it was cancelled."""

    def on_progress(update: ProgressUpdate) -> None:
        if channel.stop_wanted:
            raise Cancelled
        channel.tell_progress(update)

    try:
        result = work(Progress(on_progress))
    except Cancelled:
        channel.tell(_CancelledMessage())
    else:
        channel.tell(JobDone(result))


class Job:
    """A job seen from the window.

    Parameters
    ----------
    target : callable
        ``target(channel, *args)``, which calls :func:`answer_job`.
    args : tuple
        Small.
    name : str
        For messages.
    patience_s : float
        How long a cancelled job may take to clean up before it is ended.
    clean_up : callable
        Called when the child was ended before it had cleaned up behind itself.
    """

    def __init__(
        self,
        target: Callable[..., None],
        args: tuple[Any, ...],
        *,
        name: str,
        patience_s: float = 10.0,
        clean_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._child = ChildProcess(target, args, name=name)
        self._patience_s, self._clean_up = patience_s, clean_up

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._child.alive

    def cancel(self) -> None:
        """Ask for an end; returns at once."""
        self._child.stop()

    def abandon(self) -> None:
        """End the child at once; returns immediately."""
        self._child.close_soon()

    def messages(self) -> Iterator[ProgressUpdate | JobDone | None]:
        """Start and pass messages on, in a worker thread; the last one is :class:`JobDone`.

        Raises
        ------
        JobCancelledError
            The job was cancelled.
        ChildFailedError
            The job failed.
        """
        orderly = False
        try:
            if not self._child.start():
                orderly = True
                raise JobCancelledError("Cancelled.")
            deadline = float("inf")
            while True:
                message = self._child.poll()
                orderly = isinstance(message, JobDone | _CancelledMessage)
                if isinstance(message, _CancelledMessage):
                    raise JobCancelledError("Cancelled.")
                yield message
                if isinstance(message, JobDone):
                    return
                if self._child.stop_asked:
                    deadline = min(deadline, time.monotonic() + self._patience_s)
                if time.monotonic() > deadline:
                    raise JobCancelledError("Cancelled; the work did not respond and was ended.")
        finally:
            self._child.close(wait_s=1.0)
            if not orderly:
                self._clean_up()
