"""The table of bad input: one sentence each, and what to do."""

from typing import Any

import numpy as np
import pytest
from napari.layers import Image, Labels, Points

from napari_emgauss import StackError, VoxelSizeError
from napari_emgauss.plugin.process._request import check_request
from napari_emgauss.plugin.view._layer_input import check_layer


def _image(shape: tuple[int, ...], dtype: Any = np.uint8, **keywords: Any) -> Image:
    return Image(np.zeros(shape, dtype), name="mine", contrast_limits=(0, 1), **keywords)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (None, "There is no image layer to fit: open a stack first"),
        (_image((24, 32)), "“mine” is a single image: open the slices together as one stack"),
        (_image((7, 3, 24, 32)), "“mine” has 4 axes (7, 3, 24, 32): split it into 3D stacks"),
        (_image((5, 24, 32, 3), rgb=True), "“mine” is an RGB image: split it into channels"),
        (_image((2, 24, 32)), "“mine” has 2 slices: a fit needs at least 3"),
        (_image((5, 15, 32)), "“mine” has slices of 15×32 pixels: a fit needs at least 16×16"),
        (_image((5, 24, 32), bool), "“mine” has values of type bool: convert it"),
        (Labels(np.zeros((5, 24, 32), int), name="mine"), "“mine” is a labels layer: choose the image layer"),
        (Points(np.zeros((1, 3)), name="mine"), "“mine” is a points layer: choose the image layer"),
        (_image((5, 24, 32), metadata={"emgauss": 1}), "“mine” was made by EMGauss: choose the stack"),
    ],
)
def test_layers_that_cannot_be_fitted(layer: Any, sentence: str) -> None:
    with pytest.raises(StackError) as refusal:
        check_layer(layer)
    assert str(refusal.value).startswith(sentence)
    assert str(refusal.value).endswith((".", ")."))


def test_good_layers_pass() -> None:
    check_layer(_image((3, 16, 17)))
    check_layer(_image((5, 24, 32), ">u2"))
    check_layer(Image([np.zeros((5, 64, 64), np.uint8), np.zeros((5, 32, 32), np.uint8)], contrast_limits=(0, 1)))


@pytest.mark.parametrize(
    ("changes", "kind", "sentence"),
    [
        ({"slices": (1, 2)}, StackError, "The z range holds 2 slices: a fit needs at least 3."),
        ({"slices": (4, 1)}, StackError, "The z range holds 0 slices"),
        ({"region": (0, 24, 5, 20)}, StackError, "The region is 24×15 pixels"),
        ({"voxel_size_nm": (0, 4, 5)}, VoxelSizeError, "The voxel size is unknown"),
        ({"voxel_size_nm": (4.5, 4, 5)}, VoxelSizeError, "The z step of 4.5 nm is no larger than a pixel"),
    ],
)
def test_requests_that_cannot_be_fitted(request_for: Any, changes: Any, kind: type, sentence: str) -> None:
    with pytest.raises(kind) as refusal:
        check_request(request_for(**changes))
    assert str(refusal.value).startswith(sentence)


def test_a_good_request_passes_and_knows_its_shape(request_for: Any) -> None:
    request = request_for(slices=(1, 4), region=(3, 21, 5, 30))
    check_request(request)
    assert request.shape == (4, 18, 25) and request.origin == (1, 3, 5)
