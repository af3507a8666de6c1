from __future__ import annotations

import torch

from napari_emgauss.priors.learned._network import GapNetwork, NetworkConfig

CONFIG = NetworkConfig(nodes=3, channels=(4, 6, 8), blocks=(1, 1, 1))


def test_untrained_network_is_linear_interpolation() -> None:
    rows = torch.rand(2, 5, 13)
    mean, log_variance = GapNetwork(CONFIG)(rows, torch.zeros(2, 4))
    assert mean.shape == log_variance.shape == (2, 3, 4, 13)
    torch.testing.assert_close(mean[:, 1], (rows[:, :-1] + rows[:, 1:]) / 2)
    torch.testing.assert_close(mean[:, 0], 0.75 * rows[:, :-1] + 0.25 * rows[:, 1:])


def test_odd_widths_give_what_wide_planes_give_far_from_the_edge() -> None:
    torch.manual_seed(0)
    network = GapNetwork(CONFIG)
    torch.nn.init.normal_(network.leave.weight)
    rows = torch.rand(1, 4, 160)
    whole, _ = network(rows, torch.zeros(1, 3))
    cut, _ = network(rows[..., :121], torch.zeros(1, 3))
    assert not torch.allclose(whole[..., :60], rows[:, None, :-1, :60], atol=1e-2)
    torch.testing.assert_close(whole[..., :60], cut[..., :60], atol=1e-4, rtol=1e-4)


def test_gap_length_matters_once_trained() -> None:
    torch.manual_seed(0)
    network = GapNetwork(CONFIG)
    torch.nn.init.normal_(network.leave.weight)
    torch.nn.init.normal_(network.gap_length.weight)
    rows = torch.rand(1, 4, 16)
    even, _ = network(rows, torch.zeros(1, 3))
    uneven, _ = network(rows, torch.tensor([[0.0, 0.7, 0.0]]))
    assert (even - uneven).abs().max() > 1e-3
