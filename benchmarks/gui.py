"""The plugin's window under load: scrubbing alone and during a fit, what it costs the fit, stalls, memory.

    python benchmarks/gui.py
    python benchmarks/gui.py --side 256 --moves 200
    python benchmarks/gui.py --first-picture    # nothing but how soon there is something to see
    python benchmarks/gui.py --three-d          # nothing but the switch to 3D while a fit runs

Needs napari and a screen (``xvfb-run -a -s "-screen 0 1600x1000x24"`` will do; set ``LP_NUM_THREADS=1`` there, or the
software renderer takes the fit's cores). A window of 1280 by 800 shows a generated stack. Every figure has its
counterpart beside it: an ordinary array in memory beside the rendered layer, the fit left alone beside the fit while
somebody scrubs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "napari.yaml")
os.environ["NAPARI_EMGAUSS_PRIORS"] = tempfile.mkdtemp()
os.environ["NAPARI_EMGAUSS_UNFINISHED"] = tempfile.mkdtemp()

import napari
import numpy as np
import psutil
from _machine import print_table, write_result
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QApplication

NOTES = (
    "Scrubbing: milliseconds from setting the slider to the window having drawn, random steps; 'array' is an ordinary "
    "image of the same size, so what napari itself takes; 'new' are slices that were not rendered before. 'Ten a "
    "second' is one step after the other, through slices none of which was rendered before the first step. Fit: "
    "iterations per second of the same fit, left alone and while the slider moves ten times a second. Stall: longest "
    "time the event loop did not answer, scrubbing apart; of a view, after z came on screen for the first time. A "
    "slice that is not rendered within 80 ms, and a view along z that is not within 20 ms, come later. Growth: "
    "resident memory of napari's process over the moves, after the slice cache is full."
)


CACHE_BYTES = 16 << 20


class Window:
    """A viewer with a heartbeat."""

    def __init__(self) -> None:
        self.viewer: Any = napari.Viewer()
        self.viewer.window._qt_window.resize(1280, 800)
        self.gaps: list[float] = []
        self._beat = time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)
        self.run(0.5)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append(now - self._beat)
        self._beat = now

    def run(self, seconds: float, until: Callable[[], Any] | None = None) -> None:
        """Run the event loop for some time, or until something is true. An idle window takes no time from a fit."""
        loop = QEventLoop()
        end, look = QTimer(), QTimer()
        end.setSingleShot(True)
        end.timeout.connect(loop.quit)
        end.start(max(1, round(1000 * seconds)))
        if until is not None:
            look.timeout.connect(lambda: loop.quit() if until() else None)
            look.start(20)
        loop.exec()

    def stall(self, action: Callable[[], Any], seconds: float = 4.0) -> float:
        """Longest time, in milliseconds, that the window does not answer after ``action``."""
        self.run(0.3)
        self.gaps.clear()
        action()
        self.run(seconds)
        return 1000 * max(self.gaps)

    def scrub(self, steps: Any, pause_s: float = 0.0) -> list[float]:
        """Milliseconds each move of the slider takes, drawing included."""
        times = []
        for step in steps:
            started = time.perf_counter()
            self.viewer.dims.set_current_step(0, int(step))
            QApplication.processEvents()
            times.append(1000 * (time.perf_counter() - started))
            if pause_s:
                self.run(max(0.0, pause_s - times[-1] / 1000))
        return times


def generated(side: int, slices: int) -> np.ndarray[Any, Any]:
    """Smooth blobs that move from slice to slice."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    volume = np.zeros((slices, side, side), np.float32)
    for _ in range(60):
        centre, drift = random.random(2) * side, (random.random(2) - 0.5) * 8
        sigma, weight = 4 + 14 * random.random(), random.random()
        for k in range(slices):
            cy, cx = centre + drift * k
            volume[k] += weight * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2))
    volume += 0.05 * random.standard_normal(volume.shape).astype(np.float32)
    return (255 * np.clip(volume / volume.max(), 0, 1)).astype(np.uint8)


def view_stalls(window: Window) -> dict[str, float]:
    """How long the window stands still when z comes on screen, for the first time."""

    def order(axes: tuple[int, ...]) -> Callable[[], None]:
        def roll() -> None:
            window.viewer.dims.order = axes

        return roll

    def volume() -> None:
        window.viewer.dims.ndisplay = 3

    found = {"first xz view": window.stall(order((1, 0, 2))), "first yz view": window.stall(order((2, 0, 1)))}
    order((0, 1, 2))()
    found["first 3D view"] = window.stall(volume, 8.0)
    window.viewer.dims.ndisplay = 2
    return found


FIRST_PICTURE = ((256, 10.0), (1024, 20.0))
"""Width of 20 slices, and the seconds that their first picture may take on two quiet cores."""

FIRST_PICTURE_NOTES = (
    "From the click on Fit EMGauss to the first picture of the continuous layer on the canvas, halfway between two "
    "slices: linear interpolation, as the layer's name says, until the fit has more to show. Preset default, 20 slices."
)


