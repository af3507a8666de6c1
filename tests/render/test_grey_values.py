"""Rounding to grey values where the images are, as is done on a GPU: the same values as on the host."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_emgauss.render._model import _in_source_values, _rounded_on_device
from napari_emgauss.stack import Normalisation


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("uint8", 0.0, 255.0), ("uint16", 812.0, 51234.5), ("int16", -900.0, 1200.0)]
)
def test_rounded_on_the_device_are_the_hosts_values(dtype, low, high):
    images = torch.rand(2, 1, 13, 17, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    # Halves go to the even neighbour, and what is beyond the type's range stays at its end.
    images[0, 0, 0, :4] = torch.tensor([0.5 / 255, 1.5 / 255, 9e5, -9e5])
    normalisation = Normalisation(low, high, dtype)
    found = _rounded_on_device(images, normalisation)
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found, normalisation.from_unit(images.numpy()))


def test_floats_are_left_alone():
    images = torch.tensor([[[[0.25, -0.5, 1.75]]]])
    found = _in_source_values(images, Normalisation(10.0, 20.0, "float32"))
    assert found.dtype == np.float32
    assert found.tolist() == [[[[12.5, 5.0, 27.5]]]]
