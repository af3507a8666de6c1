"""Fusing the planes' predictions as a device does it: many at once, with planes turned back by our own splines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import spline_filter

from napari_emgauss.priors.learned import _planes, _turned
from napari_emgauss.priors.learned._fusion import Correction, fusion_network
from napari_emgauss.priors.learned._network import GapNetwork, NetworkConfig
from napari_emgauss.priors.learned._planes import PlaneDirections, predict_between


@pytest.fixture
def network() -> GapNetwork:
    torch.manual_seed(0)
    network = GapNetwork(NetworkConfig(3, (4, 6), (1, 1))).eval()
    with torch.no_grad():  # the last layer of a fresh one says nothing
        network.leave.weight.normal_(0, 0.2)
    return network


def smooth_images() -> np.ndarray:
    rows, columns = np.mgrid[0:19, 0:26]
    return np.stack([np.sin(0.4 * rows + 0.3 * k) + np.cos(0.3 * columns - 0.2 * k) for k in range(6)]).astype(
        np.float32
    )


@pytest.mark.parametrize("rotations", [(0.0,), (0.0, 45.0), (30.0,)])
@pytest.mark.parametrize(("mirrored", "corrected"), [(True, False), (False, False), (False, True)])
def test_fused_there_is_fused_here(
    network: GapNetwork,
    monkeypatch: pytest.MonkeyPatch,
    rotations: tuple[float, ...],
    mirrored: bool,
    corrected: bool,
) -> None:
    images, log_gap = smooth_images(), np.array([0.0, 0.2, 0.0, -0.3, 0.0], np.float32)
    directions = PlaneDirections(rotations, mirrored)
    correction = Correction(fusion_network(), np.array([4.0, 5.0, 4.0, 3.0, 4.0])) if corrected else None
    # The correction calculates in bfloat16 where that is fast.
    tolerance = 2e-2 if corrected else 2e-5
    monkeypatch.setattr(_planes, "_GAPS_PER_TILE", 3)
    results, told = [], []
    for there in (False, True):
        progress: list[float] = []
        if there:
            monkeypatch.setattr(_planes, "samples_at_once", lambda device: 7 * 26)
            monkeypatch.setattr(_planes, "turned_back", _turned.gathered_back)
        results.append(
            predict_between(
                network,
                images,
                log_gap,
                directions,
                device=torch.device("cpu"),
                correction=correction,
                keep_uncorrected=corrected,
                on_progress=progress.append,
            )
        )
        told.append(progress)
    here, there_ = results
    assert there_.mean.shape == here.mean.shape == (5, 3, 19, 26)
    np.testing.assert_allclose(there_.mean, here.mean, atol=tolerance)
    np.testing.assert_allclose(there_.variance, here.variance, rtol=2e-4)
    if corrected:
        plain = predict_between(network, images, log_gap, directions, device=torch.device("cpu"))
        assert np.abs(here.mean - plain.mean).max() > 5 * tolerance
        for kept in (here.uncorrected, there_.uncorrected):
            assert kept is not None
            np.testing.assert_allclose(kept, plain.mean, atol=2e-5)
    assert told[1] == sorted(told[1]) and told[1][-1] == 1.0


def test_spline_coefficients_are_scipys() -> None:
    image = np.random.default_rng(0).standard_normal((17, 23))
    found = _turned.spline_coefficients(torch.as_tensor(image, dtype=torch.float64)[None])[0]
    np.testing.assert_allclose(found.numpy(), spline_filter(image, order=3, mode="mirror"), atol=1e-6)


def test_memory_decides_how_much_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda", 0)
    for free, samples, whole in ((40 << 30, 1 << 20, True), (1 << 30, 131072, True), (1 << 27, 1 << 14, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None, free=free: (free, 80 << 30))
        assert _planes.samples_at_once(device) == samples
        assert _planes.fits((5, 9, 300, 400), device) == whole
    assert not _planes.fits((5, 9, 300, 400), torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (1 << 30, 80 << 30))
    assert not _planes.fits((50, 9, 768, 1024), device)
    assert _planes.fits((15, 3, 300, 400), device, turned=True)
    assert not _planes.fits((15, 7, 300, 400), device, turned=True)
