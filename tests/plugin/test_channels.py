"""Layers and models of several channels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Image

from napari_emgauss.plugin._reader import read_models
from napari_emgauss.plugin.process._remote_model import RemoteModel
from napari_emgauss.plugin.process._request import StackView, copy_slices
from napari_emgauss.plugin.view._channel_layers import channel_layers
from napari_emgauss.plugin.view._geometry import placement_on
from napari_emgauss.plugin.view._layer_input import channels_of, check_layer, stack_shape

SHAPE = (2, 5, 24, 32)


@pytest.fixture(scope="module")
def two_channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from napari_emgauss.model import ModelConfig
    from napari_emgauss.render import EmgaussModel
    from napari_emgauss.stack import Normalisation

    torch.manual_seed(0)
    model = EmgaussModel(
        ModelConfig(grid_channels=4, head_width=8, channels=2),
        np.arange(5) * 40.0,
        (4.0, 5.0),
        SHAPE[2:],
        Normalisation(0.0, 255.0, "uint8", ((0.0, 255.0), (10.0, 90.0))),
        60,
    )
    with torch.no_grad():
        for cloud in model.cloud_list:
            cloud.means.copy_(torch.rand_like(cloud.means) * torch.tensor([32.0, 24.0]))
            cloud.values.copy_(torch.rand_like(cloud.values))
    path = tmp_path_factory.mktemp("channels") / "two.emgauss.safetensors"
    model.save(path)
    return path


def test_the_first_of_four_axes_may_be_channels(request_for: Any) -> None:
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint16)
    layer = Image(values, scale=(1, 40, 4, 5), axis_labels=("c", "z", "y", "x"))
    check_layer(layer)
    assert channels_of(layer) == 2 and stack_shape(layer) == (5, 24, 32)
    assert channels_of(Image(np.zeros((5, 24, 32)))) is None
    view = StackView(layer.data)
    assert view.shape == (5, 2, 24, 32)
    np.testing.assert_array_equal(view[3], layer.data[:, 3])
    wanted = request_for(region=(2, 20, 3, 30), skip=(1,), channels=2)
    data = copy_slices(layer.data, wanted, lambda: False, damage=np.ones((5, 24, 32)))
    np.testing.assert_array_equal(data.array(), np.moveaxis(layer.data, 0, 1)[[0, 2, 3, 4], :, 2:20, 3:30])
    assert data.damage is not None and data.damage.array().shape == (4, 18, 27)
    placement = placement_on(layer, wanted.origin, [0.0, 40.0])
    assert placement.scale_yx == (4, 5) and placement.translate == (0, 8, 15)


def test_every_channel_is_a_layer(service: Any, two_channels: Path) -> None:
    from napari_emgauss.render import load

    model = RemoteModel.open(service, two_channels)
    expected = load(two_channels, device="cpu").render(33.0)
    found = list(channel_layers(model))
    assert [suffix for _, suffix, _ in found] == [" channel 0", " channel 1"]
    assert [look["contrast_limits"] for _, _, look in found] == [(0.0, 255.0), (10.0, 90.0)]
    for channel, (one, _, _) in enumerate(found):
        assert one.shape == (5, 24, 32) and one.info is model.info
        np.testing.assert_array_equal(one.render(33.0), expected[channel])


def test_a_model_file_opens_as_one_layer_a_channel(service: Any, two_channels: Path) -> None:
    layers = read_models(str(two_channels))
    assert [keywords["name"] for _, keywords, _ in layers] == ["two channel 0", "two channel 1"]
    first, second = (keywords["metadata"]["emgauss"] for _, keywords, _ in layers)
    assert first.shift is second.shift  # scrubbed together
