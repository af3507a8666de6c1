"""Looks of a layer and of an export, and *Repair only*: what they show, write and refuse."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from test_dock import wait

from napari_emgauss.plugin.process._export_child import ExportRequest, Written
from napari_emgauss.plugin.process._export_job import export_job
from napari_emgauss.plugin.process._job import JobDone
from napari_emgauss.plugin.process._remote_model import RemoteModel
from napari_emgauss.plugin.tabs._dock import EmgaussDock
from napari_emgauss.plugin.tabs._repair import add_repaired, filled_mask, suggested_target
from napari_emgauss.plugin.view._continuous_layer import LayerRecord, layer_data_tuple, record_of
from napari_emgauss.plugin.view._geometry import placement_in_nm
from napari_emgauss.plugin.view._layer_look import look_sources
from napari_emgauss.render import load
from napari_emgauss.volume import LOOK_ROWS, TexturedModel


@pytest.fixture
def stack_layer(viewer: ViewerModel, values: np.ndarray) -> Any:
    return viewer.add_image(values, name="a stack", scale=(40, 4, 5), units=("nm",) * 3)


@pytest.fixture
def model(service: Any, model_file: Path, tmp_path: Path) -> RemoteModel:
    """A model whose fit has ended."""
    fitted = load(model_file, device="cpu")
    fitted.provenance = {**fitted.provenance, "fit_s": 1.0}
    fitted.save(tmp_path / "m.emgauss.safetensors")
    return RemoteModel.open(service, tmp_path / "m.emgauss.safetensors")


def show(viewer: ViewerModel, model: RemoteModel) -> Any:
    record = LayerRecord("continuous", model, placement_in_nm(model.z_nm, model.pixel_size_nm))
    data, keywords, _ = layer_data_tuple(record, "a stack EMGauss")
    return viewer.add_image(data, **keywords)


def choose_look(dock: EmgaussDock, look: str) -> None:
    dock.depth.look.setCurrentIndex(dock.depth.look.findData(look))
    wait(dock.depth.look.isEnabled, f"the look {look}")


def test_every_look_is_offered_and_explained(dock: EmgaussDock) -> None:
    for box in (dock.depth.look, dock.export.look):
        assert [box.itemData(k) for k in range(box.count())] == [row.name for row in LOOK_ROWS]
        assert box.currentData() == "smooth" and all(row.summary in box.toolTip() for row in LOOK_ROWS)


def test_a_layer_shows_the_slices_of_the_stack(
    dock: EmgaussDock, viewer: ViewerModel, stack_layer: Any, values: np.ndarray, model: RemoteModel
) -> None:
    layer = show(viewer, model)
    dock.depth.show_layer(layer)
    record = record_of(layer)
    assert record is not None and record.look == "smooth"
    smooth = np.asarray(record.shifted.render([20.0, 40.0]))
    dock.depth.control.go_to(40.0)
    assert dock.depth.control.where() == "Fitted to slice 1."
    choose_look(dock, "exact")
    np.testing.assert_array_equal(np.asarray(record.shifted.render(40.0)), values[1])
    np.testing.assert_array_equal(np.asarray(record.shifted.render(20.0)), smooth[0])
    assert dock.depth.control.where() == "Your slice 1."
    choose_look(dock, "textured")
    np.testing.assert_array_equal(np.asarray(record.shifted.render(40.0)), values[1])
    assert isinstance(record.shifted.model.model, TexturedModel)
    dock.depth.control.mid_gap()
    assert dock.depth.control.where().endswith("20 nm from slice 1; noise added.")
    choose_look(dock, "smooth")
    np.testing.assert_array_equal(np.asarray(record.shifted.render([20.0, 40.0])), smooth)


def test_a_look_that_cannot_be_had_is_told_and_not_shown(
    dock: EmgaussDock, viewer: ViewerModel, model: RemoteModel, model_file: Path, service: Any
) -> None:
    layer = show(viewer, model)
    dock.depth.show_layer(layer)
    choose_look(dock, "exact")
    assert "open that stack as a layer" in dock.depth.where.text() and dock.depth.look.currentData() == "smooth"
    viewer.add_image(np.zeros((5, 24, 32), np.uint16), name="a stack")
    choose_look(dock, "exact")
    assert "grey values of type uint16" in dock.depth.where.text() and dock.depth.look.currentData() == "smooth"
    running = show(viewer, RemoteModel.open(service, model_file))
    dock.depth.show_layer(running)
    choose_look(dock, "textured")
    assert "when the fit has finished" in dock.depth.where.text()


def test_an_export_takes_the_slices_of_the_layer(
    dock: EmgaussDock, viewer: ViewerModel, stack_layer: Any, values: np.ndarray, model: RemoteModel, tmp_path: Path
) -> None:
    layer = show(viewer, model)
    dock.export.show_layer(layer)
    dock.export.path.setText(str(tmp_path / "volume.ome.tif"))
    dock.export.look.setCurrentIndex(dock.export.look.findData("exact"))
    dock.export.dtype.setCurrentText("uint16")
    assert "in their own type, uint8" in dock.export.size.text()
    dock.export.start()
    assert not dock.export.running and "in their own type" in dock.export.status.text()
    dock.export.dtype.setCurrentIndex(0)
    request: ExportRequest = dataclasses.replace(dock.export.request(), spacing_nm=8.0, device="cpu")
    job = export_job(model, request, look_sources(viewer, layer))
    last = [message for message in job.messages() if message is not None][-1]
    assert last == JobDone(
        Written(request.target, "5 of 5 observed slices are in the volume as they are in the source.")
    )
    np.testing.assert_array_equal(tifffile.imread(request.target)[::5], values)


def test_repair_refuses_what_cannot_be_filled(dock: EmgaussDock, stack_layer: Any) -> None:
    repair = dock.fit.repair
    repair.start("anywhere.ome.tif")
    assert repair.status.text().startswith("There is nothing to fill: untick the bad slices")
    dock.fit.slices.leave_out([0])
    repair.start("anywhere.ome.tif")
    assert repair.status.text().startswith("Slice 0 cannot be filled") and not repair.running


def test_repair_fills_and_keeps_the_rest(
    dock: EmgaussDock, viewer: ViewerModel, stack_layer: Any, values: np.ndarray, tmp_path: Path
) -> None:
    stack_layer.translate = (7, 8, 9)
    hole = np.zeros(values.shape, np.uint8)
    hole[3, 2:9, 4:20] = 1
    painted = viewer.add_labels(
        hole, name="fold", scale=stack_layer.scale, translate=stack_layer.translate, units=stack_layer.units
    )
    dock.fit.stack.chooser.layer = stack_layer
    dock.fit.slices.leave_out([1])
    dock.fit.slices.masks.layer = painted
    asked = dock.fit.request
    dock.fit.request = lambda: dataclasses.replace(  # type: ignore[method-assign]
        asked(), preset="fast", device="cpu", overrides={"prior": "linear", "iterations_scale": 0.002}
    )
    target = tmp_path / "again.ome.tif"
    dock.fit.repair.start(str(target))
    assert dock.fit.repair.running
    wait(lambda: not dock.fit.repair.running, "the repair")
    assert "Slices filled completely: 1; in part: 1; unchanged: 3" in dock.fit.repair.status.text()
    wait(lambda: "a stack filled" in viewer.layers, "the layers")
    written, good = tifffile.imread(target), hole == 0
    good[1] = False
    np.testing.assert_array_equal(written[good], values[good])
    assert (written[~good] != values[~good]).mean() > 0.5
    image, filled = viewer.layers["a stack repaired"], viewer.layers["a stack filled"]
    np.testing.assert_array_equal(image.data, written)
    np.testing.assert_array_equal(filled.data != 0, ~good)
    for layer in (image, filled):
        np.testing.assert_array_equal(layer.extent.world, stack_layer.extent.world)
        assert layer.units == stack_layer.units


def test_what_was_filled_lies_under_the_last_axes_of_a_stack_with_channels(viewer: ViewerModel) -> None:
    source = viewer.add_image(np.zeros((2, 5, 24, 32)), name="two", scale=(1, 40, 4, 5), translate=(0, 1, 2, 3))
    image, filled = add_repaired(viewer, source, source.data, np.ones((5, 24, 32), np.uint8))
    np.testing.assert_array_equal(image.extent.world, source.extent.world)
    np.testing.assert_array_equal(filled.extent.world, source.extent.world[:, 1:])


def test_the_mask_and_the_name(request_for: Any, stack_layer: Any) -> None:
    damage = np.zeros((5, 24, 32), np.int32)
    damage[2, 3, 4] = 7
    mask = filled_mask(request_for(skip=(1,)), damage)
    assert mask.sum() == 24 * 32 + 1 and mask[1].all() and mask[2, 3, 4] == 1
    assert suggested_target(stack_layer) == Path.home() / "a stack_repaired.ome.tif"
