"""A small stack on which a fit takes a second."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_emgauss.fitting import FitConfig, _keeper as keeper_module
from napari_emgauss.render import EmgaussModel
from napari_emgauss.stack import Normalisation, Stack


def small_stack(seed: int = 0) -> Stack:
    """Six uneven slices of 20 x 26 pixels with blobs that move in x and a little noise."""
    z = np.array([0.0, 40.0, 80.0, 160.0, 200.0, 240.0])
    rows, columns = np.mgrid[0:20, 0:26]
    rng = np.random.default_rng(seed)
    slices = []
    for depth in z:
        image = 150.0 - 90.0 * np.exp(-((rows - 8) ** 2 + (columns - 4 - depth / 14) ** 2) / 14)
        image -= 60.0 * np.exp(-((rows - 14) ** 2 + (columns - 18) ** 2) / 20)
        slices.append(image + rng.normal(0, 4, image.shape))
    data = np.clip(np.rint(slices), 0, 255).astype(np.uint8)
    return Stack(data, z, (8.0, 8.0), Normalisation(0.0, 255.0, "uint8"), name="blobs")


def keep_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a checkpoint be written as soon as the last one is, however long that took."""
    monkeypatch.setattr(keeper_module, "INTERVAL_S", 0.0)
    monkeypatch.setattr(keeper_module, "WRITING_SHARE", 1e9)


def model_of(stack: Stack, config: FitConfig, gaussians: int, device: str = "cpu") -> EmgaussModel:
    """A model as a fit begins with, always the same."""
    torch.manual_seed(0)
    return EmgaussModel(
        config.for_stack(stack.shape[0], stack.anisotropy_factor).model_config(),
        stack.z_nm,
        stack.pixel_size_nm,
        stack.shape[1:],
        stack.normalisation,
        gaussians,
        device=device,
    )


@pytest.fixture
def stack() -> Stack:
    return small_stack()
