"""What fails ends in a state of the dock that says what happened and what to do, and the next fit starts.

Warnings are no errors here, as they are none for users: with errors of them, what swallows failures does not.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_in_children
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication
from waiting import waiting

from napari_emgauss.plugin._preferences import PLUGIN_NAME
from napari_emgauss.plugin._reader import get_reader
from napari_emgauss.plugin.process import _export_job
from napari_emgauss.plugin.process._fit_process import FitProcess
from napari_emgauss.plugin.process._fit_state import FitStatus
from napari_emgauss.plugin.process._problem import ChildFailedError
from napari_emgauss.plugin.tabs import _fit_tab, _quality_tab, _session, _speed_trial
from napari_emgauss.plugin.view._continuous_layer import record_of

pytestmark = [pytest.mark.viewer, pytest.mark.filterwarnings("default")]
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")


wait = waiting(90)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Messages of napari's notifications."""
    found: list[str] = []

    def keep(notification: Any) -> None:
        found.append(notification.message)

    notification_manager.notification_ready.connect(keep)
    yield found
    notification_manager.notification_ready.disconnect(keep)


@pytest.fixture
def window(make_napari_viewer_proxy: Any, service: Any, values: np.ndarray) -> Iterator[tuple[Any, Any]]:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(values, scale=(40, 4, 5), units=("nm",) * 3, name="mine")
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN_NAME, "Fit EMGauss")
    yield viewer, widget
    widget.shut_down()


def _run(monkeypatch: pytest.MonkeyPatch, target: Any) -> None:
    """Let fits run another target."""
    monkeypatch.setattr(
        _fit_tab, "FitProcess", lambda request, data, damage: FitProcess(request, data, damage=damage, target=target)
    )


