"""napari's asynchronous slicing, which renders in threads of its own."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.settings import get_settings
from qtpy.QtWidgets import QApplication

pytestmark = pytest.mark.viewer


def test_scrubbing_with_asynchronous_slicing(
    make_napari_viewer_proxy: Any, model_file: Path, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_settings().experimental, "async_", True)
    viewer = make_napari_viewer_proxy(show=True)
    (layer,) = viewer.open(model_file, plugin="napari-emgauss")
    for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        viewer.dims.order = order
        for step in np.linspace(0, layer.data[0].shape[order[0]] - 1, 6).astype(int):
            viewer.dims.set_current_step(order[0], int(step))
            QApplication.processEvents()
    end = time.monotonic() + 60
    while not layer.loaded and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)
    assert layer.loaded
    # The last step is on the canvas: not empty, and not one grey.
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., 0]
    assert len(np.unique(picture)) > 5
