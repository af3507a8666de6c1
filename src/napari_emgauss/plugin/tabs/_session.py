"""One fit in napari, from the click to the layer: worker in front, process behind, state for the widgets.

No widget here, and no layer: who shows what is decided by who listens.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from napari.qt.threading import GeneratorWorker, create_worker
from psygnal import Signal

from napari_emgauss._errors import EmgaussError
from napari_emgauss.plugin.process._fit_child import FitMessage
from napari_emgauss.plugin.process._fit_process import FitProcess
from napari_emgauss.plugin.process._fit_state import FitState, FitStatus, LossCurve
from napari_emgauss.plugin.process._process import ChildFailedError
from napari_emgauss.plugin.process._remote_model import PreparedState, RemoteModel
from napari_emgauss.plugin.process._render_service import RenderService
from napari_emgauss.plugin.process._wording import sentence

LOGGER = logging.getLogger("napari_emgauss.plugin")

News = tuple[FitMessage, "PreparedState | RemoteModel | None"]

_RUNNING: weakref.WeakSet[FitSession] = weakref.WeakSet()


class FitBusyError(EmgaussError, RuntimeError):
    """Another fit runs in this napari."""


class FitSession:
    """One fit.

    Parameters
    ----------
    process : FitProcess
        The fit itself.
    service : RenderService
        Who renders its previews.

    Attributes
    ----------
    state : FitState
        Evented.
    curve : LossCurve
        Grows with every message.
    model : RemoteModel or None
        The present state, as soon as there is one to show.
    expected : tuple of float or None
        Seconds that the prior and the iterations will take, as far as is known beforehand.
    prior_s : float
        Seconds that the prior has taken.
    """

    progressed = Signal()
    """A message arrived; state and curve are up to date."""
    model_appeared = Signal(RemoteModel)
    """The first state to show."""
    model_changed = Signal(RemoteModel)
    """A newer state of the same model."""
    ended = Signal()
    """Finished, stopped or failed."""

    def __init__(self, process: FitProcess, service: RenderService) -> None:
        self.process, self._service = process, service
        self.state, self.curve = FitState(), LossCurve()
        self.model: RemoteModel | None = None
        self._worker: Any = None
        self._abandoned = False
        self.previews_wanted: Callable[[], bool] = lambda: True
        self.expected: tuple[float, float] | None = None
        self.prior_s = 0.0
        self._pace: list[tuple[int, float]] = []

    @property
    def seconds_per_iteration(self) -> float | None:
        """Of the last stage, start-up and prior apart; None where it was too short to tell."""
        if not self._pace:
            return None
        (first, began), (last, ended) = self._pace[0], self._pace[-1]
        return (ended - began) / (last - first) if last - first >= 50 and ended - began >= 20 else None

    @property
    def name(self) -> str:
        """Of the layer that is fitted."""
        return self.process.request.name

    def start(self) -> None:
        """Begin.

        Raises
        ------
        FitBusyError
            One fit at a time: two would take each other's cores and memory.
        """
        for other in list(_RUNNING):
            if other.state.status.active:
                raise FitBusyError(f"“{other.name}” is being fitted: stop it, or wait until it is done.")
        _RUNNING.add(self)
        self.state.status = FitStatus.PREPARING
        process = self.process

        class FitWorker(GeneratorWorker):
            """``quit()`` ends the child at once.

            The plain worker drops its generator without closing it, so the generator's ``finally`` would not run;
            and when the window closes, its signals come after the end of the event loop, to nobody.
            """

            def quit(self) -> None:
                process.abandon()
                super().quit()

        # No bar in napari's activity dock, the widget has one: napari's moving picture beside it redraws the window
        # thirty times a second, which takes half a core from the fit where OpenGL is done in software. Closing the
        # window asks all the same.
        worker = create_worker(self._news, _start_thread=False, _worker_class=FitWorker, _ignore_errors=True)
        worker.yielded.connect(self._on_news)
        worker.errored.connect(self._on_error)
        worker.aborted.connect(self._on_aborted)
        worker.finished.connect(self._on_worker_finished)
        self._worker = worker
        worker.start()

    def pause(self) -> None:
        """Let the fit wait."""
        if self.state.status is FitStatus.RUNNING:
            self.process.pause()
            self.state.status = FitStatus.PAUSED
            self.progressed.emit()

    def resume(self) -> None:
        """Let the fit go on."""
        if self.state.status is FitStatus.PAUSED:
            self.process.resume()
            self._pace = []  # the pause says nothing of the machine
            self.state.status = FitStatus.RUNNING
            self.progressed.emit()

    def stop(self) -> None:
        """End the fit and keep what is there."""
        if self.state.status.active and self.state.status is not FitStatus.STOPPING:
            self.state.status = FitStatus.STOPPING
            self.process.stop()
            self.progressed.emit()

    def abandon(self) -> None:
        """End the fit at once and drop its result: the viewer closes, and nobody listens any more."""
        self._abandoned = True
        if self.state.status.active:
            self.state.status = FitStatus.STOPPED
        if self._worker is not None:
            self._worker.quit()
        else:
            self.process.abandon()

    # in the worker's thread

    def _news(self) -> Iterator[News | None]:
        """Messages of the fit, previews loaded and rendered: the window only has to swap."""
        # The worker's own: the window may take the first model over only after the next message has come.
        model: RemoteModel | None = None
        for message in self.process.messages():
            if message is None:
                yield None
                continue
            shown: PreparedState | RemoteModel | None = None
            final = message.kind in ("finished", "stopped")
            if message.model_path and (final or self.previews_wanted()):
                if model is None:
                    shown = model = RemoteModel.open(self._service, message.model_path, temporary=True)
                    # The window's first look at the model must find a compiled renderer.
                    model.render(float(model.z_nm[0]))
                else:
                    shown = model.prepare(message.model_path)
            if self.previews_wanted():
                self.process.preview_shown()
            yield message, shown

    # in the window's thread

    def _on_news(self, news: News | None) -> None:
        if (
            news is None
            or self._abandoned
            or self.state.status in (FitStatus.FAILED, FitStatus.FINISHED, FitStatus.STOPPED)
        ):
            return
        message, shown = news
        self._take_over(message)
        if isinstance(shown, RemoteModel):
            self.model = shown
            self.model_appeared.emit(shown)
        elif shown is not None and self.model is not None:
            self.model.commit(shown)
            self.model_changed.emit(self.model)
        if message.kind in ("finished", "stopped"):
            self.state.status = FitStatus.FINISHED if message.kind == "finished" else FitStatus.STOPPED
            LOGGER.info("Fit of %s: %s", self.name, self.state.sentence())
            self.progressed.emit()
            self.ended.emit()
        else:
            self.progressed.emit()

    def _take_over(self, message: FitMessage) -> None:
        state = self.state
        if message.kind == "device":
            state.device = message.text
            LOGGER.info("Fit of %s on %s", self.name, message.text)
            return
        if state.status is FitStatus.PREPARING:
            state.status = FitStatus.RUNNING
        if message.stage and message.stage != state.stage:
            LOGGER.info("Fit of %s: stage %s", self.name, message.stage)
        for field in ("stage", "iteration", "total_iterations", "gaussians", "elapsed_s", "stage_fraction", "text"):
            setattr(state, field, getattr(message, field))
        if message.stage == "prior":
            self.prior_s = message.elapsed_s
        elif message.stage == "teacher-student":
            self._pace[1:] = [(message.iteration, message.elapsed_s)]
        state.eta_s = self._seconds_left(message)
        if message.stage:
            at = message.elapsed_s if message.stage == "prior" else float(message.iteration)
            self.curve.add(message.stage, at, message.loss)

    def _seconds_left(self, message: FitMessage) -> float | None:
        """Until the end: what the fit says of itself, and while it cannot know, what was expected."""
        if message.stage == "prior":
            if self.expected is None:
                return None
            share, spent = message.stage_fraction or 0.0, message.elapsed_s
            prior = spent * (1 - share) / share if share > 0.1 else max(0.0, self.expected[0] - spent)
            return prior + self.expected[1]
        if message.eta_s is None or self.expected is None or message.stage in ("teacher-student", "tiles"):
            return message.eta_s
        # The first stages are quicker than the last, and longest, one.
        done = message.iteration / max(1, message.total_iterations)
        return max(message.eta_s, (1 - done) * self.expected[1])

    def _on_error(self, error: Exception) -> None:
        if self._abandoned:
            return
        details = error.details if isinstance(error, ChildFailedError) else ""
        LOGGER.error("Fit of %s failed: %s\n%s", self.name, error, details)
        if isinstance(error, EmgaussError):
            said = sentence(error)
        else:
            LOGGER.error("Traceback", exc_info=error)
            said = f"The fit failed ({type(error).__name__}: {error}); the log has the details."
        if self.model is not None:
            said += " The last preview is kept."
        self.state.error = said
        self.state.status = FitStatus.FAILED
        self.progressed.emit()
        self.ended.emit()

    def _on_aborted(self) -> None:
        if self.state.status.active and not self._abandoned:
            self.state.status = FitStatus.STOPPED
            self.progressed.emit()
            self.ended.emit()

    def _on_worker_finished(self) -> None:
        _RUNNING.discard(self)
        self._worker = None


def running_sessions() -> list[FitSession]:
    """Fits that run in this napari."""
    return [session for session in _RUNNING if session.state.status.active]
