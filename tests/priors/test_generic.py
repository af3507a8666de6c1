"""Weights to start from: specialised to a gap they answer alike, and they know more than linear interpolation."""

from __future__ import annotations

import math

import numpy as np
import torch

from napari_emgauss.priors.learned._generic import GenericNetwork, warm_network
from napari_emgauss.priors.learned._network import NetworkConfig
from napari_emgauss.stack import sample_truth


def _random_network() -> GenericNetwork:
    torch.manual_seed(0)
    network = GenericNetwork((4, 6))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def test_the_network_for_one_gap_answers_as_the_generic_one() -> None:
    network = _random_network()
    rows = torch.randn(2, 5, 24)
    for gap in (4, 7):
        plain = network.specialised(gap - 1, gap)
        mean, log_variance = plain(rows, torch.zeros(2, 4))
        expected_mean, expected_log_variance = network.restore(rows, gap)
        assert mean.shape == (2, gap - 1, 4, 24)
        torch.testing.assert_close(mean, expected_mean)
        torch.testing.assert_close(log_variance, expected_log_variance)


def test_a_row_on_an_anchor_is_answered_by_that_anchor() -> None:
    # With 15 rows between, row j lies at j/16: exactly anchor j of 17.
    network = _random_network()
    weights = network.state_for(15, 16.0)["leave.bias"]
    torch.testing.assert_close(weights[:15], network.leave.bias[1:16])


def test_gaps_beyond_those_learned_are_answered_like_the_nearest() -> None:
    network = _random_network()
    at_most = network.state_for(3, 16.0)["enter.bias"]
    torch.testing.assert_close(network.state_for(3, 40.0)["enter.bias"], at_most)
    assert not torch.allclose(network.state_for(3, 8.0)["enter.bias"], at_most)


def test_a_slightly_longer_gap_is_the_slope_of_the_length() -> None:
    network = _random_network()
    step = 1e-3
    one, other = (network.state_for(3, 8.0 * math.exp(t)) for t in (0.0, step))
    slope = (other["enter.bias"] - one["enter.bias"]) / step
    torch.testing.assert_close(slope, one["gap_length.weight"][:, 0], atol=1e-2, rtol=1e-2)


def test_weights_exist_for_the_usual_size_alone() -> None:
    assert warm_network(NetworkConfig(7, (8, 8), (1, 2)), 8.0) is None
    assert warm_network(NetworkConfig(7), 8.0) is not None


def test_the_weights_restore_rows_better_than_linear_interpolation() -> None:
    picture = np.asarray(sample_truth().slices[60], np.float32)
    picture = (picture - picture.mean()) / picture.std()
    rows = torch.from_numpy(picture[::8][:20].copy())[None]
    between = torch.from_numpy(np.stack([picture[j : j + 19 * 8 : 8] for j in range(1, 8)]))[None]
    network = warm_network(NetworkConfig(7), 8.0)
    assert network is not None
    with torch.no_grad():
        mean, _ = network(rows, torch.zeros(1, 19))
    part = torch.arange(1, 8)[None, :, None, None] / 8
    linear = rows[:, None, :-1] * (1 - part) + rows[:, None, 1:] * part
    assert float(((mean - between) ** 2).mean()) < 0.85 * float(((linear - between) ** 2).mean())
