"""Correcting fused slices: what the network is shown, that bands of rows agree, and that the shipped weights help."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_emgauss.priors import Observation, SelfPrior, SelfPriorConfig
from napari_emgauss.priors._volume_interpolator import nodes_at
from napari_emgauss.priors.learned import _fusion
from napari_emgauss.priors.learned._fusion import (
    Correction,
    FusionNetwork,
    fused_slices,
    fusion_features,
    fusion_network,
)
from napari_emgauss.stack import PhantomConfig, sample_truth


def maps(nodes: int, height: int, width: int) -> list[torch.Tensor]:
    """Mean, spread and log-variance ``(nodes, H, W)`` and the slices above and below ``(H, W)``, all different."""
    generator = torch.Generator().manual_seed(1)
    mean, spread, log_variance = torch.randn(3, nodes, height, width, generator=generator)
    above, below = torch.randn(2, height, width, generator=generator)
    return [mean, spread.abs(), log_variance, above, below]


def test_the_network_is_told_where_a_slice_lies_and_how_it_differs_from_the_observed_ones() -> None:
    def flat(value: float) -> torch.Tensor:
        return torch.full((2, 1, 1), value)

    position = torch.tensor([0.25, 0.75])
    features = fusion_features(flat(5.0), flat(0.5), flat(-2.0), flat(1.0), flat(3.0), position, 12.0)
    length = 12 / 8
    upper = [5, 5 - 1.5, 2, -1, 1 - 5, 3 - 5, 0.25, 0.25 * length, math.log(length)]
    lower = [5, 5 - 2.5, 2, -1, 3 - 5, 1 - 5, 0.25, 0.25 * length, math.log(length)]
    assert features.shape == (2, 9, 1, 1)
    torch.testing.assert_close(features[:, :, 0, 0], torch.tensor([upper, lower]))


def test_gaps_beyond_those_learned_count_as_the_nearest() -> None:
    inputs, position = maps(1, 3, 4), torch.tensor([0.5])
    longest = fusion_features(*inputs, position, 16.0)
    torch.testing.assert_close(fusion_features(*inputs, position, 44.0), longest)
    assert not torch.allclose(fusion_features(*inputs, position, 8.0), longest)


def test_before_it_is_trained_it_changes_nothing() -> None:
    inputs = maps(3, 20, 15)
    torch.testing.assert_close(fused_slices(FusionNetwork(), *inputs, 8.0), inputs[0], atol=1e-6, rtol=0)


def test_bands_of_rows_and_single_slices_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = maps(3, 120, 21)
    whole = fused_slices(fusion_network(), *inputs, 8.0)
    assert (whole - inputs[0]).abs().max() > 0.01
    monkeypatch.setattr(_fusion, "_PIXELS_AT_ONCE", 40 * 21)
    torch.testing.assert_close(fused_slices(fusion_network(), *inputs, 8.0), whole, atol=1e-2, rtol=1e-2)


def test_only_the_slices_asked_for_are_corrected() -> None:
    inputs = maps(4, 20, 21)
    whole, some = fused_slices(fusion_network(), *inputs, 8.0), fused_slices(fusion_network(), *inputs, 8.0, [1, 2])
    torch.testing.assert_close(some[1:3], whole[1:3], atol=1e-2, rtol=1e-2)
    assert torch.equal(some[[0, 3]], inputs[0][[0, 3]])
    z_nm = np.array([0.0, 40.0, 80.0])
    assert nodes_at(z_nm, np.array([20.0, 60.0]), 7) == (3,)
    assert nodes_at(z_nm, np.array([20.0, 60.0]), 4) == (1, 2)  # mixed from both
    assert nodes_at(z_nm, np.array([5.0, 78.0, 80.0]), 4) == (0, 3)


def test_a_gap_of_the_host_is_corrected_where_the_network_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fused(network: FusionNetwork, *inputs: torch.Tensor | float) -> torch.Tensor:
        seen.extend(one.device.type for one in inputs if isinstance(one, torch.Tensor))
        return torch.full((3, 4, 5), 7.0)

    monkeypatch.setattr(_fusion, "fused_slices", fused)
    correction = Correction(FusionNetwork().to("meta"), np.array([4.0]))
    found = correction.corrected(0, *torch.ones(3, 3, 4, 5), *torch.zeros(2, 4, 5))
    assert seen == ["meta"] * 5
    assert found.device.type == "cpu" and bool((found == 7).all())


def test_half_of_a_correction_lies_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fusion, "fused_slices", lambda network, mean, *others: mean + 4)
    for share, expected in ((1.0, 5.0), (0.5, 3.0), (0.25, 2.0)):
        correction = Correction(FusionNetwork(), np.array([4.0]), share)
        found = correction.corrected(0, *torch.ones(3, 3, 4, 5), *torch.zeros(2, 4, 5))
        np.testing.assert_allclose(found, expected)


def test_the_shipped_weights_bring_a_phantom_they_have_not_seen_nearer_to_its_truth() -> None:
    truth = sample_truth(PhantomConfig(shape=(41, 72, 88), seed=11)).unit_slices()
    observation = Observation(np.ascontiguousarray(truth[::8]), np.arange(0, 41, 8.0), (1.0, 1.0))
    hidden = [z for z in range(41) if z % 8]
    errors = []
    for correction in (0.0, 1.0):
        config = SelfPriorConfig(
            iterations=8, rotations_deg=(0.0,), mirrored=False, warm_start=True, correction=correction
        )
        interpolator = SelfPrior(config).prepare(observation)
        found = np.stack([interpolator.at(float(z)).image for z in hidden])
        errors.append(float(np.mean((found - truth[hidden]) ** 2)))
    assert errors[1] < 0.98 * errors[0]