def first_picture(window: Window, dock: Any, side: int) -> float:
    """Seconds from the click to the first picture of the layer."""
    viewer = window.viewer
    piece = generated(256, 20)
    values = np.tile(piece, (1, side // 256, side // 256))
    viewer.add_image(values, name="stack", scale=(50, 5, 5), units=("nm",) * 3, contrast_limits=(0, 255))
    window.run(120, lambda: dock.fit.method.plan is not None)
    viewer.dims.set_point(0, 9.5 * 50)
    window.run(0.5)
    seen: list[float] = []

    def look() -> bool:
        """Whether what is on screen is rendered: the canvas is drawn, and nothing better is on its way."""
        if len(viewer.layers) < 2:
            return False
        record = viewer.layers[-1].metadata["emgauss"]
        picture = viewer.screenshot(flash=False)
        drawn = record.painter.pictures > 0 and int(picture[..., :3].max()) > 0
        if drawn:
            seen.append(time.perf_counter() - began)
        return drawn

    began = time.perf_counter()
    dock.fit.panel.fit_button.click()
    window.run(300, look)
    session = dock.fit.session
    session.stop()
    window.run(300, lambda: not session.state.status.active)
    viewer.layers.clear()
    window.run(0.5)
    return seen[0] if seen else float("nan")


def measure_first_pictures(window: Window, dock: Any, output: Path | None) -> int:
    """Measure and write ``results/gui_first_picture.json``."""
    rows = []
    for side, target in FIRST_PICTURE:
        seconds = first_picture(window, dock, side)
        rows.append({"what": f"first picture of 20 × {side}² (s)", "value": seconds, "wanted": target})
    print_table(rows)
    write_result("gui_first_picture", rows, notes=FIRST_PICTURE_NOTES, path=output, load_average=os.getloadavg()[0])
    return 0


THREE_D_SIDE = 1024
THREE_D_NOTES = (
    "9 slices, preset fast, prior linear. Stall: longest time the event loop did not answer in the eight seconds after "
    "the switch to 3D, the first since the layer is there; 'array' is an ordinary image of the isotropic grid with no "
    "fit running, so what napari and OpenGL themselves take. Wanted: 300 ms during a fit."
)


def measure_three_d(window: Window, dock: Any, output: Path | None) -> int:
    """Switch to 3D while a fit runs, and with an ordinary image beside; write ``results/gui_three_d.json``."""
    viewer = window.viewer
    values = np.tile(generated(256, 9), (1, THREE_D_SIDE // 256, THREE_D_SIDE // 256))
    place = {"units": ("nm",) * 3, "contrast_limits": (0, 255)}

    def volume() -> None:
        viewer.dims.ndisplay = 3

    viewer.add_image(np.repeat(values, 10, axis=0)[:81], scale=(5, 5, 5), **place)
    window.run(1.0)
    array = window.stall(volume, 8.0)
    viewer.dims.ndisplay = 2
    viewer.layers.clear()
    source = viewer.add_image(values, name="stack", scale=(50, 5, 5), **place)
    window.run(120, lambda: dock.fit.method.plan is not None)
    start_long_fit(dock)
    session = dock.fit.session
    window.run(300, lambda: session.model is not None or not session.state.status.active)
    window.run(3.0)
    source.visible = False
    during = window.stall(volume, 8.0)
    viewer.dims.ndisplay = 2
    window.run(1.0)
    again = window.stall(volume, 8.0)
    viewer.dims.ndisplay = 2
    session.stop()
    window.run(120, lambda: not session.state.status.active)
    rows = [
        {"what": what, "value": value, "beside": array, "ratio": value / array, "of": "array"}
        for what, value in (
            (f"3D at {THREE_D_SIDE}² during a fit, stall (ms)", during),
            (f"3D at {THREE_D_SIDE}² during a fit, the second time, stall (ms)", again),
        )
    ]
    print_table(rows)
    write_result("gui_three_d", rows, notes=THREE_D_NOTES, path=output, load_average=os.getloadavg()[0])
    return 0


def start_long_fit(dock: Any) -> None:
    """Start a fit of the chosen stack that goes through its longest stage at once and does not end by itself."""
    fields = dock.fit.method.settings.fields
    dock.fit.method.preset.setCurrentText("fast")
    fields["prior"].setCurrentText("linear")
    fields["iterations_scale"].setValue(1000)
    for stage in ("warm_up", "joint"):
        fields[stage].setChecked(False)
    dock.fit.start_fit()


def cpu_seconds(processes: dict[str, psutil.Process]) -> dict[str, float]:
    """CPU time of each process so far."""
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}


def main() -> int:
    """Measure and write ``results/gui.json``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--slices", type=int, default=9)
    parser.add_argument("--moves", type=int, default=1000, help="random slider moves during the fit")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement of the fit's speed")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--first-picture", action="store_true", help="measure nothing but that")
    parser.add_argument("--three-d", action="store_true", help="measure nothing but that")
    options = parser.parse_args()

    window = Window()
    viewer, random = window.viewer, np.random.default_rng(0)
    if options.first_picture or options.three_d:
        _, dock = viewer.window.add_plugin_dock_widget("napari-emgauss", "Fit EMGauss")
        window.run(120, lambda: dock.fit.method.device_info is not None)
        measure = measure_first_pictures if options.first_picture else measure_three_d
        code = measure(window, dock, options.output)
        viewer.close()
        return code
    values = generated(options.side, options.slices)
    source = viewer.add_image(values, name="stack", scale=(50, 5, 5), units=("nm",) * 3, contrast_limits=(0, 255))
    _, dock = viewer.window.add_plugin_dock_widget("napari-emgauss", "Fit EMGauss")
    window.run(60, lambda: dock.fit.method.device_info is not None)
    count = (options.slices - 1) * 10 + 1
    rows: list[dict[str, Any]] = []

    plain = viewer.add_image(
        np.repeat(values, 10, axis=0)[:count], scale=(5, 5, 5), units=("nm",) * 3, contrast_limits=(0, 255)
    )
    source.visible = False
    window.run(1.0)
    array = window.scrub(random.integers(0, count, 60))
    array_stalls = view_stalls(window)
    viewer.layers.remove(plain)
    source.visible = True

    start_long_fit(dock)
    session = dock.fit.session
    window.run(300, lambda: session.model is not None or not session.state.status.active)
    if session.model is None:
        print(session.state.sentence())
        return 1
    window.run(3.0)
    source.visible = False
    # Small, so that it is full before memory is measured.
    viewer.layers[-1].metadata["emgauss"].cache.max_bytes = CACHE_BYTES

    def speed(work: Callable[[], Any]) -> float:
        first, started = session.state.iteration, time.perf_counter()
        work()
        return float(session.state.iteration - first) / (time.perf_counter() - started)

    processes = {"window": psutil.Process(), "renderer": psutil.Process(dock._service.pid)}
    window.gaps.clear()
    idle = cpu_seconds(processes)
    alone = speed(lambda: window.run(options.seconds))
    busy = cpu_seconds(processes)
    stall = 1000 * max(window.gaps)
    during: list[float] = []
    scrubbed = speed(
        lambda: during.extend(window.scrub(random.integers(0, count, int(10 * options.seconds)), pause_s=0.1))
    )
    after = cpu_seconds(processes)
    # What scrubbing itself takes, whatever else runs on the machine.
    step_ms = {
        name: 1000 * ((after[name] - busy[name]) - (busy[name] - idle[name])) / len(during) for name in processes
    }
    record = viewer.layers[-1].metadata["emgauss"]
    late, pictures = record.painter.late, record.painter.pictures
    again = speed(lambda: window.run(options.seconds))

    process = psutil.Process()
    window.scrub(random.integers(0, count, options.moves // 5))
    before = process.memory_info().rss
    window.scrub(random.integers(0, count, options.moves))
    growth = (process.memory_info().rss - before) / 2**20

    session.stop()
    window.run(120, lambda: not session.state.status.active)
    window.run(2.0)
    fresh = []
    for step in random.permutation(count):
        asked = record.painter.pictures
        (milliseconds,) = window.scrub([step])
        if record.painter.pictures > asked:
            fresh.append(milliseconds)
    cached = window.scrub(random.integers(0, count, 60))
    viewer.dims.set_current_step(0, 0)
    record.cache.clear()
    window.run(1.0)
    paced = window.scrub(range(1, count), pause_s=0.1)
    stalls = view_stalls(window)
    rate = (alone + again) / 2
    for what, value, beside, meaning in (
        ("scrub, new slice (ms)", np.median(fresh), np.median(array), "array"),
        ("scrub, new slice, 95 % (ms)", np.percentile(fresh, 95), np.percentile(array, 95), "array"),
        ("scrub, cached slice (ms)", np.median(cached), np.median(array), "array"),
        ("scrub, ten a second (ms)", np.median(paced), np.median(array), "array"),
        ("scrub during a fit (ms)", np.median(during), np.median(fresh), "scrub without a fit"),
        ("fit while scrubbing (it/s)", scrubbed, rate, "fit alone"),
    ):
        rows.append(
            {
                "what": what,
                "value": float(value),
                "beside": float(beside),
                "ratio": float(value / beside),
                "of": meaning,
            }
        )
    for view, value in stalls.items():
        rows.append(
            {
                "what": f"{view}, stall (ms)",
                "value": value,
                "beside": array_stalls[view],
                "ratio": value / array_stalls[view],
                "of": "array",
            }
        )
    for name, value in step_ms.items():
        rows.append({"what": f"CPU of the {name} for one step (ms)", "value": value})
    rows.append({"what": "pictures that came a moment later (%)", "value": 100 * late / max(1, pictures)})
    rows.append({"what": "longest stall during a fit (ms)", "value": stall})
    rows.append({"what": f"memory growth over {options.moves} moves (MiB)", "value": growth})
    print_table(rows)
    write_result(
        "gui", rows, notes=NOTES, path=options.output, side_pixels=options.side, gaussians=session.state.gaussians
    )
    viewer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
