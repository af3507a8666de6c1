"""What the fit's process tells, and when."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from napari_emgauss import FitError
from napari_emgauss.plugin.process import _fit_child
from napari_emgauss.plugin.process._fit_child import _keep_result
from napari_emgauss.plugin.process._fit_store import keep_result, result_path
from napari_emgauss.render import load


class Window:
    """The window's end: it wants the next preview as soon as one has come."""

    stop_wanted = False

    def __init__(self, clock: list[float]) -> None:
        self.attention, self.crowded = Event(), Event()
        self.attention.set()
        self.previews: list[float] = []
        self._clock = clock

    def wait_while_paused(self) -> None:
        pass

    def tell_progress(self, message: Any) -> bool:
        return True

    def tell(self, message: Any) -> None:
        assert message.kind == "preview"
        self.previews.append(self._clock[0])
        self.attention.set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(_fit_child, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def _updates(clock: list[float], seconds: int, on_second: Any = None) -> Iterator[Any]:
    for k in range(1, 10 * seconds + 1):
        clock[0] = k / 10
        if on_second is not None:
            on_second(clock[0])
        yield SimpleNamespace(
            finished=False, model=SimpleNamespace(save=lambda path: None), iteration=k, total_iterations=1000,
            stage="joint", loss=1.0, gaussians=3, elapsed_s=clock[0], eta_s=1.0, text="", stage_fraction=None,
        )  # fmt: skip


def test_previews_come_every_second(clock: list[float], tmp_path: Path) -> None:
    window = Window(clock)
    _fit_child._walk(window, _updates(clock, 4), tmp_path)
    assert window.previews == [0.1, 1.1, 2.1, 3.1]


def test_previews_are_rare_while_somebody_scrubs(clock: list[float], tmp_path: Path) -> None:
    window = Window(clock)

    def scrub(now: float) -> None:
        (window.crowded.set if 2 <= now < 13 else window.crowded.clear)()

    _fit_child._walk(window, _updates(clock, 15, scrub), tmp_path)
    assert window.previews == [0.1, 1.1, 6.1, 11.1, 13.0, 14.0, 15.0]


def test_a_result_that_the_temporary_folder_cannot_take_is_kept_elsewhere(
    request_for: Any, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, request = load(model_file, device="cpu"), request_for()
    path, note = _keep_result(model, tmp_path / "gone", request)
    assert path == result_path(request) and path.is_file() and str(path) in note
    monkeypatch.setattr("napari_emgauss.plugin.process._fit_store.result_path", lambda request: tmp_path / "no" / "x")
    with pytest.raises(FitError, match="The state of the fit is kept: make room, then press Resume"):
        _keep_result(model, tmp_path / "gone", request)


def test_a_result_that_cannot_be_shown_is_put_where_it_stays(
    request_for: Any, model_file: Path, tmp_path: Path
) -> None:
    request = request_for()
    scratch = tmp_path / "result.emgauss.safetensors"
    shutil.copyfile(model_file, scratch)
    kept = keep_result(scratch, request)
    assert kept == result_path(request) and kept.read_bytes() == model_file.read_bytes()
    assert keep_result(tmp_path / "never written", request) is None


def test_a_preview_that_cannot_be_written_ends_no_fit(clock: list[float], tmp_path: Path) -> None:
    class Told(Window):
        def tell_progress(self, message: Any) -> bool:
            notes.append(message.note)
            return True

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    notes: list[str] = []
    updates = list(_updates(clock, 1))
    for update in updates:
        update.model = SimpleNamespace(save=full)
    last = _fit_child._walk(Told(clock), iter(updates), tmp_path)
    assert last is updates[-1]
    assert any("cannot be shown while it runs (" in one and "it continues" in one for one in notes)
