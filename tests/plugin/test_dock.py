"""The widgets without a window: what they ask, show and refuse."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import stand_in_children
import tifffile
from napari.components import ViewerModel
from qtpy.QtWidgets import QMessageBox
from waiting import waiting

from napari_emgauss.plugin._reader import get_reader
from napari_emgauss.plugin.process._fit_process import FitProcess
from napari_emgauss.plugin.process._fit_state import FitStatus
from napari_emgauss.plugin.tabs import _fit_tab
from napari_emgauss.plugin.tabs._dock import EmgaussDock
from napari_emgauss.plugin.tabs._quality_tab import score_rows
from napari_emgauss.plugin.view._region import RegionKind

wait = waiting(240)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Let fits run another target."""

    def use(target: Any) -> None:
        monkeypatch.setattr(
            _fit_tab,
            "FitProcess",
            lambda request, data, damage: FitProcess(request, data, damage=damage, target=target),
        )

    return use


def _add(viewer: ViewerModel, values: Any, **keywords: Any) -> Any:
    known = {"scale": (40, 4, 5), "units": ("nm",) * 3, "contrast_limits": (0, 255), "name": "mine", **keywords}
    return viewer.add_image(values, **known)


def _told(dock: EmgaussDock) -> str:
    return dock.fit.panel.status.text()


def test_an_empty_viewer_says_what_to_do(dock: EmgaussDock) -> None:
    assert _told(dock).startswith("There is no image layer to fit: open a stack first")
    dock.fit.start_fit()
    assert dock.fit.session is None and _told(dock).startswith("There is no image layer")


def test_sizes_show_and_typed_ones_reach_the_layer(dock: EmgaussDock, viewer: ViewerModel, values: np.ndarray) -> None:
    layer = _add(viewer, values)
    assert dock.fit.stack.voxel_size_nm == (40, 4, 5)
    assert dock.fit.region.size.text() == "5\u2009×\u200924\u2009×\u200932" and dock.fit.region.slices == (0, 4)
    assert dock.fit.request().voxel_size_nm == (40, 4, 5)
    dock.fit.stack.z.setValue(50)
    assert tuple(layer.scale) == (50, 4, 5)
    layer.scale = (60, 6, 7)
    assert dock.fit.stack.voxel_size_nm == (60, 6, 7)


