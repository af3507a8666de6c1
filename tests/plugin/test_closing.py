"""The end of the window, and of a fit in it, in a real window."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_in_children
from qtpy.QtCore import QTimer
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QApplication, QMessageBox
from waiting import waiting

from napari_emgauss.plugin._preferences import PLUGIN_NAME
from napari_emgauss.plugin.process._fit_process import FitProcess
from napari_emgauss.plugin.process._fit_state import FitStatus
from napari_emgauss.plugin.tabs import _closing, _fit_panel, _fit_tab
from napari_emgauss.plugin.tabs._closing import SavingNote

pytestmark = [pytest.mark.viewer, pytest.mark.filterwarnings("default")]


wait = waiting(60)


@pytest.fixture
def window(make_napari_viewer_proxy: Any, service: Any, values: np.ndarray) -> Iterator[tuple[Any, Any]]:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(values, scale=(40, 4, 5), units=("nm",) * 3, name="mine")
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN_NAME, "Fit EMGauss")
    QApplication.processEvents()
    yield viewer, widget
    widget.shut_down()


def _fit(widget: Any, monkeypatch: pytest.MonkeyPatch, target: Any) -> Any:
    monkeypatch.setattr(
        _fit_tab, "FitProcess", lambda request, data, damage: FitProcess(request, data, damage=damage, target=target)
    )
    widget.fit.start_fit()
    session = widget.fit.session
    wait(lambda: session.state.status is FitStatus.RUNNING, "the fit")
    return session


def test_closing_waits_for_the_state(window: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer, widget = window
    kept = tmp_path / "state"
    request = widget.fit.request
    monkeypatch.setattr(widget.fit, "request", lambda: _with_source(request(), kept))
    session = _fit(widget, monkeypatch, stand_in_children.saves_slowly)
    session.process._child._patience_s = 0.1  # nobody's patience ends the writing
    notes: list[str] = []

    def look() -> None:
        notes.extend(
            one.text.text() for one in QApplication.topLevelWidgets() if isinstance(one, SavingNote) and one.isVisible()
        )

    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(100)
    viewer.window.close()
    timer.stop()
    assert kept.read_text() == "all of it" and not session.process.alive
    assert any("Keeping the state of the fit, so that it can be resumed" in one for one in notes)
    assert not any(isinstance(one, SavingNote) and one.isVisible() for one in QApplication.topLevelWidgets())


def _with_source(request: Any, source: Path) -> Any:
    return dataclasses.replace(request, source=str(source))


def test_who_will_not_wait_need_not(window: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer, widget = window
    monkeypatch.setattr(_closing, "PATIENCE_S", 0.5)
    session = _fit(widget, monkeypatch, stand_in_children.saves_for_ever)

    def press() -> None:
        for one in QApplication.topLevelWidgets():
            if isinstance(one, SavingNote) and one.give_up_button.isVisible():
                one.give_up_button.click()

    timer = QTimer()
    timer.timeout.connect(press)
    timer.start(100)
    viewer.window.close()
    timer.stop()
    assert not session.process.alive


def test_a_stop_that_does_not_end_can_be_ended(window: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, widget = window
    monkeypatch.setattr(_fit_panel, "STOP_PATIENCE_S", 1)
    widget.fit.panel._patience.setInterval(300)
    session = _fit(widget, monkeypatch, stand_in_children.saves_for_ever)
    button = widget.fit.panel.stop_button
    button.click()
    assert session.state.status is FitStatus.STOPPING and not button.isEnabled()
    wait(lambda: button.text() == "End now", "the offer")
    assert button.isEnabled()
    button.click()
    wait(lambda: session.state.status is FitStatus.STOPPED, "the end")
    assert "ended before it could save its state" in widget.fit.panel.status.text()
    wait(lambda: not session.process.alive, "the end of the process", 20)
    assert widget.fit.panel.fit_button.isEnabled() and button.text() == "Stop"


def test_the_question_says_that_the_fit_can_go_on(window: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, widget = window
    session = _fit(widget, monkeypatch, stand_in_children.stops_at_once)
    box = widget.closing.question()
    told = box.informativeText()
    assert "“mine” is being fitted (10% done)" in told and "press Resume" in told
    assert "object" not in told and "<" not in told
    box.deleteLater()
    answers: list[Any] = []
    monkeypatch.setattr(QMessageBox, "exec", lambda box: answers.append(box) or QMessageBox.StandardButton.Cancel)

    class FromTheUser(QCloseEvent):
        def spontaneous(self) -> bool:
            return True

    event = FromTheUser()
    assert widget.closing.eventFilter(widget.closing.window, event) is True and not event.isAccepted()
    wait(lambda: answers, "the question")
    assert session.state.status.active and widget.closing.window.isVisible()
    session.abandon()
