"""The table of slices, with a real layer list and no window."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_emgauss._errors import StackError
from napari_emgauss.plugin.tabs._slices_form import SlicesForm


@pytest.fixture
def form(qtbot: Any, viewer: ViewerModel) -> Iterator[SlicesForm]:
    found = SlicesForm(viewer)
    qtbot.addWidget(found)
    yield found
    found.disconnect_viewer()


@pytest.fixture
def layer(viewer: ViewerModel, form: SlicesForm) -> Any:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:48, :64]
    grey = np.stack([128 + 60 * np.sin((x + k) / 5) * np.cos(y / 6) + random.normal(0, 5, y.shape) for k in range(9)])
    grey[4] = 0
    found = viewer.add_image(grey.astype(np.uint8), scale=(40, 4, 5), name="mine")
    form.set_layer(found, (40.0, 4.0, 5.0))
    return found


def _cell(form: SlicesForm, row: int, column: int) -> str:
    return form.table.item(row, column).text()


def test_every_slice_has_a_row_and_is_fitted(form: SlicesForm, layer: Any) -> None:
    assert form.table.rowCount() == 9 and form.skip() == ()
    assert _cell(form, 3, 0) == "3" and _cell(form, 3, 1) == "120"
    form.set_layer(layer, (50.0, 4.0, 5.0))
    assert _cell(form, 3, 1) == "150"


def test_unticked_slices_are_left_out(form: SlicesForm, layer: Any, qtbot: Any) -> None:
    with qtbot.waitSignal(form.changed):
        form.table.item(2, 0).setCheckState(Qt.CheckState.Unchecked)
    assert form.skip() == (2,) and _cell(form, 2, 2) == "left out"


def test_the_check_suggests_and_leaves_out_on_demand(form: SlicesForm, layer: Any) -> None:
    form.check_button.click()
    end = time.monotonic() + 60
    while not form.check_button.isEnabled() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)
    assert form.note.text().startswith("1 bad, ") and form.skip() == ()
    assert _cell(form, 4, 2)
    form.skip_button.click()
    assert form.skip() == (4,) and _cell(form, 4, 2).startswith("left out: ")


def test_a_click_goes_there(form: SlicesForm, layer: Any, viewer: ViewerModel) -> None:
    form.table.cellClicked.emit(5, 2)
    assert viewer.dims.point[0] == 200


def test_a_mask_lies_on_the_stack_or_is_refused(form: SlicesForm, layer: Any, viewer: ViewerModel) -> None:
    assert form.damage() is None
    mask = viewer.add_labels(np.zeros((9, 48, 64), int), name="folds")
    other = viewer.add_labels(np.zeros((9, 48, 63), int), name="other")
    assert form.damage() is None  # choosing is the user's
    form.masks.layer = mask
    assert form.damage() is mask.data
    form.masks.layer = other
    with pytest.raises(StackError, match="“other” has the shape"):
        form.damage()
