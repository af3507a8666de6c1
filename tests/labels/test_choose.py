"""Which way suits a stack, told by slices that are hidden for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_emgauss.labels import CarriedLabels, carry_labels, choose_method, label_slices

from .conftest import TubeModel


def moving(z: float) -> list[tuple[int, float, float, float]]:
    return [(3, 24, 14 + z, 8)]


class Misleading(TubeModel):
    """The picture shows the tube where it is on the first and the last slice, and elsewhere in between."""

    def grey_at(self, z_nm: float) -> NDArray[np.uint8]:
        shown = TubeModel(lambda z: [(3, 24 + 12 * np.sin(np.pi * z / 8), 30, 8)], size=self.size)
        return shown.grey_at(z_nm)


def test_a_picture_that_shows_the_motion_is_followed() -> None:
    model = TubeModel(moving, depth=5)
    labels = label_slices(model.observed_labels(), model)
    assert choose_method(labels, model) == "model"
    assert carry_labels(labels, model).method == "model"


def test_a_picture_that_misleads_is_not() -> None:
    model = Misleading(lambda z: [(3, 24, 30, 8)], depth=5, step_nm=4.0)
    labels = label_slices(model.observed_labels(), model)
    assert choose_method(labels, model) == "distances"
    np.testing.assert_array_equal(carry_labels(labels, model).render(2.0), model.labels_at(2.0))


def test_of_two_labelled_slices_none_can_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    model = TubeModel(moving, depth=3)
    labels = label_slices(model.observed_labels(), model, labelled="0,2")

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is there to compare with")

    monkeypatch.setattr(CarriedLabels, "render", refuse)
    assert choose_method(labels, model) == "model"


def test_pixels_of_which_nothing_is_known_do_not_count() -> None:
    model = Misleading(lambda z: [(3, 24, 30, 8)], depth=3, step_nm=4.0)
    values = model.observed_labels()
    values[1] = 99  # of the only slice that can be hidden
    labels = label_slices(values, model, unlabelled=99, labelled="0-2")
    assert choose_method(labels, model) == "model"


def test_a_method_that_is_named_is_taken() -> None:
    model = TubeModel(moving, depth=3)
    labels = label_slices(model.observed_labels(), model)
    assert carry_labels(labels, model, "nearest").method == "nearest"
