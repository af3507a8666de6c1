"""How large errors are to be expected, told by slices that were hidden."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_emgauss.priors import (
    ErrorLaw,
    Observation,
    PseudoLabel,
    confidence_at,
    error_laws,
    get_prior,
    hidden_law,
    hide_slices,
    place_in_gap,
)
from napari_emgauss.priors._error_law import PredictedError
from napari_emgauss.priors._error_trial import predicted_law


def tissue(noise: float = 0.02, step: int = 4) -> tuple[np.ndarray, Observation]:
    """A volume alike in all directions, and every ``step``-th slice of it."""
    random = np.random.default_rng(0)
    volume = gaussian_filter(random.standard_normal((97, 96, 104)), 3.0, mode="wrap")
    volume = 0.5 + 0.1 * volume / volume.std() + noise * random.standard_normal(volume.shape)
    volume = volume.astype(np.float32)
    kept = np.ascontiguousarray(volume[::step])
    return volume, Observation(kept, 5.0 * step * np.arange(len(kept)), (5.0, 5.0))


@pytest.mark.parametrize("name", ["linear", "linear+blur", "ensemble"])
def test_priors_that_predict_nothing_get_bars_from_residuals(name: str) -> None:
    volume, observation = tissue()
    prior = get_prior(name)
    ready = prior.prepare(observation)
    laws = error_laws(prior, observation.images, observation.z_nm, observation.pixel_size_nm, ready)
    assert laws is not None
    (law,) = laws
    widths = dict(law.bands)
    inside = {0.5: [], 0.9: []}
    ratios = {}
    for k in [k for k in range(96) if k % 4]:
        depth = 5.0 * k
        label = ready.at(depth)
        squared = law.squared_error(confidence_at(label, observation, depth), place_in_gap(observation.z_nm, depth))
        error = np.abs(label.image - volume[k])
        for band, shares in inside.items():
            shares.append(np.mean(error < widths[band] * np.sqrt(squared)))
        ratios.setdefault(min(k % 4, 4 - k % 4), []).append(np.mean(error**2) / squared.mean())
    assert np.mean(inside[0.5]) == pytest.approx(0.5, abs=0.05)
    assert np.mean(inside[0.9]) == pytest.approx(0.9, abs=0.04)
    assert np.mean(ratios[2]) == pytest.approx(1.0, abs=0.25)


def test_a_prior_that_predicts_half_its_error_is_corrected_by_what_hidden_slices_say() -> None:
    random = np.random.default_rng(1)
    confidence = np.where(np.arange(64) < 32, 1.0, 0.25).astype(np.float32) * np.ones((64, 1), np.float32)
    truth = np.zeros((5, 64, 64), np.float32)
    # It says 0.01 where it is sure and 0.04 elsewhere; in truth the squares are twice that.
    errors = random.normal(0, np.sqrt(0.02 / confidence), truth.shape).astype(np.float32)
    labels = [PseudoLabel(error, confidence) for error in errors]
    law = predicted_law(labels, truth, PredictedError(0.01))
    assert law is not None
    settled = law.settled(PredictedError(0.01))
    assert settled is not None
    assert settled.squared_error(np.array([1.0, 0.25]), 0.3) == pytest.approx([0.02, 0.08], rel=0.05)
    assert dict(law.bands)[0.5] == pytest.approx(0.674, abs=0.03)
    assert dict(law.bands)[0.9] == pytest.approx(1.645, abs=0.05)
    assert law.settled(None) is None


def test_one_hidden_slice_that_nobody_could_restore_does_not_widen_all_bars() -> None:
    random = np.random.default_rng(2)
    errors = random.normal(0, 0.1, (9, 48, 48)).astype(np.float32)
    errors[4] *= 20
    sure = np.ones((48, 48), np.float32)
    law = predicted_law([PseudoLabel(one, sure) for one in errors], np.zeros_like(errors), PredictedError(0.01))
    assert law is not None
    assert law.squared == pytest.approx((8 + 4) / 9, rel=0.05)  # the outlier counts as four times the median
    assert dict(law.bands)[0.9] < 1.645


def test_less_confidence_never_means_a_smaller_error() -> None:
    confidence = np.linspace(1.0, 0.0, 200)
    rising = ErrorLaw(1.0, ((0.1, 0.5), (0.5, 1.0)), ((1.0, 0.01), (1.5, 0.02), (8.0, 0.02)), surest=0.8)
    for law in (ErrorLaw(0.01, surest=0.8), rising):
        for place in (0.1, 0.3, 0.5):
            assert (np.diff(law.squared_error(confidence, place)) >= 0).all()
    assert ErrorLaw(0.01, surest=0.8).squared_error(np.array([1.0]), 0.5) == pytest.approx(0.008)
    assert rising.squared_error(np.array([1.0]), 0.3) == pytest.approx(0.75 * 0.01)


def test_a_law_survives_json_and_nonsense_is_refused() -> None:
    law = ErrorLaw(0.01, ((0.25, 0.7), (0.5, 1.0)), ((1.0, 0.1), (2.0, 0.3)), surest=0.9)
    assert ErrorLaw.from_json(law.to_json()) == law
    for change in (
        {"squared": float("nan")},
        {"levels": []},
        {"shape": [[2.0, 1.0], [1.0, 2.0]]},
        {"bands": [[0.5, 0.7]]},
        {"surest": 2.0},
    ):
        with pytest.raises(ValueError):
            ErrorLaw.from_json({**law.to_json(), **change})


def test_two_slices_leave_none_to_hide() -> None:
    _, observation = tissue()
    two = Observation(observation.images[:2], observation.z_nm[:2], observation.pixel_size_nm)
    assert hide_slices(two, 41, 256) is None
    assert hidden_law(get_prior("linear"), two) is None


def test_slices_that_are_all_alike_have_no_error_to_tell() -> None:
    flat = Observation(np.full((5, 40, 40), 0.5, np.float32), 20.0 * np.arange(5), (5.0, 5.0))
    assert hidden_law(get_prior("linear"), flat) is None


def test_slices_too_small_for_their_gaps_have_none() -> None:
    _, observation = tissue()
    small = Observation(observation.images[:, :9, :9], observation.z_nm * 3, observation.pixel_size_nm)
    assert hidden_law(get_prior("linear"), small) is None
