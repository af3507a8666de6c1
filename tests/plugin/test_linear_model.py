import copy
from typing import Any

import numpy as np
import pytest

from napari_emgauss.plugin.view._linear_model import DifferenceModel, LinearModel


class Counting:
    """An array that counts how often each slice is read."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self.read = values, []
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        self.read.append(key[0])
        return self._values[key]


def _model(values: Any) -> LinearModel:
    # Slices 1 to 4, rows 2 to 21, columns 3 to 29, at uneven depths.
    return LinearModel(values, (1, 2, 3, 4), (2, 22, 3, 30), np.array([40.0, 80.0, 130.0, 160.0]), (4.0, 5.0))


def test_between_slices_a_straight_line(values: np.ndarray) -> None:
    model = _model(values)
    assert model.shape == (4, 20, 27) and model.dtype == np.uint8
    # values = 20 z + 3 y + x; half of the way from slice 2 to slice 3, which lie at 80 and 130 nm
    y, x = np.meshgrid(np.arange(2, 22), np.arange(3, 30), indexing="ij")
    np.testing.assert_array_equal(model.render(105.0), 20 * 2.5 + 3 * y + x)
    np.testing.assert_array_equal(model.render([40.0, 160.0])[1], values[4, 2:22, 3:30])


def test_region_and_coarser_sampling(values: np.ndarray) -> None:
    whole = _model(values).render(80.0)
    np.testing.assert_array_equal(_model(values).render(80.0, region=(4, 9, 6, 20)), whole[4:9, 6:20])
    coarse = _model(values).render(80.0, region=(0, 20, 0, 27), shape=(10, 9))
    np.testing.assert_array_equal(coarse, whole[1::2, 1::3])  # centres of cells 2 by 3


def test_slices_that_were_left_out_are_not_drawn_between(values: np.ndarray) -> None:
    model = LinearModel(values, (0, 1, 3), (0, 24, 0, 32), np.array([0.0, 40.0, 120.0]), (4.0, 5.0))
    np.testing.assert_array_equal(model.render(120.0), values[3])
    np.testing.assert_array_equal(model.render(80.0), (values[1].astype(int) + values[3]) // 2)


def test_each_slice_is_read_once(values: np.ndarray) -> None:
    source = Counting(values)
    model = _model(source)
    for depth in np.linspace(80, 130, 20):
        model.render(float(depth))
    assert sorted(source.read) == [2, 3, 4] or sorted(source.read) == [2, 3]


def test_difference_has_a_sign(values: np.ndarray) -> None:
    one, other = _model(values), _model(values + np.uint8(3))
    difference = DifferenceModel(one, other)
    assert difference.dtype == np.float32
    np.testing.assert_array_equal(difference.render(105.0), np.full((20, 27), -3, np.float32))
    other.version = 2
    assert difference.version != DifferenceModel(one, _model(values)).version


@pytest.mark.parametrize("kind", [LinearModel, DifferenceModel])
def test_layers_share_models_when_they_are_duplicated(values: np.ndarray, kind: type) -> None:
    model = _model(values) if kind is LinearModel else DifferenceModel(_model(values), _model(values))
    assert copy.deepcopy(model) is model
