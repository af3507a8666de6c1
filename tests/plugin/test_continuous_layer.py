import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_emgauss.plugin.view._continuous_layer import (
    LayerRecord,
    depth_at,
    go_to_depth,
    layer_data_tuple,
    record_of,
    set_grid,
)
from napari_emgauss.plugin.view._depth_control import DepthControl
from napari_emgauss.plugin.view._geometry import placement_in_nm, placement_on


class Ramp:
    """A model whose grey value is its depth in nm, at every pixel."""

    def __init__(self, z_nm: np.ndarray | None = None) -> None:
        self.z_nm = np.arange(5) * 40.0 if z_nm is None else z_nm
        self.pixel_size_nm, self.shape, self.dtype = (4.0, 5.0), (5, 24, 32), np.dtype(np.float32)
        self.version, self.channels, self.depths = 1, 1, []
        self.provenance: dict[str, object] = {}

    def render(self, z_nm: object, *, region: object = None, shape: object = None) -> np.ndarray:
        depths = np.atleast_1d(np.asarray(z_nm, dtype=float))
        self.depths.extend(depths)
        height, width = shape or (24, 32)
        out = np.broadcast_to(depths[:, None, None], (len(depths), height, width)).astype(np.float32)
        return out[0] if np.ndim(z_nm) == 0 else out


def _add(viewer: ViewerModel, model: Ramp | None = None, **record: object) -> object:
    model = model or Ramp()
    made = LayerRecord("continuous", model, placement_in_nm(model.z_nm, model.pixel_size_nm), **record)
    data, keywords, kind = layer_data_tuple(made, "ramp", contrast_limits=(0, 160))
    assert kind == "image"
    return viewer.add_image(data, **keywords)


@pytest.fixture
def control(viewer: ViewerModel) -> Iterator[DepthControl]:
    found = DepthControl(viewer)
    yield found
    found.disconnect_viewer()


def test_isotropic_grid_by_default_with_every_slice_on_it(viewer: ViewerModel) -> None:
    layer = _add(viewer)
    # 40 nm a gap and pixels of 4.5 nm: 9 steps a gap
    assert layer.data[0].shape == (37, 24, 32)
    assert tuple(layer.scale) == pytest.approx((40 / 9, 4, 5))
    assert np.asarray(layer.data[0][18])[3, 4] == 80


def test_slider_and_depth_agree(viewer: ViewerModel) -> None:
    layer = _add(viewer)
    viewer.dims.set_current_step(0, 27)
    assert depth_at(layer, viewer) == pytest.approx(120)


@pytest.mark.parametrize("depth_nm", [0.0, 123.4, 0.01, 159.99, 160.0])
def test_any_depth_is_shown_exactly(viewer: ViewerModel, depth_nm: float) -> None:
    layer = _add(viewer)
    go_to_depth(layer, viewer, depth_nm)
    assert depth_at(layer, viewer) == pytest.approx(depth_nm)
    step = viewer.dims.current_step[0]
    assert np.asarray(layer.data[0][step])[0, 0] == pytest.approx(depth_nm)


def test_depths_outside_stop_at_the_ends(viewer: ViewerModel) -> None:
    layer = _add(viewer)
    go_to_depth(layer, viewer, 1e9)
    assert depth_at(layer, viewer) == 160
    go_to_depth(layer, viewer, -5)
    assert depth_at(layer, viewer) == 0


def test_moving_the_slider_returns_to_the_grid(viewer: ViewerModel, control: DepthControl) -> None:
    layer = _add(viewer)
    control.layer = layer
    control.go_to(123.4)
    assert record_of(layer).shift.nm != 0
    viewer.dims.set_current_step(0, 9)
    assert record_of(layer).shift.nm == 0 and control.depth_nm == pytest.approx(40)


def test_steps_down_to_fractions_of_a_nm(viewer: ViewerModel, control: DepthControl) -> None:
    layer = _add(viewer)
    before = np.array(layer.extent.world)
    control.layer = layer
    control.go_to(61.0)
    control.set_step(0.25)
    assert layer.data[0].shape[0] == 641
    np.testing.assert_allclose(layer.extent.world[:, 1:], before[:, 1:])
    assert layer.data_to_world((640, 0, 0))[0] == pytest.approx(160)
    assert control.depth_nm == pytest.approx(61.0)