def _next_fit_starts(widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(monkeypatch, stand_in_children.stops_at_once)
    assert widget.fit.panel.fit_button.isEnabled()
    widget.fit.panel.fit_button.click()
    session = widget.fit.session
    wait(lambda: session.state.status is FitStatus.RUNNING, "the next fit")
    session.stop()
    wait(lambda: session.state.status is FitStatus.STOPPED, "its end")


def _failed(widget: Any, sentence: str, told: list[str]) -> None:
    session = widget.fit.session
    wait(lambda: not session.state.status.active, "the failure")
    assert session.state.status is FitStatus.FAILED
    assert sentence in widget.fit.panel.status.text()
    assert "Traceback" not in widget.fit.panel.status.text() and "\n" not in widget.fit.panel.status.text()
    assert any(sentence in one for one in told), told
    wait(lambda: not session.process.alive, "the end of the process", 30)


CHILDREN = [
    (stand_in_children.fails_as_expected, "lower the learning rates", ""),
    (stand_in_children.fails_by_surprise, "ZeroDivisionError: division by zero); the log", "Try again"),
    (stand_in_children.runs_out_of_memory, "not enough memory: choose a smaller region", "Fit in tiles"),
    (stand_in_children.leaves_without_a_word, "could not start (exit code 7)", "Try again"),
    (stand_in_children.leaves_without_an_answer, "ended without an answer (exit code 0)", "Try again"),
    (stand_in_children.says_what_cannot_be_sent, "Something went wrong (", "Try again"),
    (stand_in_children.says_what_cannot_be_read, "sent something that cannot be read", "Try again"),
    (stand_in_children.has_no_device, "cannot be used here", "Use the CPU and fit"),
]
if sys.platform != "win32":
    CHILDREN += [
        (stand_in_children.is_killed_at_once, "was ended from outside (exit code -9)", "Try again"),
        (stand_in_children.is_killed, "was ended from outside (exit code -9)", "Try again"),
        (stand_in_children.is_killed_while_answering, "was ended from outside (exit code -9)", "Try again"),
    ]


def test_fits_whose_child_fails(window: Any, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, widget = window
    remedy = widget.fit.panel.remedy_button
    for child, sentence, button in CHILDREN:
        told.clear()
        _run(monkeypatch, child)
        widget.fit.start_fit()
        _failed(widget, sentence, told)
        assert remedy.text() == button, child.__name__
        assert remedy.isHidden() != bool(button) and widget.fit.panel.pause_button.isHidden(), child.__name__
    _next_fit_starts(widget, monkeypatch)
    assert remedy.isHidden()


@needs_signals
def test_a_child_that_is_killed_at_its_birth(
    window: Any, told: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, widget = window
    monkeypatch.setattr(
        "multiprocessing.spawn._python_exe", str(_script(tmp_path / "dies", "kill -9 $$")).encode(), raising=True
    )
    widget.fit.start_fit()
    _failed(widget, "process", told)
    assert widget.fit.panel.remedy_button.text() == "Try again"
    monkeypatch.undo()
    _next_fit_starts(widget, monkeypatch)


def _script(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


def test_arguments_that_cannot_be_sent(window: Any, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, widget = window
    _run(monkeypatch, lambda channel, *args: None)  # spawn cannot send a lambda
    widget.fit.start_fit()
    _failed(widget, "The fit process could not be started (", told)
    _next_fit_starts(widget, monkeypatch)


def test_bugs_of_ours(window: Any, told: list[str], monkeypatch: pytest.MonkeyPatch, model_file: Path) -> None:
    """In the worker's thread, in the window's, and in a handler of a signal of psygnal."""
    _, widget = window
    for error in (RuntimeError("gone"), ChildFailedError("The renderer is gone."), KeyError("x is gone")):
        with monkeypatch.context() as patch:
            patch.setattr("napari_emgauss.plugin.process._fit_process.copy_slices", _raises(error))
            widget.fit.start_fit()
            _failed(widget, "gone", told)
    _run(monkeypatch, stand_in_children.steps)
    with monkeypatch.context() as patch:
        patch.setattr(_session.FitSession, "_take_over", _raises(RuntimeError("a slot of ours")))
        widget.fit.start_fit()
        _failed(widget, "Something went wrong (RuntimeError: a slot of ours)", told)
    _run(monkeypatch, stand_in_children.finishes_with(model_file))
    with monkeypatch.context() as patch:
        patch.setattr(_fit_tab, "replace_stand_in", _raises(RuntimeError("no layer today")))
        widget.fit.start_fit()
        _failed(widget, "Something went wrong (RuntimeError: no layer today)", told)
    _next_fit_starts(widget, monkeypatch)


def _raises(error: Exception) -> Callable[..., None]:
    def fails(*args: Any, **keywords: Any) -> None:
        raise error

    return fails


def _blacken(viewer: Any, *slices: int) -> None:
    layer = viewer.layers["mine"]
    changed = layer.data.copy()
    for k in slices:
        changed[k] = 0
    layer.data = changed


def test_a_black_slice_is_left_out_at_a_click(window: Any, told: list[str]) -> None:
    viewer, widget = window
    _blacken(viewer, 3)
    fields = widget.fit.method.settings.fields
    fields["prior"].setCurrentText("linear")
    fields["iterations_scale"].setValue(0.01)
    widget.fit.region.first.setValue(1)  # the message counts slices as the slider does
    widget.fit.start_fit()
    _failed(widget, "Slice 3 of “mine” is empty (all 0): leave it out", told)
    button = widget.fit.panel.remedy_button
    assert button.text() == "Leave out slice 3 and fit" and button.isVisibleTo(widget)
    button.click()
    session = widget.fit.session
    wait(lambda: not session.state.status.active, "the fit")
    assert session.state.status is FitStatus.FINISHED, session.state.error
    assert session.process.request.skip == (3,) and session.process.request.kept == (1, 2, 4)
    assert button.isHidden()


def test_several_bad_slices_are_told_together_and_a_constant_stack_is_hopeless(window: Any, told: list[str]) -> None:
    viewer, widget = window
    broken = np.concatenate([viewer.layers["mine"].data] * 2).astype(np.float32)
    broken[4], broken[5], broken[7, 3, 4] = 9, 9, np.nan
    viewer.layers["mine"].data = broken
    widget.fit.start_fit()
    _failed(widget, "3 slices of “mine” hold no image (4–5 and 7); the first holds one grey value (9)", told)
    assert widget.fit.panel.remedy_button.text() == "Leave out slices 4–5 and 7 and fit"
    viewer.layers["mine"].data = np.full((5, 24, 32), 7, np.uint8)
    widget.fit.start_fit()
    _failed(widget, "no slice is left to fit: choose another layer", told)
    assert widget.fit.panel.remedy_button.isHidden()


FAILING_JOBS = [
    (stand_in_children.fails_by_surprise, "ZeroDivisionError"),
    (stand_in_children.runs_out_of_memory, "not enough memory"),
]
if sys.platform != "win32":
    FAILING_JOBS.append((stand_in_children.is_killed_at_once, "ended from outside (exit code -9)"))


def test_scores_that_fail(window: Any, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    viewer, widget = window
    panel = widget.quality.panel
    for target, sentence in FAILING_JOBS:
        told.clear()
        monkeypatch.setattr(_quality_tab, "score_in_child", target)
        widget.quality.start()
        wait(lambda: not widget.quality.running, "the failure")
        assert sentence in widget.quality.status.text() and widget.quality.score_button.isEnabled()
        assert any(sentence in one for one in told)
        assert panel.remedy_button.text() == ("" if "memory" in sentence else "Try again")
    viewer.layers["mine"].data = np.concatenate([viewer.layers["mine"].data] * 2)
    _blacken(viewer, 2)
    widget.quality.start()
    wait(lambda: not widget.quality.running, "the refusal")
    assert "Slice 2 of “mine” is empty" in widget.quality.status.text()
    assert panel.remedy_button.text() == "Leave out slice 2 and score"
    monkeypatch.setattr(_quality_tab, "score_in_child", stand_in_children.job_of_ten)
    panel.remedy_button.click()
    assert widget.quality.running and widget.fit.slices.skip() == (2,)
    widget.quality.cancel()
    wait(lambda: not widget.quality.running, "the end")
    assert widget.quality.status.text() == "Cancelled."


@pytest.fixture
def with_model(window: Any, model_file: Path) -> tuple[Any, Any]:
    viewer, widget = window
    data, keywords, _ = get_reader(str(model_file))(str(model_file))[0]
    viewer.add_image(data, **keywords)
    return viewer, widget


def test_an_export_into_a_missing_folder(with_model: Any, told: list[str], tmp_path: Path) -> None:
    _, widget = with_model
    tab = widget.export
    tab.path.setText(str(tmp_path / "new" / "deep" / "iso.ome.tif"))
    tab.start()
    assert "does not exist: create it, or choose another one" in tab.status.text() and not tab.running
    assert any("does not exist" in one for one in told)
    tab.panel.remedy_button.click()  # Create the folder and export
    wait(lambda: not tab.running, "the export")
    assert tab.status.text() == "Written: iso.ome.tif"
    assert [one.name for one in (tmp_path / "new" / "deep").iterdir()] == ["iso.ome.tif"]


def test_exports_that_fail(with_model: Any, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, widget = with_model
    tab = widget.export
    tab.path.setText(str(tmp_path / "iso.ome.tif"))
    for target, sentence in FAILING_JOBS:
        told.clear()
        with monkeypatch.context() as patch:
            patch.setattr(_export_job, "export_in_child", target)
            tab.start()
            wait(lambda: not tab.running, "the failure")
        assert sentence in tab.status.text() and any(sentence in one for one in told)
        assert tab.panel.remedy_button.text() == "Try again" and list(tmp_path.iterdir()) == []
    with monkeypatch.context() as patch:  # a bug of ours after the last slice
        patch.setattr("napari_emgauss.plugin.tabs._export_tab.show_info", _raises(RuntimeError("a slot of ours")))
        tab.panel.remedy_button.click()
        wait(lambda: "a slot of ours" in tab.status.text(), "the sentence")
    assert tab.export_button.isEnabled() and [one.name for one in tmp_path.iterdir()] == ["iso.ome.tif"]
    tab.path.setText(str(tmp_path / "again.ome.tif"))
    tab.panel.remedy_button.click()
    wait(lambda: not tab.running, "the next try")
    assert tab.status.text() == "Written: again.ome.tif"


def test_a_picture_that_cannot_be_rendered(with_model: Any, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    viewer, widget = with_model
    widget.tabs.setCurrentWidget(widget.depth)
    layer = viewer.layers["small"]
    record = record_of(layer)

    def fails(*args: Any, **keywords: Any) -> None:
        raise ChildFailedError("The rendering process ends again and again.", kind="ended")

    with monkeypatch.context() as patch:
        patch.setattr(type(record.model), "_render_at", fails)
        widget.depth.control.go_to(61.5)
        wait(lambda: "again and again" in widget.depth.where.text(), "the sentence")
        assert widget.depth.retry_button.text() == "Render again"
        widget.depth.control.go_to(77.5)
        wait(lambda: record.painter.failing, "the second failure")
        QApplication.processEvents()
        assert len([one for one in told if "again and again" in one]) == 1  # not with every step
        with pytest.raises(ChildFailedError):  # who asks for pixels gets pixels, or an error
            np.asarray(layer.data[0])
    widget.depth.retry_button.click()
    wait(lambda: widget.depth.where.text().startswith("Slice 1.94: inferred"), "the picture")
    assert widget.depth.retry_button.isHidden() and not record.painter.failing


def test_a_speed_trial_that_fails(
    make_napari_viewer_proxy: Any, service: Any, values: np.ndarray, monkeypatch: pytest.MonkeyPatch, own_folders: Path
) -> None:
    (own_folders / "speed.json").unlink()
    monkeypatch.setattr(_speed_trial, "measure_speed_in_child", stand_in_children.fails_by_surprise)
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(values, scale=(40, 4, 5), units=("nm",) * 3, name="mine")
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN_NAME, "Fit EMGauss")
    wait(lambda: "could not be measured" in widget.fit.method.cost.text(), "the sentence")
    assert "GB memory" in widget.fit.method.cost.text()
    _next_fit_starts(widget, monkeypatch)
    widget.shut_down()


def test_background_work_without_a_handler_is_told(window: Any, told: list[str]) -> None:
    from napari_emgauss.plugin._background import in_background

    def fails() -> None:
        raise RuntimeError("behind the window")

    def fails_on(answer: Any) -> None:
        raise RuntimeError("in front of it")

    _, widget = window
    in_background(widget, fails, lambda answer: None)
    in_background(widget, lambda: 1, fails_on)
    wait(lambda: len([one for one in told if "Something went wrong" in one]) == 2, "both")


def test_a_window_outside_of_pytest(tmp_path: Path) -> None:
    """The whole chain in a process of its own, with Python's own warnings and hooks."""
    script = Path(__file__).with_name("failing_window.py")
    environment = {**os.environ, "NAPARI_EMGAUSS_UNFINISHED": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("PYTHONWARNINGS", None)
    answer = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=240, env=environment, check=False
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    lines = dict(line.split(": ", 1) for line in answer.stdout.splitlines() if ": " in line)
    assert lines["black"].startswith("Slice 2 of “mine” is empty (all 0)")
    assert lines["killed"].startswith("The fit process was ended from outside (exit code -9)")
    assert lines["score"].startswith("Something went wrong (ZeroDivisionError")
    assert lines["next"] == "fitting"
