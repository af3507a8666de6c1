"""napari's slicing gets a painter's picture, everybody else the rendered pixels.

Napari's slicing is recognised by the module that asks, for want of a public sign: these tests ask the napari that is
installed, and fail when it has moved that code.
"""

import threading
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtWidgets import QApplication

from napari_emgauss.plugin.view._prompt_volume import PromptVolume

MOVED = (
    "napari's slicing is not recognised any more: look for where this napari calls np.asarray on a layer's data, and "
    "name that module in plugin/view/_prompt_volume.py; until then its window waits for every slice"
)
RENDERED, PAINTED = 7, 200


class View:
    """Pixels of one grey value, in the place of a lazy volume."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype, self.ndim, self.size = shape, np.dtype(np.uint8), len(shape), int(np.prod(shape))
        self.z_nm = np.arange(9) * 5.0

    def __getitem__(self, key: Any) -> "View":
        return View(np.empty(self.shape, np.bool_)[key].shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.full(self.shape, RENDERED, self.dtype)


class Painter:
    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    def paint(self, view: View, *, coarsest: bool, grid_nm: Any = None) -> np.ndarray:
        self.asked.append(view.shape)
        return np.full(view.shape, PAINTED, np.uint8)


@pytest.fixture
def painter() -> Painter:
    return Painter()


@pytest.fixture
def levels(qapp: QApplication, painter: Painter) -> list[PromptVolume]:
    shapes = [(9, 16, 12), (9, 8, 6)]
    return [PromptVolume(View(shape), painter, coarsest=shape is shapes[-1]) for shape in shapes]  # type: ignore[arg-type]


@pytest.mark.parametrize("multiscale", [True, False])
@pytest.mark.parametrize("displayed", [2, 3])
@pytest.mark.parametrize("projection", ["none", "mean"])
def test_what_napari_draws_is_painted(
    levels: list[PromptVolume], painter: Painter, multiscale: bool, displayed: int, projection: str
) -> None:
    viewer = ViewerModel()
    data = levels if multiscale else levels[0]
    layer = viewer.add_layer(Image(data, multiscale=multiscale, contrast_limits=(0, 255), projection_mode=projection))
    viewer.dims.ndisplay = displayed
    painter.asked.clear()
    viewer.dims.set_point(0, 4)
    layer.refresh()
    assert painter.asked, MOVED
    drawn = np.asarray(layer._slice.image.raw)  # what goes to the screen; the thumbnail of the layer beside it
    assert drawn.ndim == displayed and (drawn == PAINTED).all(), MOVED
    assert (np.asarray(layer._slice.thumbnail.raw) == PAINTED).all(), MOVED


def test_the_slicing_that_waits_for_nobody_is_exact(levels: list[PromptVolume], painter: Painter) -> None:
    """napari's asynchronous slicing asks in a thread of its own, and may wait."""
    viewer = ViewerModel()
    layer = viewer.add_layer(Image(levels[0], contrast_limits=(0, 255)))
    request = layer._slicing_state._make_slice_request(viewer.dims)
    painter.asked.clear()
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(request()))
    thread.start()
    thread.join(30)
    assert not painter.asked and (np.asarray(answers[0].image.raw) == RENDERED).all()


def test_everybody_else_gets_what_is_rendered(levels: list[PromptVolume], painter: Painter) -> None:
    assert (np.asarray(levels[0]) == RENDERED).all()
    assert (np.asarray(levels[0][3, 2:4]) == RENDERED).all()
    assert not painter.asked
