"""A job in napari: a pump in front of it, a bar in the activity dock, an end when the window closes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from napari_emgauss._progress import ProgressUpdate
from napari_emgauss.plugin.process._job import Job, JobCancelledError, JobDone
from napari_emgauss.plugin.process._problem import ChildFailedError, Problem, problem_of

from ._worker import Pump

STEPS = 1000


class RunningJob:
    """A job that was started from a widget.

    Parameters
    ----------
    make_job : callable
        Builds the job, in the worker's thread: it may read slices.
    title : str
        Shown in the activity dock.
    work : str
        ``score`` or ``export``, for advice where it fails.
    on_progress, on_done, on_cancelled, on_failed : callable
        Called in the window's thread; exactly one of the last three is the end. ``on_failed`` gets the
        :class:`~napari_emgauss.plugin.process._problem.Problem`.
    in_activity_dock : bool
        Show a bar there. Not for work of many minutes: see ``FitSession``.
    """

    def __init__(
        self,
        make_job: Callable[[], Job],
        title: str,
        work: str,
        *,
        on_progress: Callable[[ProgressUpdate], Any],
        on_done: Callable[[Any], Any],
        on_cancelled: Callable[[], Any],
        on_failed: Callable[[Problem], Any],
        in_activity_dock: bool = True,
    ) -> None:
        self._make_job, self._work = make_job, work
        self._on_progress, self._on_done = on_progress, on_done
        self._on_cancelled, self._on_failed = on_cancelled, on_failed
        self._job: Job | None = None
        self._cancelled = self._answered = self._abandoned = False
        self._pump = Pump(
            self._messages,
            work,
            on_message=self._show,
            on_end=self._end,
            on_problem=self._fail,
            abandon_work=self._abandon_job,
            bar_title=title if in_activity_dock else "",
        )
        self._pump.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not (self._pump.over or self._answered)

    def cancel(self) -> None:
        """Ask for an end; ``on_cancelled`` follows."""
        self._cancelled = True
        if self._job is not None:
            self._job.cancel()

    def abandon(self) -> None:
        """End at once: the viewer closes, and nobody listens any more."""
        self._pump.abandon()

    def _abandon_job(self) -> None:
        self._abandoned = True
        if self._job is not None:
            self._job.abandon()

    def _messages(self) -> Iterator[Any]:
        yield None
        self._job = self._make_job()
        if self._cancelled or self._abandoned:
            self._job.cancel()
        yield from self._job.messages()

    def _show(self, message: ProgressUpdate | JobDone) -> None:
        if isinstance(message, JobDone):
            self._answered = True
            self._on_done(message.result)
            return
        self._on_progress(message)
        bar = self._pump.bar
        if bar is not None and message.fraction is not None:
            if not bar.total:
                bar.total = STEPS
            # Last, because napari's bar runs the event loop.
            bar.update(max(0, round(message.fraction * STEPS) - bar.n))

    def _fail(self, problem: Problem, error: BaseException) -> None:
        if isinstance(error, JobCancelledError) or (self._cancelled and not self._answered):
            self._on_cancelled()
            return
        self._on_failed(problem)

    def _end(self) -> None:
        if self._answered:
            return
        if self._cancelled:
            self._on_cancelled()
            return
        error = ChildFailedError(f"The {self._work} ended without an answer: try again.", kind="ended")
        self._fail(problem_of(error), error)
