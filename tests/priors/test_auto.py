from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_emgauss import ProgressUpdate
from napari_emgauss._errors import ConfigError
from napari_emgauss.priors import Observation, PseudoLabel, SelfPriorConfig, _auto, get_prior, hide_slices
from napari_emgauss.priors._auto import (
    AutoPriorConfig,
    WeightedInterpolator,
    _self_weight,
    choose_prior,
)
from napari_emgauss.priors._error_law import PredictedError
from napari_emgauss.priors._learned_trial import most_that_pays
from napari_emgauss.priors._merit import Structure, mean_score, merit
from napari_emgauss.priors.classical import _carried
from napari_emgauss.priors.learned import _fusion

LEARNED = SelfPriorConfig(iterations=150, channels=(12, 16), rotations_deg=(0.0,), device="cpu")


def textured(sigma_z: float, slices: int = 9, step: int = 2) -> Observation:
    """Slices ``step`` pixels apart of a texture as coarse along z as ``sigma_z`` says (2.2 is isotropic)."""
    noise = np.random.default_rng(0).standard_normal(((slices - 1) * step + 1, 40, 46))
    volume = gaussian_filter(noise, (sigma_z, 2.2, 2.2), mode="wrap")
    volume = (0.5 + 0.15 * volume / volume.std()).astype(np.float32)
    return Observation(np.ascontiguousarray(volume[::step]), 4.0 * step * np.arange(slices), (4.0, 4.0))


def test_isotropic_tissue_gets_the_self_supervised_prior() -> None:
    choice = choose_prior(textured(2.2), AutoPriorConfig(LEARNED))
    assert choice.weights["self"] > 0.5
    assert choice.hidden_slices == 4
    assert choice.scores["self"]["psnr"] > choice.scores["linear"]["psnr"]
    assert "4 hidden slices" in choice.note


def test_fibres_along_z_fall_back_to_a_classical_prior() -> None:
    observation = textured(60.0, step=8)
    told: list[ProgressUpdate] = []
    interpolator = get_prior("auto", iterations=90, channels=(12, 16), device="cpu").prepare(
        observation, on_progress=told.append
    )
    assert "self" not in interpolator.report["weights"]
    assert interpolator.report["scores"]["self"]["psnr"] < interpolator.report["scores"]["linear"]["psnr"]
    json.dumps(interpolator.report)
    middle = interpolator.at(12.0 * 4)
    assert np.abs(middle.image - (observation.images[1] + observation.images[2]) / 2).max() < 0.05
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_short_and_small_stacks_are_answered() -> None:
    whole = textured(2.2, slices=3)
    two = Observation(whole.images[:2], whole.z_nm[:2], whole.pixel_size_nm)
    assert choose_prior(two, AutoPriorConfig(LEARNED)).weights == {"linear+blur": 1.0}
    small = Observation(whole.images[:, :9, :10], whole.z_nm * 10, whole.pixel_size_nm)
    choice = choose_prior(small, AutoPriorConfig(LEARNED))
    assert "self" not in choice.weights
    assert "cannot be used" in choice.note


def test_trial_takes_the_middle_of_big_stacks() -> None:
    observation = textured(2.2)
    hidden = hide_slices(observation, 5, 20)
    assert hidden is not None
    np.testing.assert_array_equal(hidden.piece.images, observation.images[2:7, 10:30, 13:33])
    np.testing.assert_array_equal(hidden.piece.z_nm, observation.z_nm[2:7])
    np.testing.assert_array_equal(hidden.thinned.images, hidden.piece.images[::2])
    np.testing.assert_array_equal(hidden.truth, hidden.piece.images[[1, 3]])


def test_mixtures_are_used_only_where_they_are_clearly_better() -> None:
    random = np.random.default_rng(0)
    truth, noise, other = random.random((3, 2, 12, 13), dtype=np.float32)
    bad, worse = truth + 0.2 * noise - 0.1, truth + 0.22 * other - 0.11  # independent errors: a mean halves them
    assert _self_weight(bad, worse, truth, 0.05) in (0.4, 0.6)
    assert _self_weight(bad, worse, truth, 100.0) == 1
    assert _self_weight(worse, bad, truth, 100.0) == 0
    assert _self_weight(truth, bad, truth, 0.05) == 1
    assert _self_weight(bad, truth, truth, 0.05) == 0


def test_merit_counts_psnr_and_ssim() -> None:
    assert merit({"psnr": 25.0, "ssim": 0.5}) == 33
    assert merit({"psnr": 25.0}) == 25


def test_weighted_mean_of_interpolators() -> None:
    class Constant:
        def __init__(self, grey: float, confidence: float | None) -> None:
            self.label = PseudoLabel(
                np.full((2, 3), grey, np.float32),
                None if confidence is None else np.full((2, 3), confidence, np.float32),
            )

        def at(self, z_nm: float) -> PseudoLabel:
            return self.label

    label = WeightedInterpolator([(0.25, Constant(0.8, 0.4)), (0.75, Constant(0.4, None))], {}).at(0.0)
    np.testing.assert_allclose(label.image, 0.5, rtol=1e-6)
    assert label.confidence is not None
    np.testing.assert_allclose(label.confidence, 0.85, rtol=1e-6)


