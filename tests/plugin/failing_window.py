"""Fits that fail in a napari of its own; prints what the dock says. Run by test_failures."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def tell(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")


def main() -> None:
    import napari
    import numpy as np
    import stand_in_children
    from qtpy.QtWidgets import QApplication

    from napari_emgauss.plugin.process._fit_process import FitProcess
    from napari_emgauss.plugin.process._fit_state import FitStatus
    from napari_emgauss.plugin.tabs import _fit_tab, _quality_tab

    def wait(until: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 60
        while not until():
            QApplication.processEvents()
            time.sleep(0.005)
            if time.monotonic() > deadline:
                raise SystemExit("the dock hangs")

    def fit(target: Any) -> Any:
        _fit_tab.FitProcess = lambda request, data, damage: FitProcess(request, data, damage=damage, target=target)
        dock.fit.panel.fit_button.click()
        return dock.fit.session

    viewer = napari.Viewer()
    values = np.random.default_rng(0).integers(1, 255, (7, 24, 32)).astype(np.uint8)
    black = values.copy()
    black[2] = 0
    layer = viewer.add_image(black, scale=(40, 4, 5), units=("nm",) * 3, name="mine")
    _, dock = viewer.window.add_plugin_dock_widget("napari-emgauss", "Fit EMGauss")

    session = fit(stand_in_children.steps)
    wait(lambda: session.state.status is FitStatus.FAILED)
    tell("black:", dock.fit.panel.status.text())
    layer.data = values
    session = fit(stand_in_children.is_killed)
    wait(lambda: session.state.status is FitStatus.FAILED)
    tell("killed:", dock.fit.panel.status.text())
    _quality_tab.score_in_child = stand_in_children.fails_by_surprise
    dock.quality.start()
    wait(lambda: not dock.quality.running)
    tell("score:", dock.quality.status.text())
    session = fit(stand_in_children.steps)
    wait(lambda: session.state.status is FitStatus.RUNNING)
    tell("next:", session.state.status.value)
    session.stop()
    wait(lambda: not session.state.status.active and not session.process.alive)
    viewer.close()


if __name__ == "__main__":
    main()
