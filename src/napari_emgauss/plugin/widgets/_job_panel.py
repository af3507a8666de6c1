"""Start, Cancel, a bar and a line of text: how a tab runs a job."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_emgauss._progress import ProgressUpdate
from napari_emgauss.plugin._door import notify
from napari_emgauss.plugin.process._fit_state import duration
from napari_emgauss.plugin.process._job import Job
from napari_emgauss.plugin.process._problem import Problem

from ._form import Note, slim_bar, stack_up
from ._job_worker import RunningJob
from ._remedy import Remedy, RemedyButton
from ._theme import theme_colours

TELLING_SHARE, TELLING_S = 0.1, 3.0
"""From how much on the part that is done tells how long the rest takes."""


class JobPanel(QWidget):
    """Runs one job at a time and shows it.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme.
    start_button : QPushButton
        Begins the job; what that is, its owner decides.
    in_activity_dock : bool
        As for :class:`RunningJob`.
    """

    def __init__(
        self, viewer: Any, start_button: QPushButton, *, in_activity_dock: bool = True, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer, self._in_activity_dock = viewer, in_activity_dock
        self._job: RunningJob | None = None
        self._usable = True
        self._began = 0.0
        self._expected_s: float | None = None
        self.start_button, self.cancel_button = start_button, QPushButton("Cancel")
        self.bar = slim_bar()
        self.status = Note()
        self.remedy_button = RemedyButton()
        buttons = QHBoxLayout()
        buttons.addWidget(start_button, 2)
        buttons.addWidget(self.cancel_button, 1)
        stack_up(self, buttons, self.bar, self.status, self.remedy_button, spacing=6)
        self.cancel_button.clicked.connect(self.cancel)
        self._show_running(False)

    @property
    def running(self) -> bool:
        """Whether a job runs."""
        return self._job is not None and self._job.running

    def set_usable(self, usable: bool) -> None:
        """Whether there is anything to start a job on."""
        self._usable = usable
        self.start_button.setEnabled(usable and not self.running)

    def run(
        self,
        make_job: Callable[[], Job],
        title: str,
        on_done: Callable[[Any], Any],
        *,
        work: str,
        cancelled: str = "Cancelled.",
        remedy_of: Callable[[Problem], Remedy | None] = lambda problem: None,
        expected_s: float | None = None,
        on_duration: Callable[[float], Any] = lambda seconds: None,
    ) -> None:
        """Start a job.

        Parameters
        ----------
        make_job, title
            As for :class:`RunningJob`.
        on_done : callable
            Gets the job's answer.
        work : str
            For messages.
        cancelled : str
            What is said where the user has cancelled it.
        remedy_of : callable
            Says what can be done where it fails.
        expected_s : float or None
            How long it will take, as far as is known beforehand.
        on_duration : callable
            Gets the seconds that it took, where it was done.
        """

        def done(result: Any) -> None:
            self.end("")
            on_duration(time.monotonic() - self._began)
            on_done(result)

        self._began, self._expected_s = time.monotonic(), expected_s
        self._show_running(True)
        self._job = RunningJob(
            make_job,
            title,
            work,
            on_progress=self._show_progress,
            on_done=done,
            on_cancelled=lambda: self.end(cancelled),
            on_failed=lambda problem: self.fail(problem, remedy_of(problem)),
            in_activity_dock=self._in_activity_dock,
        )

    def cancel(self) -> None:
        """Ask the job to end."""
        if self._job is not None:
            self.cancel_button.setEnabled(False)
            self.status.tell("Stopping…")
            self._job.cancel()

    def abandon(self) -> None:
        """End the job at once; the widget is about to go."""
        if self._job is not None:
            self._job.abandon()

    def end(self, text: str) -> None:
        """The job has ended, and this is to be said."""
        self._show_running(False)
        self.remedy_button.offer(None)
        self.status.tell(text)

    def fail(self, problem: Problem, remedy: Remedy | None = None) -> None:
        """Say why the job failed, or was not even begun, and what can be done about it."""
        self._show_running(False)
        self.status.tell(problem.sentence, theme_colours(self._viewer).error)
        self.remedy_button.offer(remedy)
        notify(problem)

    def _show_progress(self, progress: ProgressUpdate) -> None:
        if progress.fraction is not None:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * progress.fraction))
        left = self._seconds_left(progress.fraction)
        text = progress.text or "Running"
        self.status.tell(text if left is None else f"{text}, about {duration(left)} left")

    def _seconds_left(self, fraction: float | None) -> float | None:
        """Until the end: by what is done, once that says something, and before by what was expected."""
        spent = time.monotonic() - self._began
        if fraction is not None and fraction > TELLING_SHARE and spent > TELLING_S:
            return spent * (1 - fraction) / fraction
        return None if self._expected_s is None else max(0.0, self._expected_s - spent)

    def _show_running(self, running: bool) -> None:
        self.start_button.setEnabled(not running and self._usable)
        self.cancel_button.setEnabled(running)
        self.cancel_button.setVisible(running)
        self.bar.setVisible(running)
        if running:
            self.remedy_button.offer(None)
            self.bar.setRange(0, 0)
            self.status.tell("Starting…")
