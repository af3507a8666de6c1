"""Optical flow and interpolation along it: what scikit-image and SciPy give, whatever is done at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates, shift
from skimage.registration import optical_flow_tvl1

from napari_emgauss._errors import BackendError, ConfigError
from napari_emgauss._progress import Progress
from napari_emgauss.priors import Observation, _auto, get_prior
from napari_emgauss.priors._auto import AutoPrior, _along_one_flow
from napari_emgauss.priors.classical import _flow, _flow_prior
from napari_emgauss.priors.classical._flow import Flows
from napari_emgauss.priors.classical._flow_prior import FlowPrior
from napari_emgauss.priors.classical._priors import chosen_device
from napari_emgauss.priors.classical._tvl1 import blurred, tvl1_flow, warp

CPU = torch.device("cpu")


def flow_of_scikit_image(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    return optical_flow_tvl1(source, target, attachment=15, num_warp=4, num_iter=10, dtype=np.float32)


def warp_of_scipy(image: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    grid = np.indices(image.shape, dtype=np.float32)
    return map_coordinates(image, grid + displacement, order=1, mode="nearest", output=np.float32)


@pytest.fixture(scope="module")
def slices() -> np.ndarray:
    """Five slices of a soft texture that moves more from one to the next, with some noise."""
    random = np.random.default_rng(0)
    texture = gaussian_filter(random.standard_normal((75, 98)), 3, mode="wrap")
    texture = 0.5 + 0.2 * texture / texture.std()
    moved = [shift(texture, (1.1 * k * k / 2, -0.8 * k), order=3, mode="grid-wrap") for k in range(5)]
    return (np.stack(moved) + 0.02 * random.standard_normal((5, 75, 98))).astype(np.float32)


def test_flow_is_that_of_scikit_image(slices: np.ndarray) -> None:
    smooth = np.stack([gaussian_filter(image, 0.8) for image in slices])
    flat = smooth.copy()
    flat[:, 20:40, 30:60] = 0.5  # no gradient there
    sources = np.stack([smooth[0], smooth[2], smooth[4], flat[1]])
    targets = np.stack([smooth[1], smooth[3], smooth[3], flat[2]])
    found = tvl1_flow(torch.as_tensor(sources), torch.as_tensor(targets)).numpy()
    for source, target, flow in zip(sources, targets, found, strict=True):
        expected = flow_of_scikit_image(source, target)
        np.testing.assert_allclose(flow, expected, atol=2e-3)
        assert np.abs(flow - expected).mean() < 5e-5


def test_a_pair_that_hardly_moves_is_left_alone_while_others_go_on(slices: np.ndarray) -> None:
    still = gaussian_filter(slices[0], 2)
    sources = np.stack([still, gaussian_filter(slices[2], 0.8)])
    targets = np.stack([shift(still, (0.02, -0.01), order=3, mode="grid-wrap"), gaussian_filter(slices[3], 0.8)])
    found = tvl1_flow(torch.as_tensor(sources), torch.as_tensor(targets)).numpy()
    np.testing.assert_allclose(found[0], flow_of_scikit_image(sources[0], targets[0]), atol=2e-4)
    np.testing.assert_allclose(found[1], flow_of_scikit_image(sources[1], targets[1]), atol=2e-3)


def test_flow_waits_for_nothing() -> None:
    flow = tvl1_flow(*torch.empty(2, 3, 70, 41, device="meta"))  # nothing can be fetched from there
    assert flow.shape == (3, 2, 70, 41)


def test_warp_is_scipys_also_beyond_the_edge(slices: np.ndarray) -> None:
    displacement = 6 * np.random.default_rng(1).standard_normal((2, 2, 75, 98)).astype(np.float32)
    found = warp(torch.as_tensor(slices[:2]), torch.as_tensor(displacement)).numpy()
    for image, by, warped in zip(slices, displacement, found, strict=False):
        np.testing.assert_allclose(warped, warp_of_scipy(image, by), atol=2e-5)


@pytest.mark.parametrize("sigma", [0.8, 1.5])
def test_blur_is_scipys_also_in_small_images(sigma: float) -> None:
    images = np.random.default_rng(2).random((2, 4, 17), dtype=np.float32)
    expected = np.stack([gaussian_filter(image, sigma) for image in images])
    np.testing.assert_allclose(blurred(torch.as_tensor(images), sigma).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.0, 1.2])
@pytest.mark.parametrize("with_linear", [False, True])
def test_slices_and_confidences_are_those_of_the_formulas(slices: np.ndarray, sigma: float, with_linear: bool) -> None:
    z_nm = np.array([0.0, 40.0, 90.0, 130.0, 170.0])
    prior = FlowPrior("mine", sigma, with_linear=with_linear, device="cpu")
    ready = prior.prepare(Observation(slices, z_nm, (8.0, 8.0)))
    carried = np.stack([gaussian_filter(image, sigma) for image in slices]) if sigma else slices
    for depth, gap, u in ((0.0, 0, 0.0), (10.0, 0, 0.25), (77.0, 1, 0.74), (150.0, 3, 0.5), (170.0, 3, 1.0)):
        above, below = (gaussian_filter(image, sigma or 0.8) for image in slices[gap : gap + 2])
        down, up = flow_of_scikit_image(above, below), flow_of_scikit_image(below, above)
        first = warp_of_scipy(carried[gap], np.float32(-u) * down)
        second = warp_of_scipy(carried[gap + 1], np.float32(u - 1) * up)
        image, difference = (1 - u) * first + u * second, first - second
        if with_linear:
            linear = (1 - u) * carried[gap] + u * carried[gap + 1]
            image, difference = (image + linear) / 2, image - linear
        confidence = 0.08**2 / (0.08**2 + gaussian_filter(difference**2, 1.5))
        label = ready.at(depth)
        np.testing.assert_allclose(label.image, image, atol=1e-4)
        np.testing.assert_allclose(label.confidence, confidence, atol=1e-3)


def test_gaps_are_estimated_together_and_kept(slices: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [Flows(slices[k : k + 2], CPU).of(0) for k in range(4)]
    batches: list[int] = []

    def counted(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        batches.append(len(source))
        return tvl1_flow(source, target)

    monkeypatch.setattr(_flow, "tvl1_flow", counted)
    monkeypatch.setattr(_flow, "_groups", lambda pixels, device: (3, 4))
    flows = Flows(slices, CPU)
    for k in (2, 0, 3, 1):
        torch.testing.assert_close(flows.of(k), alone[k], atol=1e-5, rtol=0)
    assert batches == [6, 2]
    monkeypatch.setattr(_flow, "_groups", lambda pixels, device: (3, 1))
    flows = Flows(slices, CPU)
    for k in (0, 3, 0):  # room for one group alone
        torch.testing.assert_close(flows.of(k), alone[k], atol=1e-5, rtol=0)
    assert batches == [6, 2, 6, 2, 6]


@pytest.mark.parametrize("name", ["flow", "flow+blur", "ensemble", "flow+linear"])
def test_priors_go_to_a_card_where_there_is_one(slices: np.ndarray, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    observation = Observation(slices[:2], np.array([0.0, 40.0]), (8.0, 8.0))
    asked: list[torch.device] = []

    def flows(images: np.ndarray, device: torch.device, **settings: Any) -> Flows:
        asked.append(device)
        return Flows(images, CPU, **settings)

    monkeypatch.setattr(_flow_prior, "Flows", flows)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    there = get_prior(name).prepare(observation).at(10.0)
    assert asked.pop() == torch.device("cuda")
    here = get_prior(name, device="cpu").prepare(observation).at(10.0)
    assert asked == [CPU]
    np.testing.assert_allclose(there.image, here.image, atol=1e-4)


def test_two_priors_share_one_flow(slices: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    observation = Observation(slices[:3], np.array([0.0, 40.0, 80.0]), (8.0, 8.0))
    plain, smooth = FlowPrior("flow", 0.0, device="cpu"), FlowPrior("flow+blur", device="cpu")
    expected = [prior.prepare(observation).at(50.0).image for prior in (plain, smooth)]
    calls: list[int] = []

    def counted(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        calls.append(len(source))
        return tvl1_flow(source, target)

    monkeypatch.setattr(_flow, "tvl1_flow", counted)
    flows = plain.flows(observation)
    for prior, image in zip((plain, smooth), expected, strict=True):
        np.testing.assert_array_equal(prior.along(observation, flows).at(50.0).image, image)
    assert calls == [2]  # one gap, both ways


def test_the_trial_estimates_each_flow_once(slices: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    observation = Observation(slices, 40.0 * np.arange(5), (8.0, 8.0))
    calls: list[int] = []

    def counted(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        calls.append(len(source))
        return tvl1_flow(source, target)

    monkeypatch.setattr(_flow, "tvl1_flow", counted)
    depths = np.array([20.0, 50.0, 60.0, 130.0])
    told: list[float] = []
    restored = _along_one_flow(observation, depths, "cpu", Progress(lambda update: told.append(update.fraction)))
    assert told == [0.25, 0.5, 0.75, 1.0]
    assert calls == [2, 2, 2]  # gaps that were asked for, both ways
    for name in ("flow", "flow+blur"):
        alone = get_prior(name, device="cpu").prepare(observation)
        np.testing.assert_array_equal(restored[name], np.stack([alone.at(float(depth)).image for depth in depths]))


@pytest.mark.parametrize(("device", "expected"), [("cpu", "cpu"), ("auto", "auto"), ("cuda", "auto"), ("mps", "auto")])
def test_a_fit_on_the_cpu_keeps_its_prior_there(device: str, expected: str) -> None:
    from napari_emgauss.fitting import preset
    from napari_emgauss.fitting._fit import _named_prior

    learned = _named_prior(preset("default", prior="auto", device=device))
    assert isinstance(learned, AutoPrior)
    assert learned.config.learned.device == expected
    for name in ("flow", "flow+blur", "ensemble", "flow+linear"):
        flow = _named_prior(preset("default", prior=name, device=device))
        assert isinstance(flow, FlowPrior)
        assert flow.device == expected
    assert _named_prior(preset("default", prior="linear", device=device)) == get_prior("linear")


def test_cards_that_are_not_there_and_unknown_devices_are_refused(
    slices: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device("auto") == "cpu"
    observation = Observation(slices[:2], np.array([0.0, 40.0]), (8.0, 8.0))
    with pytest.raises(BackendError, match="device 'auto' or 'cpu'"):
        get_prior("flow", device="cuda").prepare(observation)
    with pytest.raises(ConfigError, match="auto, cpu, cuda"):
        get_prior("flow", device="tpu")
    with pytest.raises(ConfigError, match="does not run on a GPU"):
        get_prior("flow", device="cuda", method="dis")


def test_the_chosen_prior_stays_on_the_device_asked_for(slices: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(_auto, "choose_prior", lambda *_, **__: _auto.Choice({"flow": 1.0}))

    def flows(images: np.ndarray, device: torch.device, **settings: Any) -> Flows:
        assert device == CPU
        return Flows(images, device, **settings)

    monkeypatch.setattr(_flow_prior, "Flows", flows)
    observation = Observation(slices[:2], np.array([0.0, 40.0]), (8.0, 8.0))
    interpolator = get_prior("auto", device="cpu").prepare(observation)
    assert interpolator.at(0.0).image == pytest.approx(slices[0], abs=1e-5)