def test_fine_steps_wait_while_z_is_on_screen(viewer: ViewerModel, control: DepthControl) -> None:
    layer = _add(viewer)
    control.layer = layer
    control.set_step(0.25)
    viewer.dims.order = (1, 0, 2)
    assert layer.data[0].shape[0] == 37
    viewer.dims.order = (0, 1, 2)
    assert layer.data[0].shape[0] == 641
    viewer.dims.ndisplay = 3
    assert layer.data[0].shape[0] == 37


def test_observed_slices_and_mid_gaps(viewer: ViewerModel, control: DepthControl) -> None:
    control.layer = _add(viewer, Ramp(np.array([0.0, 40.0, 70.0, 120.0, 160.0])))
    control.go_to(40)
    control.next_slice()
    assert control.depth_nm == pytest.approx(70)
    control.go_to(95.5)
    control.next_slice(-1)
    assert control.depth_nm == pytest.approx(70)
    control.mid_gap()
    assert control.depth_nm == pytest.approx(95)
    control.mid_gap()
    assert control.depth_nm == pytest.approx(140)
    control.mid_gap()
    assert control.depth_nm == pytest.approx(20)
    control.go_to(160)
    control.next_slice()
    assert control.depth_nm == 160


def test_where_says_observed_or_inferred(viewer: ViewerModel, control: DepthControl) -> None:
    control.layer = _add(viewer)
    control.go_to(80)
    assert control.where() == "Fitted to slice 2."
    control.go_to(94)
    assert control.where() == "Slice 2.35: inferred, 14 nm from slice 2."


def test_layers_that_are_compared_move_together(viewer: ViewerModel, control: DepthControl) -> None:
    first = _add(viewer)
    second = _add(viewer, shift=record_of(first).shift)
    control.layer = first
    control.set_step(1.0)
    assert second.data[0].shape[0] == 161
    control.go_to(33.3)
    assert depth_at(second, viewer) == pytest.approx(33.3)


def test_a_new_state_is_rendered_anew(viewer: ViewerModel) -> None:
    model = Ramp()
    layer = _add(viewer, model)
    np.asarray(layer.data[0][7])
    seen = len(model.depths)
    np.asarray(layer.data[0][7])
    assert len(model.depths) == seen
    model.version = 2
    np.asarray(layer.data[0][7])
    assert len(model.depths) == seen + 1


def test_duplicates_share_the_model_and_have_their_own_grid(viewer: ViewerModel) -> None:
    layer = _add(viewer)
    data, keywords, _ = layer.as_layer_data_tuple()
    keywords = copy.deepcopy(keywords)
    twin = viewer.add_image(copy.deepcopy(data), **{**keywords, "name": "twin"})
    assert record_of(twin).model is record_of(layer).model
    set_grid(twin, 1.0)
    assert twin.data[0].shape[0] == 161 and layer.data[0].shape[0] == 37


def test_a_rotated_source_keeps_depths_right(viewer: ViewerModel) -> None:
    model = Ramp()
    source = viewer.add_image(
        np.zeros((5, 24, 32), np.uint8), scale=(40, 4, 5), translate=(500, 6, 7), units=("nm",) * 3, name="source"
    )
    record = LayerRecord("continuous", model, placement_on(source, (0, 0, 0), model.z_nm))
    data, keywords, _ = layer_data_tuple(record, "ramp", contrast_limits=(0, 160))
    layer = viewer.add_image(data, **keywords)
    go_to_depth(layer, viewer, 100.0)
    assert depth_at(layer, viewer) == pytest.approx(100)
    assert viewer.dims.point[0] == pytest.approx(600, abs=40 / 9)


