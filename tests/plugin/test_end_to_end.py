"""What a user does, in a real window: sample, fit, scrub, compare, score, export, open again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.settings import get_plugin_settings
from qtpy.QtWidgets import QApplication
from waiting import waiting

from napari_emgauss.plugin._preferences import PLUGIN_NAME
from napari_emgauss.plugin.process._fit_state import FitStatus
from napari_emgauss.plugin.view._continuous_layer import record_of
from napari_emgauss.stack import read_stack

pytestmark = [pytest.mark.viewer, pytest.mark.slow]


wait = waiting(240)


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample, a tenth of its size."""
    import napari_emgauss.stack as stack
    from napari_emgauss.stack.phantom._phantom import PhantomConfig

    made = stack.sample_stack(PhantomConfig(shape=(49, 36, 44), factor=8))
    monkeypatch.setattr(stack, "sample_stack", lambda: made, raising=False)


@pytest.fixture
def dock(make_napari_viewer_proxy: Any, service: Any, small_sample: None) -> tuple[Any, Any]:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.open_sample(PLUGIN_NAME, "phantom_stack")
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN_NAME, "Fit EMGauss")
    yield viewer, widget
    widget.shut_down()


def choose_quick_settings(widget: Any) -> None:
    widget.fit.method.preset.setCurrentText("fast")
    fields = widget.fit.method.settings.fields
    fields["iterations_scale"].setValue(0.02)
    fields["prior"].setCurrentText("linear")


