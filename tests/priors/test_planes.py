from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_emgauss.priors.learned import _planes
from napari_emgauss.priors.learned._network import GapNetwork, NetworkConfig
from napari_emgauss.priors.learned._planes import PlaneDirections, predict_between

CPU = torch.device("cpu")


@pytest.fixture
def network() -> GapNetwork:
    """Untrained: every plane answers linear interpolation, so any fusion of planes must as well."""
    return GapNetwork(NetworkConfig(2, channels=(4, 6), blocks=(1, 1))).eval()


@pytest.fixture
def images() -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(0).standard_normal((5, 21, 34))
    return gaussian_filter(noise, (0, 2, 2)).astype(np.float32)


def linear(images: np.ndarray) -> np.ndarray:
    thirds = np.array([1 / 3, 2 / 3], np.float32)[None, :, None, None]
    return images[:-1, None] * (1 - thirds) + images[1:, None] * thirds


@pytest.mark.parametrize("mirrored", [False, True])
def test_planes_are_put_back_where_they_came_from(network: GapNetwork, images: np.ndarray, mirrored: bool) -> None:
    fused = predict_between(network, images, np.zeros(4, np.float32), PlaneDirections((0.0,), mirrored), device=CPU)
    assert fused.mean.shape == fused.variance.shape == (4, 2, 21, 34)
    np.testing.assert_allclose(fused.mean, linear(images), atol=1e-5)
    np.testing.assert_allclose(fused.variance, 1, atol=1e-5)  # log-variance starts at zero


def test_turned_planes_are_turned_back(network: GapNetwork, images: np.ndarray) -> None:
    fused = predict_between(network, images, np.zeros(4, np.float32), PlaneDirections((30.0,)), device=CPU)
    np.testing.assert_allclose(fused.mean, linear(images), atol=0.1 * images.std())


def test_mirrored_planes_are_mirrored_back(images: np.ndarray) -> None:
    torch.manual_seed(0)
    network = GapNetwork(NetworkConfig(2, channels=(4, 6), blocks=(1, 1))).eval()
    torch.nn.init.normal_(network.leave.weight, std=0.3)
    gaps = np.array([0.0, 0.5, 0.0, 0.2], np.float32)
    there = predict_between(network, images, gaps, PlaneDirections(), device=CPU)
    flipped = np.ascontiguousarray(images[::-1, ::-1, ::-1])
    back = predict_between(network, flipped, gaps[::-1].copy(), PlaneDirections(), device=CPU)
    assert np.abs(there.mean - linear(images)).max() > 0.05
    np.testing.assert_allclose(there.mean, back.mean[::-1, ::-1, ::-1, ::-1], atol=0.02)


def test_long_stacks_are_cut_into_tiles_that_agree(
    network: GapNetwork, monkeypatch: pytest.MonkeyPatch, images: np.ndarray
) -> None:
    monkeypatch.setattr(_planes, "_GAPS_PER_TILE", 2)
    monkeypatch.setattr(_planes, "_TILE_MARGIN", 1)
    assert _planes._row_tiles(5) == [(0, 2, 0, 3), (2, 4, 1, 5), (4, 5, 3, 5)]
    fused = predict_between(network, images, np.zeros(4, np.float32), PlaneDirections(), device=CPU)
    np.testing.assert_allclose(fused.mean, linear(images), atol=1e-5)


def test_big_volumes_go_to_a_temporary_file(
    network: GapNetwork, monkeypatch: pytest.MonkeyPatch, images: np.ndarray
) -> None:
    monkeypatch.setattr(_planes, "IN_MEMORY_BYTES", 1000)
    fused = predict_between(network, images, np.zeros(4, np.float32), PlaneDirections(), device=CPU)
    assert isinstance(fused.mean, np.memmap)
    np.testing.assert_allclose(fused.mean, linear(images), atol=1e-5)