def test_the_confidence_of_a_mean_is_that_of_the_part_that_predicts_its_error() -> None:
    """The agreement of two slices, in other units, would make it sure or unsure where it is not."""

    class Part:
        def __init__(self, confidence: float, predicted: PredictedError | None) -> None:
            self.label = PseudoLabel(np.zeros((2, 3), np.float32), np.full((2, 3), confidence, np.float32))
            self.predicted_error = predicted

        def at(self, z_nm: float) -> PseudoLabel:
            return self.label

    mean = WeightedInterpolator([(0.4, Part(0.3, PredictedError(0.01))), (0.6, Part(0.9, None))], {})
    confidence = mean.at(0.0).confidence
    assert confidence is not None
    np.testing.assert_allclose(confidence, 0.3, rtol=1e-6)
    assert mean.predicted_error == PredictedError(0.01)


def test_no_more_is_learned_than_leaves_structure() -> None:
    random = np.random.default_rng(0)
    truth, noise = random.random((2, 2, 12, 13), dtype=np.float32)
    good, bad = truth + 0.1 * noise, truth + 0.3 * noise
    assert _self_weight(good, bad, truth, 0.0) == 1
    # The share of the learned guess may be told from any of its pixels.
    for most in (0.4, 0.0):
        least = good + np.float32(1 - most) * (bad - good) - np.float32(1e-6)

        def keeps(mixture: np.ndarray, least: np.ndarray = least) -> bool:
            return bool((mixture >= least).all())

        assert _self_weight(good, bad, truth, 0.0, keeps) == most


def test_structure_is_lost_to_blur() -> None:
    truth = textured(2.2).images
    structure = Structure(truth)
    assert structure.of(truth) == pytest.approx(1)
    found = [structure.of(gaussian_filter(truth, (0, sigma, sigma))) for sigma in (1, 2, 4)]
    assert 1 > found[0] > found[1] > found[2]


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 or more"):
        get_prior("auto", mixing_margin=-1.0)
    with pytest.raises(ConfigError, match="a share of structure from 0 to 1"):
        get_prior("auto", least_structure=1.5)
    with pytest.raises(ConfigError, match="at least 3 slices"):
        get_prior("auto", trial_slices=1)
    with pytest.raises(ConfigError, match="does not take these options"):
        get_prior("auto", colour="blue")


def test_less_correction_is_made_only_where_that_is_clearly_better() -> None:
    random = np.random.default_rng(0)
    truth, noise = random.random((2, 2, 12, 13), dtype=np.float32)
    guesses = {1.0: truth + 0.2 * noise, 0.5: truth + 0.1 * noise, 0.0: truth + 0.3 * noise}

    def chosen(guesses: dict[float, np.ndarray], margin: float) -> float:
        return most_that_pays({share: mean_score(guess, truth) for share, guess in guesses.items()}, margin)

    assert chosen(guesses, 0.05) == 0.5
    assert chosen(guesses, 100.0) == 1.0
    assert chosen({0.6: truth + noise, 0.3: truth + noise, 0.0: truth}, 0.05) == 0.0


@pytest.mark.parametrize(("harm", "kept"), [(0.0, LEARNED.correction), (0.4, 0.0)])
def test_a_correction_that_does_harm_is_left_out(monkeypatch: pytest.MonkeyPatch, harm: float, kept: float) -> None:
    def stained(network: object, mean: torch.Tensor, *others: object) -> torch.Tensor:
        stain = torch.rand(mean.shape, generator=torch.Generator().manual_seed(0))
        return mean + harm * stain

    monkeypatch.setattr(_fusion, "fused_slices", stained)
    monkeypatch.setattr(_auto, "_self_weight", lambda *arguments: 1.0)
    config = replace(LEARNED, iterations=12, carried=0.0)
    choice = choose_prior(textured(2.2), AutoPriorConfig(config, trial_iterations=4))
    assert choice.learned == replace(config, correction=kept)
    assert ("0% of self's correction" in choice.note) == (kept == 0)
    settings = {"iterations": 12, "trial_iterations": 4, "channels": (12, 16), "carried": 0.0, "device": "cpu"}
    interpolator = get_prior("auto", **settings).prepare(textured(2.2))
    assert interpolator.report["parts"]["self"]["correction"] == kept


@pytest.mark.parametrize("harm", [0.0, 0.4])
def test_carried_slices_that_do_harm_are_left_out(monkeypatch: pytest.MonkeyPatch, harm: float) -> None:
    def stained(above: torch.Tensor, below: torch.Tensor, inferred: torch.Tensor) -> torch.Tensor:
        return inferred + harm * torch.rand(inferred.shape, generator=torch.Generator().manual_seed(0))

    monkeypatch.setattr(_fusion, "fused_slices", lambda network, mean, *others: mean)
    monkeypatch.setattr(_carried, "carried_slices", stained)
    monkeypatch.setattr(_auto, "_self_weight", lambda *arguments: 1.0)
    config = replace(LEARNED, iterations=12)
    choice = choose_prior(textured(2.2), AutoPriorConfig(config, trial_iterations=4))
    assert choice.learned.carried == (config.carried if harm == 0 else 0.0)
    assert ("without carried slices" in choice.note) == (harm > 0)


def test_no_correction_is_tried_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(*arguments: object) -> torch.Tensor:
        raise AssertionError("a correction was made")

    monkeypatch.setattr(_fusion, "fused_slices", unwanted)
    config = replace(LEARNED, iterations=12, correction=0.0)
    choice = choose_prior(textured(2.2), AutoPriorConfig(config, trial_iterations=4))
    assert choice.learned.correction == 0 and "self" in choice.scores
