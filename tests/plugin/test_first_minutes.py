"""A microscopist's first minutes with the dock, in a real window."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_in_children
import torch
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QComboBox, QLabel, QTableWidget
from waiting import waiting

from napari_emgauss import ProgressUpdate
from napari_emgauss.plugin._preferences import PLUGIN_NAME
from napari_emgauss.plugin.process._fit_process import FitProcess
from napari_emgauss.plugin.process._fit_state import FitStatus
from napari_emgauss.plugin.process._prior_store import keep_prior, stack_fingerprint
from napari_emgauss.plugin.tabs import _fit_tab
from napari_emgauss.plugin.view._continuous_layer import record_of
from napari_emgauss.plugin.view._software_gl import draws_in_software, is_software
from napari_emgauss.plugin.widgets._theme import theme_colours
from napari_emgauss.priors import PriorState

pytestmark = [pytest.mark.viewer, pytest.mark.filterwarnings("default")]
PLACED = {"scale": (40, 4, 5), "units": ("nm",) * 3}


wait = waiting(60)


@pytest.fixture
def window(make_napari_viewer_proxy: Any, service: Any) -> Iterator[tuple[Any, Any]]:
    viewer = make_napari_viewer_proxy(show=True)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN_NAME, "Fit EMGauss")
    yield viewer, widget
    widget.shut_down()


def test_what_to_do_with_a_result(
    window: Any, values: np.ndarray, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, widget = window
    source = viewer.add_image(values, name="a stack", **PLACED)
    monkeypatch.setattr(
        _fit_tab,
        "FitProcess",
        lambda request, data, damage: FitProcess(
            request, data, damage=damage, target=stand_in_children.finishes_with(model_file)
        ),
    )
    steps = widget.fit.panel.next_steps
    assert steps.isHidden()
    widget.fit.start_fit()
    wait(lambda: not widget.fit.session.state.status.active, "the fit", 240)
    assert widget.fit.session.state.status is FitStatus.FINISHED, widget.fit.session.state.error
    assert steps.isVisibleTo(widget)
    layer = viewer.layers["a stack EMGauss"]

    steps.compare_button.click()
    assert [one.name for one in viewer.layers] == ["a stack", "a stack linear", "a stack EMGauss"]
    grid = viewer.canvas.grid
    assert grid.enabled and [grid.position(k, list(viewer.layers)) for k in range(3)] == [(0, 0), (0, 1), (0, 2)]
    assert all(one.visible for one in viewer.layers)
    inner = widget.fit.widget()
    assert inner.minimumSizeHint().width() <= widget.fit.viewport().width()  # nothing is cut off
    QApplication.processEvents()
    assert steps.compare_button.text() == "Back to one view"
    steps.compare_button.click()
    assert not grid.enabled and steps.compare_button.text() == "Compare side by side"
    steps.compare_button.click()  # the linear layer is there already
    assert len(viewer.layers) == 3
    steps.compare_button.click()

    steps.scrub_button.click()
    assert widget.tabs.currentWidget() is widget.depth and widget.depth.chooser.layer.name == layer.name
    assert "inferred" in widget.depth.where.text()

    stack_file = tmp_path / "brain.tif"
    stack_file.touch()
    record_of(layer).model.provenance["source"] = str(stack_file)
    steps.export_button.click()
    assert widget.tabs.currentWidget() is widget.export
    assert widget.export.path.text() == str(tmp_path / "brain_isotropic.ome.tif")
    (tmp_path / "brain_isotropic.ome.tif").touch()  # somebody else's
    steps.export_button.click()
    assert widget.export.path.text() == str(tmp_path / "brain_isotropic_2.ome.tif")
    widget.export.path.setText("mine.ome.tif")
    steps.export_button.click()
    assert widget.export.path.text() == "mine.ome.tif"

    viewer.layers.remove(source)
    steps.compare_button.click()
    assert not grid.enabled and not steps.compare_button.isChecked()
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_a_patch_is_tried_and_compared(window: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer, widget = window
    values = np.random.default_rng(0).integers(0, 255, (24, 200, 300)).astype(np.uint8)
    source = viewer.add_image(values, name="a stack", scale=(40, 4, 4), units=("nm",) * 3)
    asked = []

    def process(request: Any, data: Any, damage: Any) -> FitProcess:
        asked.append(request)
        return FitProcess(request, data, damage=damage, target=stand_in_children.finishes_unfitted)

    monkeypatch.setattr(_fit_tab, "FitProcess", process)
    panel, method = widget.fit.panel, widget.fit.method
    wait(lambda: method.plan is not None and panel.patch_button.isEnabled(), "the plan")
    assert " A patch: " in method.cost.text()
    viewer.scene.camera.center = (0, 80 * 4.0, 190 * 4.0)
    viewer.scene.camera.zoom *= 2
    viewer.dims.set_point(0, 20 * 40)
    panel.patch_button.click()
    (request,) = asked
    assert request.region == (16, 144, 126, 254) and request.slices == (4, 23) and request.preset == "fast"
    assert not panel.patch_button.isVisibleTo(widget)
    wait(lambda: not widget.fit.session.state.status.active, "the fit", 240)
    assert widget.fit.session.state.status is FitStatus.FINISHED, widget.fit.session.state.error
    assert panel.status.text().endswith("The prior learned yesterday is used.")

    names = [one.name for one in viewer.layers]
    assert names == ["a stack", "a stack patch linear", "a stack patch EMGauss"]
    assert viewer.canvas.grid.enabled and all(one.visible for one in viewer.layers)
    centre, zoom = np.array(viewer.scene.camera.center[-2:]), viewer.scene.camera.zoom
    np.testing.assert_allclose(centre, (79.5 * 4, 189.5 * 4))
    seen = np.array(viewer.canvas.viewbox_size(viewer.layers)) / zoom
    assert 128 * 4 <= seen.min() <= 1.2 * 128 * 4  # the patch fills each view
    assert "inferred, 20 nm from slice" in widget.depth.control.where()  # where the three differ the most

    wait(panel.patch_button.isEnabled, "the plan")
    widget.fit.start_fit()  # the whole: beside the patch it would be a fourth view
    assert not viewer.canvas.grid.enabled and not panel.next_steps.compare_button.isChecked()
    wait(lambda: not widget.fit.session.state.status.active, "the fit", 240)
    assert "a stack EMGauss" in viewer.layers and "a stack patch EMGauss" in viewer.layers
    assert asked[1].region == (0, 200, 0, 300)

    widget.fit.region.kind.setCurrentIndex(2)  # a rectangle that is not drawn yet
    assert not panel.patch_button.isEnabled()
    viewer.layers.remove(source)


def test_the_current_view_is_that_of_the_camera(window: Any) -> None:
    viewer, widget = window
    layer = viewer.add_image(np.zeros((5, 300, 400), np.uint8), name="a stack", **PLACED)
    form = widget.fit.region
    form.kind.setCurrentIndex(form.kind.findText("current view"))
    wait(lambda: form.size.text(), "a size")
    camera = viewer.scene.camera
    for zoom, centre in ((2.0, (600.0, 1000.0)), (5.0, (400.0, 700.0)), (9.0, (800.0, 1200.0))):
        camera.zoom, camera.center = zoom, (0.0, *centre)
        told = form.size.text()  # at once: nothing was drawn yet
        QApplication.processEvents()
        (top, left), (bottom, right) = np.asarray(layer.corner_pixels)[:, -2:]
        y0, y1, x0, x1 = form.region()
        assert told.split("\u2009×\u2009") == ["5", str(y1 - y0), str(x1 - x0)]
        np.testing.assert_allclose((y0, y1 - 1, x0, x1 - 1), (top, bottom, left, right), atol=1.5)  # as napari has it


def test_views_from_the_side_say_what_sticks_out(window: Any, values: np.ndarray, model_file: Path) -> None:
    viewer, widget = window
    source = viewer.add_image(values, name="a stack", **PLACED)
    (layer,) = viewer.open(model_file, plugin=PLUGIN_NAME)
    widget.tabs.setCurrentWidget(widget.depth)
    widget.depth.chooser.layer = layer
    assert "lice" in widget.depth.where.text()
    viewer.dims.order = (1, 0, 2)
    wait(lambda: widget.depth.where.text().startswith("All depths are on screen."), "the note")
    # From the middle of the first slice to that of the last, both of them; a voxel reaches half of itself further.
    np.testing.assert_allclose(layer.extent.world[:, 0], source.extent.world[:, 0])
    viewer.dims.order = (0, 1, 2)
    wait(lambda: "itted" in widget.depth.where.text() or "inferred" in widget.depth.where.text(), "the depth")


def test_asking_who_draws_lets_nothing_else_happen(window: Any) -> None:
    """All that waits would be drawn in the middle of a switch to 3D, which then stood still for a second."""
    happened: list[str] = []
    QApplication.processEvents()
    QTimer.singleShot(0, lambda: happened.append("drawn"))
    draws_in_software.cache_clear()
    draws_in_software()
    assert happened == []
    QApplication.processEvents()
    assert happened == ["drawn"]


def test_volumes_are_drawn_cheaply_where_the_processor_draws(window: Any, model_file: Path) -> None:
    for name in (
        "llvmpipe (LLVM 15.0.6, 256 bits)",
        "GDI Generic",
        "SwiftShader Device",
        "Microsoft Basic Render Driver",
    ):
        assert is_software(name)
    assert not is_software("NVIDIA H100/PCIe/SSE2") and not is_software("Mesa Intel(R) UHD Graphics (CML GT2)")
    viewer, _ = window
    (layer,) = viewer.open(model_file, plugin=PLUGIN_NAME)
    assert layer.interpolation3d == "linear"
    viewer.dims.ndisplay = 3
    assert layer.interpolation3d == ("nearest" if draws_in_software() else "linear")
    layer.interpolation3d = "linear"  # the user's choice
    viewer.dims.ndisplay = 2
    viewer.dims.ndisplay = 3
    assert layer.interpolation3d == "linear"


def test_scores_and_exports_say_how_long_they_take(window: Any, values: np.ndarray, model_file: Path) -> None:
    viewer, widget = window
    viewer.add_image(values, name="a stack", **PLACED)
    wait(lambda: widget.fit.method.plan is not None, "the plan")
    assert widget.quality.estimate.text().startswith("Estimate: ")
    viewer.open(model_file, plugin=PLUGIN_NAME)
    wait(lambda: "Estimate: " in widget.export.size.text(), "the device")
    assert "seconds" not in widget.quality.score_button.toolTip() + widget.fit.panel.patch_button.toolTip()

    panel = widget.quality.panel
    panel._began, panel._expected_s = time.monotonic() - 60, 600.0
    panel._show_progress(ProgressUpdate(0.0, "emgauss: the prior: step 3"))
    assert panel.status.text() == "emgauss: the prior: step 3, about 9 min left"
    panel._show_progress(ProgressUpdate(0.5, "emgauss: joint"))
    assert panel.status.text() == "emgauss: joint, about 60 s left"
    panel._expected_s = None
    panel._show_progress(ProgressUpdate(None))
    assert panel.status.text() == "Running"


def test_a_kept_prior_is_told_and_may_be_refused(window: Any, values: np.ndarray, request_for: Any) -> None:
    viewer, widget = window
    method = widget.fit.method
    state = PriorState()
    state.put("learned", {}, {"weight": torch.zeros(3)})
    keep_prior(stack_fingerprint(values), request_for(), method.config(), state)
    viewer.add_image(values, name="a stack", **PLACED)
    wait(lambda: method.plan is not None, "the plan")
    assert method.reuse.isVisibleTo(widget) and method.reuse.isChecked()
    assert method.kept_note.text().startswith("The prior learned from 5 × 24 × 32 voxels of this stack on ")
    quick = method.plan.work.prior_s
    assert widget.fit.request().reuse_prior
    method.reuse.setChecked(False)
    wait(lambda: method.plan is not None, "the other plan")
    assert method.plan.work.prior_s > 100 * quick and method.kept_note.isHidden() and method.reuse.isVisibleTo(widget)
    assert not widget.fit.request().reuse_prior
    viewer.add_image(255 - values, name="another", **PLACED)
    wait(lambda: method.plan is not None, "the plan of another")
    assert method.reuse.isHidden()


def _hold_back(monkeypatch: pytest.MonkeyPatch, signal_file: Path, model_file: Path) -> None:
    target = stand_in_children.finishes_when(signal_file, model_file)
    monkeypatch.setattr(
        _fit_tab, "FitProcess", lambda request, data, damage: FitProcess(request, data, damage=damage, target=target)
    )


def test_linear_is_shown_until_the_fit_shows_more(
    window: Any, values: np.ndarray, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, widget = window
    viewer.add_image(values, name="a stack", **PLACED)
    _hold_back(monkeypatch, tmp_path / "go", model_file)
    viewer.dims.set_point(0, 80)
    widget.fit.start_fit()
    layer = viewer.layers["a stack EMGauss (linear so far)"]  # at once, before the child says anything
    assert viewer.dims.point[0] == pytest.approx(80)
    steps, _, _ = layer.data[0].shape
    assert steps == 37  # nine steps of 4.4 nm a gap of 40 nm
    halfway = np.asarray(layer.data[0][4])
    np.testing.assert_allclose(halfway, values[0] + 4 / 9 * 20.0, atol=0.51)
    assert widget.depth.chooser.layer is None  # nothing of EMGauss to save or export yet
    layer.contrast_limits = (10, 90)
    grid, place = layer.data[0].shape, tuple(layer.scale)

    (tmp_path / "go").touch()
    wait(lambda: not widget.fit.session.state.status.active, "the fit", 240)
    assert [one.name for one in viewer.layers] == ["a stack", "a stack EMGauss"]
    assert viewer.layers[1] == layer and record_of(layer).model is widget.fit.session.model
    assert (layer.data[0].shape, tuple(layer.scale), tuple(layer.contrast_limits)) == (grid, place, (10, 90))
    np.testing.assert_array_equal(np.asarray(layer.data[0][4]), record_of(layer).model.render(160 / 9))
    assert widget.depth.chooser.layer == layer and widget.export.chooser.layer == layer


def test_linear_goes_with_a_fit_that_ends_without_a_result(
    window: Any, values: np.ndarray, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, widget = window
    source = viewer.add_image(
        np.stack([values, values]),
        axis_labels=("c", "z", "y", "x"),
        name="stains",
        **{"scale": (1, 40, 4, 5), "units": ("pixel", "nm", "nm", "nm")},
    )
    _hold_back(monkeypatch, tmp_path / "go", model_file)
    widget.fit.start_fit()
    names = [f"stains EMGauss channel {k} (linear so far)" for k in range(2)]
    assert [one.name for one in viewer.layers] == ["stains", *names] and not source.visible
    np.testing.assert_array_equal(np.asarray(viewer.layers[2].data[0][9]), values[1])
    wait(lambda: widget.fit.session.state.status is FitStatus.RUNNING, "its start")
    widget.fit.session.stop()
    wait(lambda: not widget.fit.session.state.status.active, "the end")
    assert [one.name for one in viewer.layers] == ["stains"] and source.visible


def test_the_stack_follows_the_selection_and_its_slice_stays(window: Any, values: np.ndarray) -> None:
    viewer, widget = window
    first = viewer.add_image(values, name="first", **PLACED)
    second = viewer.add_image(values, name="second", **PLACED)
    chooser = widget.fit.stack.chooser
    assert chooser.layer.name == second.name  # newly opened
    viewer.layers.selection.active = first
    assert chooser.layer.name == "first"
    viewer.layers.selection.active = viewer.add_points(np.zeros((1, 3)))
    assert chooser.layer.name == "first"  # no stack: the choice stays

    viewer.layers.clear()
    unknown = viewer.add_image(values, name="unknown")
    assert chooser.layer.name == "unknown"
    widget.fit.start_fit()
    assert "voxel size is unknown" in widget.fit.panel.status.text()
    wait(lambda: _toasts() == 1, "the notification", 10)
    viewer.dims.set_point(0, 3)
    for box, size in ((widget.fit.stack.z, 40), (widget.fit.stack.y, 4), (widget.fit.stack.x, 5)):
        box.setValue(size)
    assert tuple(unknown.scale) == (40, 4, 5)
    assert unknown.world_to_data(viewer.dims.point)[0] == pytest.approx(3)
    wait(lambda: _toasts() == 0, "its end", 10)
    assert "unknown" not in widget.fit.panel.status.text() and "unknown" not in widget.fit.stack.note.text()


def _toasts() -> int:
    """Notifications on screen about the voxel size."""
    found = [one for one in QApplication.allWidgets() if type(one).__name__ == "NapariQtNotification"]
    labels = [label.text() for one in found if one.isVisible() for label in one.findChildren(QLabel)]
    return sum("voxel size is unknown" in text for text in labels)


def test_a_scale_without_a_unit_is_doubted_and_the_unit_can_be_chosen(window: Any, values: np.ndarray) -> None:
    viewer, widget = window
    form = widget.fit.stack
    viewer.add_image(values, scale=(0.04, 0.005, 0.005), name="mine")
    assert form.voxel_size_nm == pytest.approx((40, 5, 5)) and "taken as µm" in form.note.text()
    plain = viewer.add_image(values, name="plain")
    form.unit.setCurrentText("µm")
    for box, size in ((form.z, 0.04), (form.y, 0.004), (form.x, 0.005)):
        box.setValue(size)
    assert form.voxel_size_nm == pytest.approx((40, 4, 5)) and tuple(plain.scale) == pytest.approx((40, 4, 5))
    assert form.z.value() == pytest.approx(0.04)
    form.unit.setCurrentText("nm")  # the same numbers in the other unit
    assert tuple(plain.scale) == pytest.approx((0.04, 0.004, 0.005))


def test_four_axes_are_what_they_are_called(window: Any) -> None:
    viewer, widget = window
    form, status = widget.fit.stack, widget.fit.panel.status
    data = np.random.default_rng(0).integers(0, 255, (3, 7, 24, 32)).astype(np.uint8)
    placed = {"scale": (1, 40, 4, 5), "units": ("pixel", "nm", "nm", "nm")}
    viewer.add_image(data, axis_labels=("t", "z", "y", "x"), name="film", **placed)
    assert "“film” is a series of stacks in time: split it first" in status.text()
    assert not form.first_axis.isVisibleTo(widget)
    viewer.add_image(data, axis_labels=("c", "z", "y", "x"), name="stains", **placed)
    assert status.text() == "" and widget.fit.request().channels == 3
    nameless = viewer.add_image(data, name="nameless", **placed)
    assert "choose under First axis what the first one is" in status.text() and form.first_axis.isVisibleTo(widget)
    form.first_axis.setCurrentText("channels")
    assert status.text() == "" and widget.fit.request().channels == 3
    form.first_axis.setCurrentText("time points")
    assert "series of stacks in time" in status.text()
    assert nameless.ndim == 4


def test_z_as_the_last_axis_is_seen(window: Any) -> None:
    viewer, widget = window
    form = widget.fit.stack
    data = np.random.default_rng(0).integers(0, 255, (64, 48, 9)).astype(np.uint8)
    viewer.add_image(data, name="turned")
    assert form.note.text().startswith("⚠ 64 slices of 48 × 9 pixels? It looks as if z were the last axis")
    form.turn_button.click()
    turned = viewer.layers["turned (z first)"]
    assert form.layer.name == turned.name and turned.data.shape == (9, 64, 48) and not viewer.layers["turned"].visible
    np.testing.assert_array_equal(turned.data[4], data[:, :, 4])
    assert form.turn_button.isHidden() and "last axis" not in form.note.text()


def test_a_mask_elsewhere_is_refused_when_it_is_chosen(window: Any, values: np.ndarray) -> None:
    viewer, widget = window
    viewer.add_image(values, name="mine", **PLACED)
    form = widget.fit.slices
    viewer.add_labels(np.zeros((5, 24, 32), int), name="there", translate=(0, 400, 0), **PLACED)
    form.masks.layer = viewer.layers["there"]
    assert "“there” lies elsewhere than “mine”" in form.mask_note.text()
    flat = viewer.add_labels(np.zeros((24, 32), int), name="flat")
    form.masks.layer = flat
    assert "“flat” has the shape (24, 32)" in form.mask_note.text()
    here = viewer.add_labels(np.zeros((5, 24, 32), int), name="here", **PLACED)
    form.masks.layer = here
    assert form.mask_note.text() == "" and form.damage() is here.data


def test_every_note_follows_the_theme(window: Any, values: np.ndarray) -> None:
    viewer, widget = window
    viewer.theme = "dark"
    viewer.add_image(values, name="mine")
    note = widget.fit.stack.note
    assert theme_colours(viewer).warning in note.styleSheet()
    viewer.theme = "light"
    assert theme_colours(viewer).warning in note.styleSheet() and "9a5b00" in note.styleSheet()


def test_tab_goes_through_what_one_sees(window: Any, values: np.ndarray) -> None:
    viewer, widget = window
    viewer.add_image(values, name="mine", **PLACED)
    seen = _tab_order(widget)
    assert widget.fit.panel.fit_button in seen and widget.fit.stack.z in seen
    assert not any(isinstance(one, QTableWidget) for one in seen)  # folded away
    assert widget.fit.method.settings.fields["seed"] not in seen
    widget.fit.slices_fold.expand()
    QApplication.processEvents()
    seen = _tab_order(widget)
    assert widget.fit.slices.table in seen, [type(one).__name__ + one.toolTip()[:20] for one in seen]
    assert widget.fit.panel.fit_button in seen
    assert not widget.fit.slices.table.tabKeyNavigation()
    for field in (*widget.fit.findChildren(QComboBox), *widget.fit.findChildren(QAbstractSpinBox)):
        assert field.accessibleName(), field.toolTip()


def _tab_order(widget: Any) -> list[Any]:
    """What the Tab key reaches from the first field on."""
    window = widget.window()
    window.activateWindow()
    widget.fit.stack.chooser.setFocus(Qt.FocusReason.TabFocusReason)
    QApplication.processEvents()
    seen: list[Any] = []
    for _ in range(60):
        focused = QApplication.focusWidget()
        if focused is None or focused in seen or not widget.isAncestorOf(focused):
            break
        seen.append(focused)
        QTest.keyClick(focused, Qt.Key.Key_Tab)
    return seen


def test_what_a_score_advises_is_a_click_away(window: Any, values: np.ndarray) -> None:
    viewer, widget = window
    viewer.add_image(values, name="mine", **PLACED)
    tab, method = widget.quality, widget.fit.method
    widget.tabs.setCurrentWidget(tab)
    three = {"psnr": 24.0, "ssim": 0.5, "fsim": 0.8, "seconds": 1.0, "slices": [], "about": {}}
    told = {
        "best": "flow+blur",
        "verdict": "flow+blur is best",
        "caution": "harder",
        "hidden_z_nm": [],
        "methods": {"linear": three, "flow+blur": three, "emgauss": three},
    }
    tab.show_result({**told, "advice": {"prior": None, "preset": None}})
    assert tab.advice_button.isHidden()
    tab.show_result({**told, "advice": {"prior": "flow+blur", "preset": None}})
    assert tab.advice_button.isVisible() and tab.advice_button.text() == "Fit with the prior flow+blur…"
    tab.advice_button.click()
    assert widget.tabs.currentWidget() is widget.fit and method.config().prior == "flow+blur"
    assert method.settings.fields["prior"].isVisibleTo(widget)  # unfolded, so that one sees it
    assert widget.fit.request().overrides == {"prior": "flow+blur"}
    tab.show_result({**told, "advice": {"prior": None, "preset": "best"}})
    tab.advice_button.click()
    assert method.preset.currentText() == "best" and method.settings.overrides() == {}
