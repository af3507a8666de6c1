"""Rounding to grey values where the images are, as is done on a GPU: the same values as on the host."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_emgauss.model._config import ModelConfig
from napari_emgauss.render import EmgaussModel, _grey_values as grey_values, _model as model_module
from napari_emgauss.render._grey_values import Delivery, rounded
from napari_emgauss.stack import Normalisation


def some_images(channels: int = 1) -> torch.Tensor:
    images = torch.rand(2, channels, 13, 17, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    # Halves go to the even neighbour, and what is beyond the type's range stays at its end.
    images[0, 0, 0, :4] = torch.tensor([0.5 / 255, 1.5 / 255, 9e5, -9e5])
    return images


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("uint8", 0.0, 255.0), ("int8", -100.0, 90.0), ("uint16", 812.0, 51234.5), ("int16", -900.0, 1200.0)],
)
def test_rounded_on_the_device_are_the_hosts_values(dtype, low, high):
    images = some_images()
    normalisation = Normalisation(low, high, dtype)
    found = rounded(images, normalisation).numpy()
    assert found.dtype.itemsize <= (4 if dtype == "uint16" else np.dtype(dtype).itemsize)
    assert np.array_equal(found, normalisation.from_unit(images.numpy()))


def test_channels_have_their_own_range():
    images = some_images(2)
    normalisation = Normalisation(0.0, 1.0, "uint16", channel_limits=((10.0, 200.0), (400.0, 9000.0)))
    assert np.array_equal(rounded(images, normalisation).numpy(), normalisation.from_unit(images.numpy()))


def test_floats_are_left_alone():
    images = torch.tensor([[[[0.25, -0.5, 1.75]]]])
    out = np.empty((1, 1, 1, 3), np.float32)
    Delivery(images, Normalisation(10.0, 20.0, "float32")).into(out)
    assert out.tolist() == [[[[12.5, 5.0, 27.5]]]]


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_what_has_no_float64_is_rounded_by_the_host(monkeypatch, kind):
    class Elsewhere:
        """Images of another device, as far as is asked of them before they are on the host."""

        device = torch.device(kind)

        def cpu(self):
            return some_images()

    monkeypatch.setattr(grey_values, "rounded", lambda *_: pytest.fail("rounded on a device without float64"))
    monkeypatch.setattr(grey_values, "has_float64", lambda device: False)
    out = np.empty((2, 1, 13, 17), np.uint8)
    normalisation = Normalisation(0.0, 255.0, "uint8")
    Delivery(Elsewhere(), normalisation).into(out)
    assert np.array_equal(out, normalisation.from_unit(some_images().numpy()))


def small_model(**config) -> EmgaussModel:
    torch.manual_seed(0)
    model = EmgaussModel(
        ModelConfig(**config), np.arange(4) * 40.0, (8.0, 8.0), (19, 23), Normalisation(0.0, 255.0, "uint8"), 30
    )
    with torch.no_grad():
        cloud = model.cloud_list[0]
        cloud.means.copy_(torch.rand(30, 2) * 20)
        cloud.values.copy_(torch.rand(30, 1))
        cloud.log_scales.fill_(1.0)
    return model


def test_pictures_brought_back_late_are_the_pictures(monkeypatch):
    model = small_model(field="spline")
    depths = np.linspace(0, 120, 7)
    expected = model.render(depths)
    order = []

    class Late(Delivery):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            order.append("rendered")

        def into(self, out):
            order.append("brought back")
            super().into(out)

    monkeypatch.setattr(model_module, "Delivery", Late)
    monkeypatch.setattr(type(model), "_depths_at_once", lambda self, pixels: 3)
    monkeypatch.setattr(type(model), "device", property(lambda self: torch.device("cuda")))
    assert np.array_equal(model.render(depths), expected)
    assert order == ["rendered", "rendered", "brought back", "rendered", "brought back", "brought back"]


def test_depths_drawn_together_stay_within_half_a_gigabyte(monkeypatch):
    spline, mlp = small_model(field="spline"), small_model(field="mlp")
    assert spline._depths_at_once(19 * 23) == 8
    monkeypatch.setattr(EmgaussModel, "device", property(lambda self: torch.device("cuda")))
    assert spline._depths_at_once(19 * 23) == 16
    assert spline._depths_at_once(2048 * 2048) == 6
    for model in (spline, mlp):
        monkeypatch.setattr(type(model.cloud_list[0]), "__len__", lambda self: 131072)
        assert model._depths_at_once(768 * 1024) == (10 if model is spline else 1)