def test_the_voxel_size_in_the_file_ends_up_on_the_layer(
    dock: EmgaussDock, viewer: ViewerModel, values: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "ij.tif"
    tifffile.imwrite(
        path,
        values,
        imagej=True,
        resolution=(1 / 0.005, 1 / 0.004),
        metadata={"spacing": 0.04, "unit": "um", "axes": "ZYX"},
    )
    (layer,) = viewer.open(path, plugin="napari")
    wait(lambda: tuple(layer.scale) != (1, 1, 1), "the voxel size")
    assert tuple(layer.scale) == pytest.approx((40, 4, 5)) and str(layer.units[0]) == "nanometer"
    assert "ImageJ" in dock.fit.stack.note.text() or "not square" in dock.fit.stack.note.text()
    # The dock's own button does the same without napari's reader.
    dock.fit.stack.open_file(str(path))
    wait(lambda: len(viewer.layers) == 2, "the second layer")
    assert tuple(viewer.layers[1].scale) == pytest.approx((40, 4, 5))
    np.testing.assert_array_equal(viewer.layers[1].data, values)


def test_a_file_that_cannot_be_opened_is_told(dock: EmgaussDock, tmp_path: Path) -> None:
    path = tmp_path / "broken.tif"
    path.write_bytes(b"II*\0 this is no TIFF")
    dock.fit.stack.open_file(str(path))
    wait(lambda: dock.fit.stack.open_button.isEnabled(), "the refusal")
    assert "broken.tif" in dock.fit.stack.note.text()


BAD = [
    (lambda v: v.add_image(np.zeros((24, 32), np.uint8), name="mine"), "is a single image"),
    (lambda v: v.add_image(np.zeros((5, 24, 32, 3), np.uint8), name="mine", rgb=True), "is an RGB image"),
    (lambda v: v.add_labels(np.zeros((5, 24, 32), int), name="mine"), "There is no image layer to fit"),
    (lambda v: _add(v, np.zeros((2, 24, 32), np.uint8)), "has 2 slices: a fit needs at least 3"),
    (lambda v: _add(v, np.zeros((5, 24, 32), np.uint8), scale=(1, 1, 1), units=("pixel",) * 3), "size is unknown"),
    (lambda v: _add(v, np.zeros((5, 24, 32), np.uint8), scale=(4, 4, 4)), "isotropic already"),
]


@pytest.mark.parametrize(("add", "sentence"), BAD)
def test_what_cannot_be_fitted_is_refused_in_one_sentence(
    dock: EmgaussDock, viewer: ViewerModel, add: Any, sentence: str
) -> None:
    add(viewer)
    dock.fit.start_fit()
    assert dock.fit.session is None
    assert sentence in _told(dock) and _told(dock).count("\n") == 0


def test_nan_is_told(dock: EmgaussDock, viewer: ViewerModel, values: np.ndarray) -> None:
    broken = values.astype(np.float32)
    broken[2, 3, 4] = np.nan
    _add(viewer, broken)
    dock.fit.start_fit()
    wait(lambda: not dock.fit.session.state.status.active, "the refusal")
    assert dock.fit.session.state.status is FitStatus.FAILED
    assert "Slice 2 of “mine” holds NaN" in _told(dock)


def test_a_lazy_layer_larger_than_memory_is_fitted_in_part(
    dock: EmgaussDock, viewer: ViewerModel, stand_in: Any
) -> None:
    stand_in(stand_in_children.steps)
    # 4 TB, of which one chunk at a time may be computed.
    ramp = (dask.array.arange(100_000, chunks=100_000) % 250).astype(np.uint8)
    huge = dask.array.zeros((400, 100_000, 100_000), chunks=(1, 5000, 100_000), dtype=np.uint8) + ramp
    layer = viewer.add_image(
        [huge, dask.array.zeros((400, 100, 100), chunks=(1, 100, 100), dtype=np.uint8)],
        multiscale=True,
        scale=(40, 4, 5),
        units=("nm",) * 3,
        contrast_limits=(0, 255),
    )
    viewer.add_shapes([np.array([[4, 10], [4, 1000], [800, 1000], [800, 10]])], shape_type="rectangle")
    dock.fit.stack.chooser.layer = layer
    dock.fit.region.kind.setCurrentIndex(dock.fit.region.kind.findData(RegionKind.SHAPE))
    dock.fit.region.first.setValue(2)
    dock.fit.region.last.setValue(6)
    dock.fit.start_fit()
    session = dock.fit.session
    wait(lambda: session.state.status is FitStatus.RUNNING, "the fit")
    assert session.process.request.shape == (5, 200, 199)
    session.abandon()
    wait(lambda: not session.process.alive, "the end of the process", 30)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(
    ("child", "sentence"),
    [
        (stand_in_children.is_killed, "was ended from outside (exit code -9)"),
        (stand_in_children.fails_as_expected, "lower the learning rates"),
        (stand_in_children.fails_by_surprise, "the log has the details"),
        (stand_in_children.runs_out_of_memory, "not enough memory: choose a smaller region"),
    ],
)
def test_a_fit_that_fails_says_one_sentence_and_logs_the_rest(
    dock: EmgaussDock, viewer: ViewerModel, values: np.ndarray, stand_in: Any, child: Any, sentence: str
) -> None:
    stand_in(child)
    _add(viewer, values)
    dock.fit.start_fit()
    session = dock.fit.session
    wait(lambda: not session.state.status.active, "the failure")
    assert session.state.status is FitStatus.FAILED and sentence in _told(dock)
    assert dock.fit.panel.fit_button.isEnabled() and dock.fit.panel.pause_button.isHidden()
    wait(lambda: not session.process.alive, "the end of the process", 30)
    log = dock.show_log()
    assert sentence in log.text.toPlainText()
    log.close()


def test_advanced_settings_have_tooltips_and_only_changes_count(dock: EmgaussDock) -> None:
    form = dock.fit.method.settings
    assert len(form.fields) > 30
    for name, widget in form.fields.items():
        # Every one is explained by more than its own name.
        assert len(widget.toolTip()) > len(name) + 15, name
    assert form.overrides() == {}
    form.fields["seed"].setValue(7)
    form.fields["position_lr_start"].setValue(3.2e-4)
    assert form.overrides() == {"seed": 7, "position_lr_start": 3.2e-4}
    assert dock.fit.method.advanced.text() == "Advanced settings (2 changed)"
    assert dock.fit.method.config().seed == 7
    form._reset.click()
    assert form.overrides() == {}


@pytest.mark.parametrize("name", ["fast", "default", "best", "paper"])
def test_presets_survive_the_form(dock: EmgaussDock, name: str) -> None:
    dock.fit.method.preset.setCurrentText(name)
    assert dock.fit.method.settings.overrides() == {}


def test_settings_that_contradict_are_told_before_the_fit(
    dock: EmgaussDock, viewer: ViewerModel, values: np.ndarray
) -> None:
    _add(viewer, values)
    for stage in ("warm_up", "joint", "teacher_student"):
        dock.fit.method.settings.fields[stage].setChecked(False)
    dock.fit.start_fit()
    assert dock.fit.session is None and "At least one of" in _told(dock)


def test_the_plan_is_told_and_a_fit_too_large_in_one_piece_is_refused(
    dock: EmgaussDock, viewer: ViewerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_emgauss.plugin.process._reckoning.available_bytes", lambda: 2 * 10**9)
    large = dask.array.zeros((60, 3000, 3000), chunks=(1, 3000, 3000), dtype=np.uint8)
    viewer.add_image([large, large[:, ::8, ::8]], multiscale=True, scale=(40, 4, 4), contrast_limits=(0, 255))
    method = dock.fit.method
    wait(lambda: method.plan is not None, "the plan")
    assert method.plan.tiles is not None and method.cost.text().startswith(f"In {method.plan.tile_count} tiles (")
    assert dock.fit.request().tiles == method.plan.tiles
    method.tiles.setCurrentText("never")
    wait(lambda: method.plan is not None, "the other plan")
    assert "2.0 GB are free: fit it in tiles" in method.cost.text()
    dock.fit.start_fit()
    assert dock.fit.session is None and "fit it in tiles" in _told(dock)


def test_an_impossible_device_says_why(dock: EmgaussDock) -> None:
    wait(lambda: dock.fit.method.device_info, "the device")
    dock.fit.method.device.setCurrentText("cuda:99")
    wait(lambda: dock.fit.method.device_info is None, "the refusal")
    assert dock.fit.method.device_note.text().endswith(".")


def test_region_view_and_rectangle_change_the_request(
    dock: EmgaussDock, viewer: ViewerModel, values: np.ndarray
) -> None:
    _add(viewer, values)
    region = dock.fit.region
    region.kind.setCurrentIndex(region.kind.findData(RegionKind.SHAPE))
    assert "draw one in a Shapes layer" in region.note.text()
    viewer.add_shapes([np.array([[4, 10], [4, 150], [88, 150], [88, 10]])], shape_type="rectangle")
    assert dock.fit.request().region == (1, 23, 2, 31)


def test_choosers_follow_the_viewer(dock: EmgaussDock, viewer: ViewerModel, values: np.ndarray) -> None:
    first = _add(viewer, values, name="first")
    _add(viewer, values, name="second")
    chooser = dock.fit.stack.chooser
    assert [chooser.itemText(k) for k in range(chooser.count())] == ["second", "first"]
    chooser.layer = first
    first.name = "renamed"
    assert chooser.currentText() == "renamed"
    viewer.layers.remove("second")
    assert chooser.layer is first
    viewer.layers.clear()
    assert chooser.layer is None and dock.fit.stack.voxel_size_nm == (0, 0, 0)


@pytest.fixture
def with_model(dock: EmgaussDock, viewer: ViewerModel, model_file: Path) -> EmgaussDock:
    data, keywords, _ = get_reader(str(model_file))(str(model_file))[0]
    viewer.add_image(data, **keywords)
    return dock


def test_export_states_its_size_and_refuses_what_cannot_be(with_model: EmgaussDock) -> None:
    tab = with_model.export
    wait(lambda: "Estimate" in tab.size.text(), "the device")
    assert tab.size.text().startswith("37 × 24 × 32 voxels of 4.444 × 4 × 5 nm, uint8: 0.0 MB. ")  # 160 / 36 ≈ 4.5
    tab.dtype.setCurrentText("float32")
    assert "float32" in tab.size.text()
    tab.first.setValue(40)
    tab.last.setValue(120)
    tab.spacing.setValue(2)
    assert tab.size.text().startswith("41 × 24 × 32 voxels of 2 ×")
    tab.start()
    assert tab.status.text() == "Choose where to write the volume first."
    tab.first.setValue(120)
    assert "does not lie within" in tab.size.text() or "z range" in tab.size.text()


def test_export_in_another_type_and_range(with_model: EmgaussDock, tmp_path: Path) -> None:
    tab = with_model.export
    tab.dtype.setCurrentText("uint16")
    tab.first.setValue(40)
    tab.last.setValue(120)
    tab.spacing.setValue(4)
    tab.path.setText(str(tmp_path / "part.ome.tif"))
    tab.start()
    wait(lambda: not tab.running, "the export")
    assert tab.status.text() == "Written: part.ome.tif"
    written = tifffile.imread(tmp_path / "part.ome.tif")
    assert written.shape == (21, 24, 32) and written.dtype == np.uint16
    assert written.max() <= 255  # the same grey values in a wider type
    tab.start()
    wait(lambda: not tab.running, "the refusal")
    assert "already exists" in tab.status.text()


def test_cancelled_export_leaves_nothing(with_model: EmgaussDock, tmp_path: Path) -> None:
    tab = with_model.export
    tab.spacing.setValue(0.02)
    tab.path.setText(str(tmp_path / "long.ome.tif"))
    tab.start()
    wait(lambda: "slices" in tab.status.text(), "the first slices")
    tab.cancel()
    wait(lambda: not tab.running, "the end")
    assert tab.status.text() == "Cancelled; nothing was written."
    assert list(tmp_path.iterdir()) == []


def test_replacing_asks_for_every_file_that_is_written(
    with_model: EmgaussDock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = with_model.export
    tab.path.setText(str(tmp_path / "volume.ome.tif"))
    beside = tmp_path / "volume.error.ome.tif"
    beside.write_bytes(b"mine")
    asked = []

    def answer(_parent: Any, _title: str, question: str) -> Any:
        asked.append(question)
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", answer)
    tab.beside["error"].setChecked(True)
    tab.start(ask=True)
    (tmp_path / "volume.ome.tif").write_bytes(b"mine, too")
    tab.start(ask=True)
    assert asked == [
        "volume.error.ome.tif already exists. Replace it?",
        "volume.ome.tif and volume.error.ome.tif already exist. Replace them?",
    ]
    assert not tab.running and beside.read_bytes() == b"mine"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_left_clean(with_model: EmgaussDock, tiny_disk: Path) -> None:
    tab = with_model.export
    tab.spacing.setValue(0.5)
    tab.path.setText(str(tiny_disk / "large.ome.tif"))
    tab.start()
    wait(lambda: not tab.running, "the refusal")
    assert "free in" in tab.status.text() or "space" in tab.status.text()
    assert list(tiny_disk.iterdir()) == []


def test_the_linear_layer_needs_the_right_stack(
    with_model: EmgaussDock, viewer: ViewerModel, values: np.ndarray
) -> None:
    _add(viewer, np.zeros((5, 24, 40), np.uint8), name="other")
    with_model.depth.source.layer = viewer.layers["other"]
    with_model.depth.linear_button.click()
    assert [one.name for one in viewer.layers] == ["small", "other"]
    right = _add(viewer, values, name="a stack")
    with_model.depth.source.layer = right
    with_model.depth.linear_button.click()
    linear = viewer.layers["small linear"]
    np.testing.assert_array_equal(np.asarray(linear.data[0][9]), values[1])


def test_the_z_bar_knows_where_a_click_is(with_model: EmgaussDock) -> None:
    with_model.tabs.setCurrentWidget(with_model.depth)
    bar = with_model.depth.bar
    bar.resize(216, 38)
    assert bar.depth_of(bar.x_of(40.0)) == pytest.approx(40)
    assert bar.depth_of(-50) == 0 and bar.depth_of(9999) == 160
    bar.depth_chosen.emit(61.5)
    wait(lambda: with_model.depth.depth.value() == 61.5, "the depth", 5)
    bar.grab()  # draws without an error


def test_score_table() -> None:
    slices = [{"psnr": 20.0}, {"psnr": 22.0}]
    result = {
        "best": "emgauss",
        "methods": {
            "linear": {"psnr": 21.0, "ssim": 0.5, "fsim": None, "slices": slices},
            "emgauss": {"psnr": 22.25, "ssim": 0.625, "fsim": 0.9, "slices": slices},
        },
    }
    assert score_rows(result) == [
        ["linear", "21.00", "0.500", "–", ""],
        ["EMGauss", "22.25", "0.625", "0.900", "+1.25 dB"],
    ]


def test_a_score_needs_five_slices(dock: EmgaussDock, viewer: ViewerModel, values: np.ndarray) -> None:
    _add(viewer, values[:4])
    dock.quality.start()
    assert "a score needs at least 5" in dock.quality.status.text() and not dock.quality.running
