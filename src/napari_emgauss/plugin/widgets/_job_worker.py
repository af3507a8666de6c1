"""A job in napari: a worker in front of it, a bar in the activity dock, an end when the window closes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from napari.qt.threading import GeneratorWorker, create_worker

from napari_emgauss._errors import EmgaussError
from napari_emgauss._progress import ProgressUpdate
from napari_emgauss.plugin.process._job import Job, JobCancelledError, JobDone
from napari_emgauss.plugin.process._process import ChildFailedError
from napari_emgauss.plugin.process._wording import sentence

LOGGER = logging.getLogger("napari_emgauss.plugin")
STEPS = 1000


class RunningJob:
    """A job that was started from a widget.

    Parameters
    ----------
    make_job : callable
        Builds the job, in the worker's thread: it may read slices.
    title : str
        Shown in the activity dock.
    on_progress, on_done, on_cancelled, on_failed : callable
        Called in the window's thread; ``on_failed`` gets one sentence.
    in_activity_dock : bool
        Show a bar there. Not for work of many minutes: see ``FitSession``.
    """

    def __init__(
        self,
        make_job: Callable[[], Job],
        title: str,
        *,
        on_progress: Callable[[ProgressUpdate], Any],
        on_done: Callable[[Any], Any],
        on_cancelled: Callable[[], Any],
        on_failed: Callable[[str], Any],
        in_activity_dock: bool = True,
    ) -> None:
        self._make_job, self._title = make_job, title
        self._on_progress, self._on_done = on_progress, on_done
        self._on_cancelled, self._on_failed = on_cancelled, on_failed
        self._job: Job | None = None
        self._cancelled = self._abandoned = False
        outer = self

        class JobWorker(GeneratorWorker):
            """``quit()`` ends the child at once; see ``FitSession``."""

            def quit(self) -> None:
                outer._cancelled = True
                if outer._job is not None:
                    outer._job.abandon()
                super().quit()

        worker = create_worker(
            self._messages,
            _start_thread=False,
            _progress={"desc": title} if in_activity_dock else False,
            _worker_class=JobWorker,
            _ignore_errors=True,
        )
        worker.yielded.connect(self._show)
        worker.errored.connect(self._fail)
        worker.finished.connect(self._end)
        self._worker: Any = worker
        worker.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._worker is not None

    def cancel(self) -> None:
        """Ask for an end; ``on_cancelled`` follows."""
        self._cancelled = True
        if self._job is not None:
            self._job.cancel()

    def abandon(self) -> None:
        """End at once: the viewer closes, and nobody listens any more."""
        self._abandoned = True
        if self._worker is not None:
            self._worker.quit()

    def _messages(self) -> Iterator[Any]:
        yield None
        self._job = self._make_job()
        if self._cancelled:
            self._job.cancel()
        yield from self._job.messages()

    def _show(self, message: ProgressUpdate | JobDone | None) -> None:
        if self._abandoned:
            return
        if isinstance(message, JobDone):
            self._on_done(message.result)
        elif message is not None:
            self._on_progress(message)
            bar = getattr(self._worker, "pbar", None)
            if bar is not None and message.fraction is not None:
                if not bar.total:
                    bar.total = STEPS
                # Last, because napari's bar runs the event loop.
                bar.update(max(0, round(message.fraction * STEPS) - bar.n))

    def _fail(self, error: Exception) -> None:
        if self._abandoned:
            return
        if isinstance(error, JobCancelledError) or self._cancelled:
            self._on_cancelled()
            return
        details = error.details if isinstance(error, ChildFailedError) else ""
        LOGGER.error("%s failed: %s\n%s", self._title, error, details)
        if isinstance(error, EmgaussError):
            self._on_failed(sentence(error))
        else:
            LOGGER.error("Traceback", exc_info=error)
            self._on_failed(f"{self._title} failed ({type(error).__name__}: {error}); the log has the details.")

    def _end(self) -> None:
        self._worker = None