def test_a_session(dock: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer, widget = dock
    complaints: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_error", complaints.append)
    source = viewer.layers["phantom stack"]
    assert tuple(source.scale) == (40, 5, 5) and viewer.dims.axis_labels == ("z", "y", "x")
    assert widget.fit.stack.voxel_size_nm == (40, 5, 5)
    wait(lambda: widget.fit.method.device_info, "the device")
    assert widget.fit.method.device_note.text().startswith("cpu: ")
    wait(lambda: "GB memory" in widget.fit.method.cost.text(), "the estimate")

    # fit
    choose_quick_settings(widget)
    widget.fit.panel.fit_button.click()
    session = widget.fit.session
    assert session.state.status is FitStatus.PREPARING and not widget.fit.panel.fit_button.isEnabled()
    shown = viewer.layers["phantom stack EMGauss (linear so far)"]
    wait(lambda: not session.state.status.active, "the fit")
    assert session.state.status is FitStatus.FINISHED, session.state.error
    assert session.state.iteration == session.state.total_iterations > 0
    assert widget.fit.panel.plot.lines
    wait(lambda: not session.process.alive, "the end of the process", 20)

    # the continuous layer lies on its source
    layer = viewer.layers["phantom stack EMGauss"]
    assert layer == shown and record_of(layer).model is session.model
    np.testing.assert_allclose(layer.extent.world[:, 1:], source.extent.world[:, 1:])
    assert layer.data_to_world((48, 0, 0))[0] == source.data_to_world((6, 0, 0))[0] == 240
    assert layer.units == source.units and tuple(layer.contrast_limits) == tuple(source.contrast_limits)

    # to exact depths
    widget.tabs.setCurrentWidget(widget.depth)
    widget.depth.depth.setValue(101.25)
    assert widget.depth.where.text() == "Slice 2.53: inferred, 18.75 nm from slice 3."
    widget.depth.next_button.click()
    assert widget.depth.depth.value() == 120 and widget.depth.where.text() == "Fitted to slice 3."
    viewer.dims.order = (1, 0, 2)
    QApplication.processEvents()
    viewer.dims.order = (0, 1, 2)
    viewer.dims.ndisplay = 3
    QApplication.processEvents()
    viewer.dims.ndisplay = 2

    # compare
    widget.depth.linear_button.click()
    # Every step of the slider shows another image; on the linear layer, for a fit this short hardly moves anything.
    seen = set()
    for step in range(8):
        viewer.dims.set_current_step(0, step)
        QApplication.processEvents()
        seen.add(viewer.screenshot(canvas_only=True, flash=False).tobytes())
    assert len(seen) == 8
    widget.depth.difference_button.click()
    assert not complaints, complaints
    widget.depth.confidence_button.click()
    wait(lambda: complaints, "the refusal")  # linear interpolation has no opinion of itself
    assert "holds no confidence" in complaints.pop()
    names = ["phantom stack", "phantom stack EMGauss", "phantom stack linear", "phantom stack EMGauss − linear"]
    assert [one.name for one in viewer.layers] == names, widget.depth.linear_button.isEnabled()
    linear, difference = viewer.layers["phantom stack linear"], viewer.layers["phantom stack EMGauss − linear"]
    widget.depth.control.go_to(100.0)
    between = np.asarray(linear.data[0][20])  # half of the way from slice 2 to slice 3
    np.testing.assert_allclose(between, source.data[2:4].mean(axis=0), atol=0.51)
    np.testing.assert_array_equal(
        np.asarray(difference.data[0][20]), np.asarray(layer.data[0][20], np.float32) - between
    )

    # how far that may be off, as a layer and under the pointer
    widget.depth.chooser.layer = layer
    widget.depth.error_button.click()
    wait(lambda: "phantom stack EMGauss error bars" in viewer.layers, "the error bars")
    sigma = np.asarray(viewer.layers["phantom stack EMGauss error bars"].data[0][20])
    assert sigma.dtype == np.float32 and 1 < sigma.mean() < 60
    viewer.layers.selection.active = layer
    viewer.mouse_over_canvas = True
    viewer.cursor.position = layer.data_to_world((20, 10, 12))

    def told() -> str:
        viewer.update_status_from_cursor()
        return str(viewer.status["coordinates"]) if isinstance(viewer.status, dict) else ""

    wait(lambda: "±" in told(), "the error under the pointer", 20)
    value = np.asarray(layer.data[0][20])[10, 12]
    assert told().endswith(f"{value} ± {sigma[10, 12]:.2g}") or told().endswith(f"{value} ± {sigma[10, 12]:.0f}")
    viewer.layers.remove("phantom stack EMGauss error bars")

    # preferences count at once
    settings = get_plugin_settings(PLUGIN_NAME)
    settings.view.cache_mib, settings.fit.preset = 64, "best"
    assert record_of(layer).cache.max_bytes == 64 << 20 and widget.fit.method.preset.currentText() == "best"
    settings.view.cache_mib, settings.fit.preset = 512, "default"
    choose_quick_settings(widget)

    # score
    widget.quality.start()
    wait(lambda: not widget.quality.running, "the score")
    assert widget.quality.status.text() == ""
    assert "PSNR, SSIM and FSIM together" in widget.quality.verdict.text()
    assert "harder task" in widget.quality.caution.text()
    assert [widget.quality.table.item(row, 0).text() for row in range(5)][-1] == "EMGauss"
    assert "EMGauss" in widget.quality.resolution.text() and "linear" in widget.quality.resolution.text()
    widget.quality.report.save(str(tmp_path / "report"))
    wait(lambda: not widget.quality.running, "the report")
    assert widget.quality.report.status.text() == "Written: report.html"
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert widget.quality.table.item(0, 1).text() in page and "The worst of the hidden slices" in page

    # export and open again
    widget.export.path.setText(str(tmp_path / "iso"))
    widget.export.add_layer.setChecked(True)
    assert "49 × 36 × 44 voxels of 5 × 5 × 5 nm, uint8: 0.1 MB" in widget.export.size.text()
    before = len(viewer.layers)
    widget.export.start()
    wait(lambda: not widget.export.running and len(viewer.layers) > before, "the export")
    written = viewer.layers[-1]
    assert written.data.shape == (49, 36, 44) and tuple(written.scale) == (5, 5, 5)
    np.testing.assert_array_equal(written.data[20], np.asarray(layer.data[0][20]))
    assert read_stack(tmp_path / "iso.ome.tif", allow_isotropic=True).pixel_size_nm == (5, 5)
    assert [p.name for p in tmp_path.glob("iso*")] == ["iso.ome.tif"]

    # the model file: saved, opened again by napari
    widget.depth.save_model(str(tmp_path / "kept"))
    kept = tmp_path / "kept.emgauss.safetensors"
    wait(kept.exists, "the model file", 20)
    (again,) = viewer.open(kept, plugin=None)  # as drag and drop do
    assert record_of(again).model.shape == (7, 36, 44)
    np.testing.assert_array_equal(np.asarray(again.data[0][20]), np.asarray(layer.data[0][20]))

    # napari's own Save goes through our writer
    assert layer.save(str(tmp_path / "saved.ome.tif")) == [str(tmp_path / "saved.ome.tif")]
    with tifffile.TiffFile(tmp_path / "saved.ome.tif") as file:
        assert file.series[0].shape == (49, 36, 44)


def test_stop_keeps_what_is_there_and_a_second_fit_has_to_wait(dock: tuple[Any, Any]) -> None:
    viewer, widget = dock
    choose_quick_settings(widget)
    widget.fit.method.settings.fields["iterations_scale"].setValue(50)
    widget.fit.start_fit()
    session = widget.fit.session
    widget.fit.start_fit()
    assert "is being fitted: stop it, or wait" in widget.fit.panel.status.text()
    assert widget.fit.session is session
    wait(lambda: session.model is not None, "the first preview")
    layer = viewer.layers["phantom stack EMGauss"]
    version = session.model.version
    wait(lambda: session.model.version > version, "a better preview")
    widget.fit.panel.pause_button.click()
    assert session.state.status is FitStatus.PAUSED and widget.fit.panel.pause_button.text() == "Resume"
    widget.fit.panel.pause_button.click()
    # Preview and source are removed meanwhile: the result comes back all the same.
    viewer.layers.remove(layer)
    viewer.layers.remove("phantom stack")
    widget.fit.panel.stop_button.click()
    wait(lambda: not session.state.status.active, "the stop")
    assert session.state.status is FitStatus.STOPPED and "kept" in widget.fit.panel.status.text()
    assert [one.name for one in viewer.layers] == ["phantom stack EMGauss"]
    wait(lambda: not session.process.alive, "the end of the process", 20)


def test_closing_the_window_ends_the_fit(dock: tuple[Any, Any]) -> None:
    viewer, widget = dock
    choose_quick_settings(widget)
    widget.fit.method.settings.fields["iterations_scale"].setValue(50)
    widget.fit.start_fit()
    session = widget.fit.session
    wait(lambda: session.process.alive, "the process", 60)
    viewer.window.close()
    wait(lambda: not session.process.alive, "the end of the process", 20)
