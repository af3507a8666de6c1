from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift

from napari_emgauss._errors import ConfigError
from napari_emgauss.priors import Observation, get_prior
from napari_emgauss.priors.classical._carried import CARRIED_SIGMA_PIXELS, carried_slices
from napari_emgauss.priors.classical._tvl1 import blurred, tvl1_flow

SPEED = np.array([1.5, -1.0])
"""Pixels from slice to slice, rows and columns."""


def moving(slices: int, side: int = 96) -> np.ndarray:
    """Texture that moves as a whole: where it is at any depth is known."""
    noise = gaussian_filter(np.random.default_rng(0).standard_normal((side, side)), 2.5, mode="wrap")
    image = 0.5 + 0.15 * noise / noise.std()
    return np.stack([shift(image, SPEED * k, order=3, mode="wrap") for k in range(slices)]).astype(np.float32)


@pytest.mark.parametrize("nodes", [1, 2, 4, 7])
def test_slices_are_carried_where_the_inferred_ones_show(nodes: int) -> None:
    volume = torch.as_tensor(moving(nodes + 2))
    carried = carried_slices(volume[0], volume[-1], volume[1:-1])
    expected = blurred(volume[1:-1], CARRIED_SIGMA_PIXELS)
    inner = np.s_[:, 16:-16, 16:-16]
    assert (carried - expected)[inner].abs().mean() < 0.1 * (volume[1] - volume[0])[16:-16, 16:-16].abs().mean()
    assert (carried - expected)[inner].abs().mean() < 0.01


def test_the_way_over_the_inferred_slice_is_better_than_straight() -> None:
    """Structures that move further than they are wide: the flow from one observed slice to the next goes astray."""
    rng = np.random.default_rng(1)
    dots = np.zeros((128, 128))
    dots[rng.integers(10, 110, 40), rng.integers(10, 110, 40)] = 1
    image = gaussian_filter(dots, 2.0)
    image *= 0.4 / image.max()
    volume = torch.as_tensor(np.stack([0.3 + shift(image, (0, 0.75 * k), order=3) for k in range(17)])).float()
    truth = blurred(volume[8:9], CARRIED_SIGMA_PIXELS)[0]
    along = carried_slices(volume[0], volume[-1], volume[1:-1])[7]
    mean = (volume[0] + volume[-1]) / 2
    straight = carried_slices(volume[0], volume[-1], mean[None])[0]
    assert (along - truth).square().mean() < 0.01 * (straight - truth).square().mean()


def test_slices_that_do_not_move_stay() -> None:
    still = torch.as_tensor(moving(1)[0])
    carried = carried_slices(still, still, still.expand(3, -1, -1))
    torch.testing.assert_close(carried, blurred(still[None], CARRIED_SIGMA_PIXELS).expand(3, -1, -1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(64, 71), (97, 65), (40, 200)])
def test_half_the_resolution_tells_the_same_motion(size: tuple[int, int]) -> None:
    image = moving(2, 200)[:, : size[0], : size[1]]
    pair = torch.as_tensor(np.ascontiguousarray(image))
    half = tvl1_flow(pair[:1], pair[1:], halved=True)
    assert half.shape == (1, 2, *size)
    if min(size) < 64:  # too small to halve
        assert torch.equal(half, tvl1_flow(pair[:1], pair[1:]))
    else:
        np.testing.assert_allclose(half[0, :, 12:-12, 12:-12].mean((1, 2)).numpy(), SPEED, atol=0.1)


def test_a_share_of_carried_slices_is_mixed_in() -> None:
    volume = moving(17, 48)
    observation = Observation(np.ascontiguousarray(volume[::4]), 16.0 * np.arange(5), (4.0, 4.0))
    settings = {"iterations": 10, "channels": (8, 8), "rotations_deg": (0.0,), "device": "cpu"}
    none, some = (get_prior("self", carried=share, **settings).prepare(observation) for share in (0.0, 0.25))
    # The prior has hardly learned anything; its slices and those carried along them are found by hand.
    inferred = np.stack([none.at(4.0 * k).image for k in (1, 2, 3)])
    along = carried_slices(*(torch.as_tensor(x) for x in (observation.images[0], observation.images[1], inferred)))
    for k in (1, 2, 3):
        expected = 0.75 * inferred[k - 1] + 0.25 * along[k - 1].numpy()
        np.testing.assert_allclose(some.at(4.0 * k).image, expected, atol=1e-5)
    assert some.report["carried"] == 0.25


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_must_leave_something_inferred(share: float) -> None:
    with pytest.raises(ConfigError, match="from 0 to below 1"):
        get_prior("self", carried=share)


def test_nothing_is_fetched_from_the_device() -> None:
    above, below, inferred = (torch.empty(n, 70, 81, device="meta") for n in (1, 1, 3))
    assert carried_slices(above[0], below[0], inferred).shape == (3, 70, 81)