def test_confidence_lies_on_its_layer_and_a_model_without_is_refused(viewer: ViewerModel) -> None:
    from napari_emgauss._errors import StackError
    from napari_emgauss.model import Confidence
    from napari_emgauss.plugin.view._compare import add_confidence

    layer = _add(viewer)
    record = record_of(layer)
    values = np.full((4, 6, 8), 100, np.uint8)
    confidence = Confidence(values, [20.0, 60, 100, 140], record.model.z_nm, (4.0, 5.0), (24, 32))
    added = add_confidence(viewer, layer, confidence)
    assert record_of(added).kind == "confidence" and record_of(added).shift is record.shift
    assert added.data[0].shape == layer.data[0].shape and tuple(added.scale) == tuple(layer.scale)
    assert (np.asarray(added.data[0][9]) == 255).all()  # an observed slice
    assert 100 <= np.asarray(added.data[0][4]).max() < 255
    with pytest.raises(StackError, match="holds no confidence"):
        add_confidence(viewer, layer, None)


def _known_error(shape: tuple[int, int] = (24, 32)) -> Any:
    """Error bars of 9 grey values in the left half of every mid-gap, and of 18 in the right one."""
    from napari_emgauss.model import error_bars

    z = np.arange(5) * 40.0
    plane = np.where(np.arange(shape[1]) < shape[1] // 2, 9.0, 18.0) ** 2 * np.ones((shape[0], 1)) / 255**2
    middles = (z[:-1] + z[1:]) / 2
    usual, widths = {0.5: [float(plane.mean())]}, {0.5: (0.7,), 0.9: (1.6,), 0.95: (2.0,)}
    return error_bars([plane[None]] * 4, middles, usual, widths, z, (4.0, 5.0), shape).in_grey_values([255.0])


def test_error_bars_lie_on_their_layer_and_a_model_without_is_refused(viewer: ViewerModel) -> None:
    from napari_emgauss._errors import StackError
    from napari_emgauss.plugin.view._compare import add_error

    layer = _add(viewer)
    added = add_error(viewer, layer, _known_error())
    record = record_of(added)
    assert record.kind == "error" and record.shift is record_of(layer).shift
    assert added.data[0].shape == layer.data[0].shape and tuple(added.scale) == tuple(layer.scale)
    assert added.dtype == np.float32
    middle = np.asarray(added.data[0][np.argmin(np.abs(np.arange(37) * 160 / 36 - 20))])
    assert middle[:, 0] == pytest.approx(9, rel=0.05) and middle[:, -1] == pytest.approx(18, rel=0.05)
    with pytest.raises(StackError, match="holds no error bars"):
        add_error(viewer, layer, None)


def test_the_status_says_how_far_the_value_under_the_pointer_may_be_off(viewer: ViewerModel, qtbot: Any) -> None:
    from qtpy.QtCore import QObject

    from napari_emgauss.plugin.view._error_status import ErrorStatus

    model = Ramp()
    model.error = _known_error()
    layer = _add(viewer, model)
    viewer.layers.selection.active = layer
    owner = QObject()
    status = ErrorStatus(viewer, owner)
    go_to_depth(layer, viewer, 20.0)

    def told(y: float, x: float, value: str = "128") -> str:
        viewer.cursor.position = (viewer.dims.point[0], *layer.data_to_world((0, y, x))[-2:])
        viewer.status = {"layer_name": "ramp", "coords": " [1 2 3]", "value": value, "coordinates": " [1 2 3]: 128"}
        assert isinstance(viewer.status, dict)
        return str(viewer.status["coordinates"])

    told(5, 2)  # asks for the error bars
    qtbot.waitUntil(lambda: "±" in told(5, 2), timeout=5000)
    assert told(5, 2) == " [1 2 3]: 128 ± 9"
    assert told(5, 30) == " [1 2 3]: 128 ± 18"
    assert told(500, 30) == " [1 2 3]: 128"  # beside the layer
    assert told(5, 2, "") == " [1 2 3]: 128"  # nothing there
    other = viewer.add_image(np.zeros((5, 24, 32), np.uint8))
    viewer.layers.selection.active = other
    assert told(5, 2) == " [1 2 3]: 128"
    status.disconnect_viewer()
    viewer.layers.selection.active = layer
    assert told(5, 2) == " [1 2 3]: 128"


def test_sigma_is_told_in_two_digits() -> None:
    from napari_emgauss.plugin.view._error_status import as_text

    assert [as_text(one) for one in (0.1234, 9.04, 9.26, 12.6, 1234.4)] == ["0.12", "9", "9.3", "13", "1234"]
