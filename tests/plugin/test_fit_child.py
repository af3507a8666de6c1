"""What the fit's process tells, and when."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from napari_emgauss.plugin.process import _fit_child


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
