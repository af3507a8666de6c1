"""Drift of brightness and contrast that was put in is taken out, and can be put back."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_emgauss._errors import ConfigError
from napari_emgauss.stack import correct_intensity, original_intensity, stack_from_array

RANDOM = np.random.default_rng(11)
CLOUD = gaussian_filter(RANDOM.standard_normal((9, 40, 50)), (1, 2, 2))
CLEAN = 120 + 20 * CLOUD / CLOUD.std()
GAIN = RANDOM.uniform(0.7, 1.3, 9)
OFFSET = RANDOM.uniform(-20, 20, 9)
DRIFTING = stack_from_array((CLEAN * GAIN[:, None, None] + OFFSET[:, None, None]).astype(np.float32), (40, 4, 4))


def ends(stack: object) -> np.ndarray:
    return np.array([np.percentile(stack.slices[k], (10, 90)) for k in range(9)])  # type: ignore[attr-defined]


def test_linear_correction_evens_out() -> None:
    corrected = correct_intensity(DRIFTING)
    assert ends(DRIFTING).std(axis=0).min() > 5
    assert ends(corrected).std(axis=0).max() < 0.01
    np.testing.assert_allclose(ends(corrected)[0], np.median(ends(DRIFTING), axis=0), atol=0.01)
    assert corrected.metadata["intensity_correction"] == "linear"
    np.testing.assert_array_equal(corrected.slices[3, 2:6, 4:9], corrected.slices[3][2:6, 4:9])


def test_original_intensities_come_back() -> None:
    corrected = correct_intensity(DRIFTING)
    for k in (0, 4, 8):
        back = original_intensity(corrected, corrected.slices[k], float(corrected.z_nm[k]))
        np.testing.assert_allclose(back, DRIFTING.slices[k], atol=1e-3)
    with pytest.raises(ConfigError, match="this stack has none"):
        original_intensity(DRIFTING, DRIFTING.slices[0], 0.0)


def test_a_window_keeps_slow_changes() -> None:
    slow = CLEAN + np.linspace(0, 80, 9)[:, None, None]
    slow[4] += 30
    stack = stack_from_array(slow.astype(np.float32), (40, 4, 4))
    corrected = correct_intensity(stack, window=5)
    means = np.array([corrected.slices[k].mean() for k in range(9)])
    assert means[8] - means[0] > 50
    assert abs(means[4] - (means[3] + means[5]) / 2) < 8


def test_integers_are_clipped() -> None:
    values = np.clip(CLEAN, 0, 255).astype(np.uint8)
    values[3] //= 4
    corrected = correct_intensity(stack_from_array(values, (40, 4, 4)))
    assert corrected.slices.dtype == np.uint8
    assert abs(float(corrected.slices[3].mean()) - float(values[2].mean())) < 6


def test_histogram_matching() -> None:
    corrected = correct_intensity(DRIFTING, "histogram")
    np.testing.assert_allclose(np.sort(corrected.slices[0].ravel()), np.sort(DRIFTING.slices[4].ravel()), rtol=1e-5)


def test_clahe_raises_local_contrast() -> None:
    shade = np.linspace(0.2, 1.0, 50)
    stack = stack_from_array((CLEAN * shade).astype(np.uint8), (40, 4, 4))
    corrected = correct_intensity(stack, "clahe")
    dark = np.s_[:, :10]
    assert corrected.slices[4][dark].std() > 1.5 * stack.slices[4][dark].std()
    assert corrected.slices.dtype == np.uint8
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(corrected.slices))[2], corrected.slices[2])


def test_refuses() -> None:
    with pytest.raises(ConfigError, match="choose linear"):
        correct_intensity(DRIFTING, "gamma")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least 3"):
        correct_intensity(DRIFTING, window=2)
    with pytest.raises(ConfigError, match="clip limit"):
        correct_intensity(DRIFTING, "clahe", clip_limit=0)
