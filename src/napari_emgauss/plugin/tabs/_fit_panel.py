"""Buttons, state and loss of a fit."""

from __future__ import annotations

import time
from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_emgauss.plugin.process._demand import moved_lately
from napari_emgauss.plugin.process._fit_state import FitStatus
from napari_emgauss.plugin.process._fit_store import SavedFit
from napari_emgauss.plugin.process._reckoning import PATCH_PRESET, PATCH_SIDE
from napari_emgauss.plugin.widgets._form import Note, slim_bar, stack_up
from napari_emgauss.plugin.widgets._loss_plot import LossPlot
from napari_emgauss.plugin.widgets._remedy import Remedy, RemedyButton
from napari_emgauss.plugin.widgets._theme import theme_colours

from ._next_steps import NextSteps
from ._session import FitSession

SHOW_INTERVAL_S = 0.5
"""Least time between two pictures of a running fit."""

SHOW_WHILE_MOVING_S = 2.0
"""The same while somebody scrubs, and looks elsewhere."""


STOP_PATIENCE_S = 30
"""How long a fit may write what it keeps after Stop before one is asked whether to wait any longer."""


class FitPanel(QWidget):
    """Shows one session; the buttons act on it."""

    fit_clicked = Signal()
    patch_clicked = Signal()
    resume_clicked = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._session: FitSession | None = None
        self._shown_status, self._shown_at = FitStatus.IDLE, 0.0
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(1000 * STOP_PATIENCE_S)
        self._patience.timeout.connect(self._offer_to_end_now)
        self.fit_button = QPushButton("Fit EMGauss")
        self.fit_button.setToolTip(
            "Fit the stack. A continuous-z layer appears, linear at first, and improves as the fit proceeds."
        )
        self.fit_button.setMinimumHeight(32)
        font = self.fit_button.font()
        font.setBold(True)
        self.fit_button.setFont(font)
        self.patch_button = QPushButton("Try a patch first")
        self.patch_button.setToolTip(
            f"Fit {PATCH_SIDE} × {PATCH_SIDE} pixels around the middle of the view, quickly (preset {PATCH_PRESET}), "
            "and show the stack, linear interpolation and EMGauss side by side."
        )
        self.patch_button.setEnabled(False)
        self.resume_button = QPushButton("Resume")
        self.resume_button.setToolTip("Continue the unfinished fit, with its own settings.")
        self.resume_button.hide()
        self.saved = Note()
        self.pause_button = QPushButton("Pause")
        self.pause_button.setToolTip("Pause the fit, or resume it.")
        self.stop_button = QPushButton("Stop")
        self.stop_button.setToolTip("End the fit and keep the result so far.")
        self.bar = slim_bar()
        self.bar.setRange(0, 1000)
        self.status = Note()
        self.remedy_button = RemedyButton()
        self.next_steps = NextSteps()
        self.next_steps.hide()
        self.plot = LossPlot(viewer)

        buttons = QHBoxLayout()
        buttons.addWidget(self.fit_button, 3)
        buttons.addWidget(self.patch_button, 3)
        buttons.addWidget(self.resume_button, 1)
        buttons.addWidget(self.pause_button, 1)
        buttons.addWidget(self.stop_button, 1)
        stack_up(self, buttons, self.saved, self.status, self.remedy_button, self.next_steps, self.bar, self.plot)
        self.fit_button.clicked.connect(self.fit_clicked)
        self.patch_button.clicked.connect(self.patch_clicked)
        self.resume_button.clicked.connect(self.resume_clicked)
        self.pause_button.clicked.connect(self._pause_or_resume)
        self.stop_button.clicked.connect(self._stop)
        self.show_state()

    def disconnect_viewer(self) -> None:
        """Stop listening; the widget is about to go."""
        if self._session is not None:
            self._session.progressed.disconnect(self._on_progress)
            self._session = None
        self._patience.stop()
        self.plot.disconnect_viewer()

    def set_session(self, session: FitSession | None) -> None:
        """Show another session."""
        if self._session is not None:
            self._session.progressed.disconnect(self._on_progress)
        self._session = session
        if session is not None:
            session.progressed.connect(self._on_progress)
        self.show_state()

    def offer(self, saved: SavedFit | None) -> None:
        """Offer to go on with an unfinished fit; None takes the offer back."""
        active = self._session is not None and self._session.state.status.active
        wanted = saved is not None and not active
        self.resume_button.setVisible(wanted)
        self.saved.tell(saved.sentence() if saved is not None and wanted else "")

    def offer_patch(self, offered: bool) -> None:
        """Whether there is a patch to try: not where all that is chosen is as small."""
        self.patch_button.setEnabled(offered)

    def tell_error(self, sentence: str, remedy: Remedy | None = None) -> None:
        """Show why a fit was not even begun, or has failed, and what can be done about it."""
        self.status.tell(sentence, theme_colours(self._viewer).error)
        self.remedy_button.offer(remedy)

    def tell_problem(self, sentence: str) -> None:
        """Show what is in the way of a fit, or nothing."""
        self.remedy_button.offer(None)
        self.status.tell(sentence, theme_colours(self._viewer).warning)

    def _on_progress(self) -> None:
        """Show the session now and then: each time, Qt draws the window anew."""
        if self._session is None:
            return
        now, interval = time.monotonic(), SHOW_WHILE_MOVING_S if moved_lately() else SHOW_INTERVAL_S
        if self._session.state.status is not self._shown_status or now - self._shown_at > interval:
            self.show_state()

    def show_state(self) -> None:
        """Show the session as it is now."""
        status = FitStatus.IDLE if self._session is None else self._session.state.status
        self._shown_status, self._shown_at = status, time.monotonic()
        self.fit_button.setEnabled(not status.active)
        self.patch_button.setVisible(not status.active)
        self.pause_button.setVisible(status.active)
        self.stop_button.setVisible(status.active)
        self.pause_button.setEnabled(status in (FitStatus.RUNNING, FitStatus.PAUSED))
        self.pause_button.setText("Resume" if status is FitStatus.PAUSED else "Pause")
        if status is not FitStatus.STOPPING:
            self._patience.stop()
            self.stop_button.setText("Stop")
            self.stop_button.setToolTip("End the fit and keep the result so far.")
            self.stop_button.setEnabled(True)
        elif not self._patience.isActive() and self.stop_button.text() == "Stop":
            self.stop_button.setEnabled(False)
            self._patience.start()
        self.bar.setVisible(status.active)
        if status.active:
            self.offer(None)
            self.remedy_button.offer(None)
        self.plot.setVisible(self._session is not None)
        ended = status in (FitStatus.FINISHED, FitStatus.STOPPED)
        self.next_steps.setVisible(ended and self._session is not None and self._session.model is not None)
        if self._session is None:
            self.status.tell("")
            return
        state = self._session.state
        colour = theme_colours(self._viewer).error if status is FitStatus.FAILED else ""
        self.status.tell(state.sentence(), colour)
        fraction = state.fraction
        if fraction is None:
            self.bar.setRange(0, 0)
        else:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * fraction))
        self.plot.show_curve(self._session.curve)

    def _pause_or_resume(self) -> None:
        if self._session is None:
            return
        if self._session.state.status is FitStatus.PAUSED:
            self._session.resume()
        else:
            self._session.pause()

    def _stop(self) -> None:
        if self._session is None:
            return
        if self._session.state.status is FitStatus.STOPPING:
            self._session.end_now()
        else:
            self._session.stop()

    def _offer_to_end_now(self) -> None:
        """Writing takes long, or the fit has hung itself up: only the user can tell which."""
        self.stop_button.setText("End now")
        self.stop_button.setToolTip("Stop waiting: what has not been saved so far is lost.")
        self.stop_button.setEnabled(True)
