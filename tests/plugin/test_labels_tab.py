"""The tab of labels in a real window: carry, scrub, paint, bring back, save, and what cannot be done."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from napari.layers import Image, Labels
from qtpy.QtWidgets import QApplication, QMessageBox
from waiting import waiting

from napari_emgauss.plugin._preferences import PLUGIN_NAME
from napari_emgauss.plugin.view._carried_layer import label_record_of

pytestmark = pytest.mark.viewer

LABELLED = (0, 2, 4)


wait = waiting(240)


@pytest.fixture
def scene(
    make_napari_viewer_proxy: Any, service: Any, values: np.ndarray, model_file: Path
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """A stack, labels on three of its slices, and the continuous layer; the dock with its tab in front."""
    viewer = make_napari_viewer_proxy(show=True)
    look = {"scale": (40, 4, 5), "units": ("nm",) * 3}
    viewer.add_image(values, name="a stack", **look)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN_NAME, "Fit EMGauss")
    (continuous,) = viewer.open(model_file, plugin=PLUGIN_NAME)
    drawn = np.zeros(values.shape, np.uint16)
    for k in LABELLED:
        drawn[k, 4:12, 4 + k : 14 + k] = 300
    labels = viewer.add_labels(drawn, name="cells", **look)
    dock.tabs.setCurrentWidget(dock.labels)
    dock.labels.labels.layer = labels
    dock.labels.method.setCurrentText("distances")
    yield viewer, dock.labels, labels, continuous
    dock.shut_down()


def carry(viewer: Any, tab: Any) -> Any:
    before = len(viewer.layers)
    tab.carry_button.click()
    wait(lambda: not tab.busy, "the labels")
    assert len(viewer.layers) == before + 1, tab.status.text()
    return viewer.layers[-1]


def shown(viewer: Any, layer: Any, index: int) -> np.ndarray:
    """What is on screen at a step of the slider, when nothing is being worked out any more."""
    record = label_record_of(layer)
    viewer.dims.set_point(0, float(layer.data_to_world((index, 0, 0))[0]))
    QApplication.processEvents()
    time.sleep(0.05)
    wait(lambda: not record.busy, "the labels of a depth")
    for _ in range(20):  # the refresh is on its way
        QApplication.processEvents()
        time.sleep(0.005)
    picture: np.ndarray = getattr(layer, "__wrapped__", layer)._slice.image.raw
    return picture


def test_carry_scrub_paint_and_bring_back(scene: Any, model_file: Path, tmp_path: Path) -> None:
    from napari_emgauss.labels import CarriedLabels, label_slices
    from napari_emgauss.tiles import load

    viewer, tab, labels, continuous = scene
    carried = carry(viewer, tab)
    assert carried.name == "cells carried" and carried.data[0].shape == continuous.data[0].shape
    for name in ("scale", "translate", "units"):
        np.testing.assert_array_equal(getattr(carried, name), getattr(continuous, name))
    assert (carried.get_color(300) == labels.get_color(300)).all()

    model = load(model_file, device="cpu")
    truth = CarriedLabels(label_slices(labels.data, model), model, method="distances")
    depths = carried.data[0].z_nm
    for index in (0, 3, 7, 13, len(depths) - 1):
        np.testing.assert_array_equal(shown(viewer, carried, index), truth.render(float(depths[index])))
    assert "3 labelled slices carried by distances" in tab.status.text()

    # what is painted is followed, with the public painting and with an array that is written into
    viewer.dims.set_point(0, 80.0)
    labels.selected_label, labels.brush_size = 9, 3
    labels.paint((2, 20, 20), 9)
    labels.data[4, 1, 1] = 11
    labels.refresh()
    (follower,) = tab.followers
    wait(lambda: label_record_of(carried).model.version > 1 and follower.quiet, "the edit")
    newer = CarriedLabels(label_slices(labels.data, model), model, method="distances")
    at_slice_2 = int(np.argmin(np.abs(depths - 80)))
    np.testing.assert_array_equal(shown(viewer, carried, at_slice_2), labels.data[2])
    assert (labels.data[2] == 9).any()
    np.testing.assert_array_equal(shown(viewer, carried, at_slice_2 - 2), newer.render(float(depths[at_slice_2 - 2])))

    tab.volume.layer = carried
    tab.back_button.click()
    wait(lambda: not tab.busy, "what is brought back")
    back = viewer.layers["cells carried on slices"]
    assert isinstance(back, Labels) and tuple(back.scale) == tuple(labels.scale)
    for k in LABELLED:
        np.testing.assert_array_equal(back.data[k], labels.data[k])

    tab.save.path.setText(str(tmp_path / "labels.ome.tif"))
    tab.save.save_button.click()
    wait(lambda: not tab.save.running, "the file")
    assert tab.save.status.text() == "Written: labels.ome.tif"
    written = tifffile.imread(tmp_path / "labels.ome.tif")
    assert written.dtype == np.uint16
    np.testing.assert_array_equal(written[0], labels.data[0])
    np.testing.assert_array_equal(written[-1], labels.data[4])


def test_a_probability_is_mixed_at_the_slices(scene: Any) -> None:
    viewer, tab, _, continuous = scene
    count, height, width = continuous.data[0].shape
    ramp = np.repeat(np.linspace(0, 1, count, dtype=np.float32), height * width).reshape(count, height, width)
    tab.volume.layer = viewer.add_image(ramp, name="probability", scale=continuous.scale, units=continuous.units)
    tab.back_button.click()
    wait(lambda: not tab.busy, "what is brought back")
    back = viewer.layers["probability on slices"]
    assert isinstance(back, Image) and back.data.shape == (5, 24, 32)
    np.testing.assert_allclose(back.data[:, 0, 0], [0, 0.25, 0.5, 0.75, 1], atol=1e-6)


def test_what_cannot_be_carried_is_told_and_the_next_try_works(
    scene: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    viewer, tab, labels, _ = scene
    monkeypatch.setattr("napari.utils.notifications.show_error", lambda sentence: None)
    other = viewer.add_labels(np.ones((5, 20, 32), np.uint8), name="of another stack")
    tab.labels.layer = other
    tab.carry_button.click()
    assert "“of another stack” has the shape 5 × 20 × 32" in tab.status.text()
    assert tab.carry_button.isEnabled()

    good = labels.data.copy()
    labels.data = np.where(np.arange(5)[:, None, None] == 2, good, 0)
    tab.labels.layer = labels
    tab.carry_button.click()
    wait(lambda: not tab.busy, "the refusal")
    assert "has one labelled slice" in tab.status.text() and "label at least two" in tab.status.text()

    labels.data = good
    carried = carry(viewer, tab)
    assert (shown(viewer, carried, 0) == good[0]).all()

    # an edit that leaves too little keeps what there was; the edit after it is followed
    labels.data = np.zeros_like(good)
    wait(lambda: "from before" in tab.status.text(), "the refusal of the edit")
    assert (shown(viewer, carried, 0) == good[0]).all()
    labels.data = np.where(good, 5, 0).astype(good.dtype)
    wait(lambda: label_record_of(carried).model.version > 1, "the edit")
    assert set(np.unique(shown(viewer, carried, 0))) == {0, 5}

    tab.volume.layer = other
    tab.back_button.click()
    assert "choose a volume on that grid" in tab.back_status.text()
    tab.save.path.setText(str(tmp_path / "missing" / "labels.ome.tif"))
    tab.save.start()
    assert "does not exist" in tab.save.status.text() and not tab.save.running

    viewer.layers.remove(carried)
    assert tab.followers == [] and tab.save.chooser.layer is None


def test_a_save_goes_beside_the_image_and_asks_before_it_replaces(
    scene: Any, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_emgauss.tiles import load
    from napari_emgauss.volume import export

    viewer, tab, labels, _ = scene
    carry(viewer, tab)
    path = tmp_path / "iso.ome.zarr"
    export(load(model_file, device="cpu"), path, spacing_nm=10, z_range_nm=(40, 160))
    assert tab.save.spacing.isEnabled()
    tab.save.path.setText(str(path))
    assert not tab.save.spacing.isEnabled()  # the image says it
    tab.save.save_button.click()
    wait(lambda: not tab.save.running, "the labels")
    assert tab.save.status.text() == "Written: cells in iso.ome.zarr"
    values = zarr.open_group(str(path), mode="r")["labels/cells/0"][:]
    assert values.shape == (13, 24, 32)
    np.testing.assert_array_equal(values[[4, 12]], labels.data[[2, 4]])  # 80 and 160 nm

    asked: list[str] = []

    def answer(*arguments: Any) -> Any:
        asked.append(arguments[2])
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", answer)
    tab.save.save_button.click()
    assert len(asked) == 1 and "“cells” in iso.ome.zarr" in asked[0] and not tab.save.running


def busy_save(tab: Any, path: Path) -> None:
    """Begin to write thousands of slices."""
    tab.save.path.setText(str(path))
    tab.save.spacing.setMinimum(0.001)
    tab.save.spacing.setValue(0.01)
    tab.save.save_button.click()
    wait(lambda: " of 16001 slices" in tab.save.status.text(), "the save")


def test_a_cancelled_save_leaves_nothing(scene: Any, tmp_path: Path) -> None:
    viewer, tab, _, _ = scene
    carry(viewer, tab)
    folder = tmp_path / "here"
    folder.mkdir()
    busy_save(tab, folder / "labels.ome.tif")
    tab.save.panel.cancel_button.click()
    wait(lambda: not tab.save.running, "the end")
    assert tab.save.status.text() == "Cancelled; nothing was written."
    assert not list(folder.iterdir()) and tab.save.save_button.isEnabled()


def test_closing_while_labels_are_saved_leaves_nothing(scene: Any, tmp_path: Path) -> None:
    viewer, tab, _, _ = scene
    carry(viewer, tab)
    folder = tmp_path / "here"
    folder.mkdir()
    busy_save(tab, folder / "labels.ome.tif")
    job = tab.save.panel._job._job
    tab.disconnect_viewer()
    wait(lambda: not job.alive, "the end of the process")
    wait(lambda: not list(folder.iterdir()), "the unfinished file to be taken away")
    tab.followers, tab.save.panel._job = [], None


def test_a_volume_of_a_part_of_the_depth_is_brought_back_as_far_as_it_reaches(scene: Any) -> None:
    viewer, tab, labels, _ = scene
    carried = carry(viewer, tab)
    data, scale = carried.data[0], np.array(carried.scale)
    at = round(80 / scale[0])
    part = viewer.add_labels(
        np.asarray(data[at:]), name="part", scale=scale, translate=np.array([at * scale[0], 0, 0]) + carried.translate,
        units=carried.units,
    )  # fmt: skip
    tab.volume.layer = part
    tab.back_button.click()
    wait(lambda: not tab.busy, "what is brought back")
    assert tab.back_status.text().endswith("The volume does not reach slices 0-1: they stay unlabelled.")
    back = viewer.layers["part on slices"]
    assert not back.data[:2].any()
    np.testing.assert_array_equal(back.data[[2, 4]], labels.data[[2, 4]])


def test_the_sides_and_the_whole_are_seen_too(scene: Any) -> None:
    """Along y, and in 3D: napari looks at many depths at once, which come one after the other."""
    viewer, tab, _, _ = scene
    carried = carry(viewer, tab)
    record = label_record_of(carried)
    exact = np.asarray(np.stack([np.asarray(one) for one in carried.data[0]]))
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_point(1, float(carried.data_to_world((0, 8, 0))[1]))
    QApplication.processEvents()
    wait(lambda: not record.busy, "the side")
    for _ in range(20):
        QApplication.processEvents()
        time.sleep(0.005)
    real = getattr(carried, "__wrapped__", carried)
    np.testing.assert_array_equal(real._slice.image.raw, exact[:, 8])
    viewer.dims.order, viewer.dims.ndisplay = (0, 1, 2), 3
    QApplication.processEvents()
    wait(lambda: not record.busy, "the whole")
    for _ in range(20):
        QApplication.processEvents()
        time.sleep(0.005)
    np.testing.assert_array_equal(real._slice.image.raw, np.asarray(carried.data[-1]))
    viewer.dims.ndisplay = 2
