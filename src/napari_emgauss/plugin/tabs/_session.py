"""One fit in napari, from the click to the layer: worker in front, process behind, state for the widgets.

No widget here, and no layer: who shows what is decided by who listens.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator

from psygnal import Signal

from napari_emgauss._errors import EmgaussError
from napari_emgauss.plugin.process._fit_child import FitMessage
from napari_emgauss.plugin.process._fit_process import FitProcess
from napari_emgauss.plugin.process._fit_state import FitState, FitStatus, LossCurve
from napari_emgauss.plugin.process._fit_store import keep_result
from napari_emgauss.plugin.process._problem import ChildFailedError, Problem, problem_of, with_advice
from napari_emgauss.plugin.process._remote_model import PreparedState, RemoteModel
from napari_emgauss.plugin.process._render_service import RenderService
from napari_emgauss.plugin.process._scratch import is_scratch
from napari_emgauss.plugin.widgets._worker import Pump

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
    prior_reused : bool
        Whether the prior had learned before.
    problem : Problem or None
        What went wrong, where it has failed.
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
        self._pump: Pump | None = None
        self.problem: Problem | None = None
        self.previews_wanted: Callable[[], bool] = lambda: True
        self.expected: tuple[float, float] | None = None
        self.prior_s, self.prior_reused = 0.0, False
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
        # No bar in napari's activity dock, the widget has one: napari's moving picture beside it redraws the window
        # thirty times a second, which takes half a core from the fit where OpenGL is done in software.
        self._pump = Pump(
            self._news,
            "fit",
            on_message=self._on_news,
            on_end=self._on_end,
            on_problem=self._on_problem,
            abandon_work=self.process.abandon,
        )
        self._pump.start()

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

    def end_now(self) -> None:
        """End a fit that is being stopped without waiting any longer for what it writes."""
        if self.state.status is FitStatus.STOPPING:
            self.process.end_now()

    def abandon(self) -> None:
        """End the fit: the viewer closes, and nobody listens any more. Its state is kept all the same."""
        if self.state.status.active:
            self.state.status = FitStatus.STOPPED
        _RUNNING.discard(self)
        if self._pump is not None:
            self._pump.abandon()
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
                    shown = model = self._open(message.model_path, final=final)
                else:
                    shown = self._newer(model, message.model_path, final=final)
            if self.previews_wanted():
                self.process.preview_shown()
            yield message, shown

    def _open(self, path: str, *, final: bool) -> RemoteModel | None:
        """The model in a file of the fit; None where a preview cannot be shown, which is no reason to end a fit."""
        try:
            model = RemoteModel.open(self._service, path, temporary=is_scratch(path))
            # The window's first look at the model must find a compiled renderer.
            model.render(float(model.z_nm[0]))
            return model
        except Exception as error:
            self._no_picture(error, path, final=final)
            return None

    def _newer(self, model: RemoteModel, path: str, *, final: bool) -> PreparedState | None:
        try:
            return model.prepare(path)
        except Exception as error:
            self._no_picture(error, path, final=final)
            return None

    def _no_picture(self, error: Exception, path: str, *, final: bool) -> None:
        problem = problem_of(error, "render")
        if not final:
            LOGGER.warning("A preview cannot be shown: %s\n%s", problem.sentence, problem.details)
            return
        kept = keep_result(path, self.process.request)
        where = f"The result is kept as {kept}: open it when there is room." if kept else "Resume the fit to see it."
        raise ChildFailedError(
            f"The fit is done, but its result cannot be shown. {problem.sentence} {where}", problem.details
        ) from error

    # in the window's thread

    def _on_news(self, news: News) -> None:
        if self.state.status in (FitStatus.FAILED, FitStatus.FINISHED, FitStatus.STOPPED):
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
            self._end(FitStatus.FINISHED if message.kind == "finished" else FitStatus.STOPPED)
        else:
            self.progressed.emit()

    def _take_over(self, message: FitMessage) -> None:
        state = self.state
        if message.kind == "device":
            state.device, state.note = message.text, message.note
            self.prior_reused = bool(message.note)
            LOGGER.info("Fit of %s on %s", self.name, message.text)
            return
        if state.status is FitStatus.PREPARING:
            state.status = FitStatus.RUNNING
        if message.stage and message.stage != state.stage:
            LOGGER.info("Fit of %s: stage %s", self.name, message.stage)
        for field in ("stage", "iteration", "total_iterations", "gaussians", "elapsed_s", "stage_fraction", "text"):
            setattr(state, field, getattr(message, field))
        if message.note and message.note != state.note:
            LOGGER.warning("Fit of %s: %s", self.name, message.note)
            state.note = message.note
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

    def _on_problem(self, problem: Problem, error: BaseException) -> None:
        """The fit failed, or what shows it did."""
        if self.model is not None:
            problem = with_advice(problem, "The last preview is kept.")
        self.problem = problem
        self.state.error = problem.sentence
        self._end(FitStatus.FAILED)

    def _on_end(self) -> None:
        """The worker has nothing more to say."""
        _RUNNING.discard(self)
        if self.state.status is FitStatus.STOPPING:
            self._end(FitStatus.STOPPED)
        elif self.state.status.active:
            error = ChildFailedError("The fit ended without a result: try again.", kind="ended")
            self._on_problem(problem_of(error), error)

    def _end(self, status: FitStatus) -> None:
        _RUNNING.discard(self)
        self.state.status = status
        LOGGER.info("Fit of %s: %s", self.name, self.state.sentence())
        self.progressed.emit()
        self.ended.emit()


def running_sessions() -> list[FitSession]:
    """Fits that run in this napari."""
    return [session for session in _RUNNING if session.state.status.active]
