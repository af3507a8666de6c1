"""Uneven steps that were cut from an even volume are found again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_emgauss.stack import ThicknessEstimate, estimate_thickness, stack_from_array

CLOUD = gaussian_filter(np.random.default_rng(14).standard_normal((60, 180, 200)), 4, mode="wrap")
VOLUME = np.clip(128 + 40 * CLOUD / CLOUD.std(), 0, 255).astype(np.float32)
STEPS = np.array([2, 2, 4, 2, 3, 2, 5, 2, 2, 3, 4, 2])
CUT = np.concatenate([[0], np.cumsum(STEPS)])


def test_steps_are_found() -> None:
    nominal = float(STEPS.mean()) * 8
    stack = stack_from_array(VOLUME[CUT], (nominal, 8, 8))
    estimate = estimate_thickness(stack)
    assert estimate.reliable
    np.testing.assert_allclose(estimate.step_nm / 8, STEPS, rtol=0.25)
    np.testing.assert_allclose(estimate.z_nm[[0, -1]], stack.z_nm[[0, -1]])
    error_before = np.abs(np.diff(stack.z_nm) / 8 - STEPS).mean()
    error_after = np.abs(np.diff(estimate.z_nm) / 8 - STEPS).mean()
    assert error_after < 0.4 * error_before
    assert estimate.spread > 0.2


def test_contrast_is_no_thickness() -> None:
    even = VOLUME[::3][:12]
    changed = even * np.linspace(0.7, 1.3, 12)[:, None, None].astype(np.float32)
    first = estimate_thickness(stack_from_array(even, (24, 8, 8)))
    second = estimate_thickness(stack_from_array(changed, (24, 8, 8)))
    np.testing.assert_allclose(second.step_nm, first.step_nm, rtol=1e-3)
    assert first.spread < 0.12


def test_unrelated_slices_cannot_be_told() -> None:
    noise = np.random.default_rng(15).standard_normal((6, 64, 70))
    values = gaussian_filter(noise, (0, 2, 2)).astype(np.float32)
    estimate = estimate_thickness(stack_from_array(values, (50, 5, 5)))
    assert not estimate.reliable
    assert np.isnan(estimate.step_nm).all()
    np.testing.assert_allclose(estimate.z_nm, 50 * np.arange(6))


@pytest.mark.parametrize(("told", "reliable"), [(9, True), (8, False)])
def test_three_quarters_of_the_steps_must_be_told(told: int, reliable: bool) -> None:
    steps = np.where(np.arange(12) < told, 40.0, np.nan)
    assert ThicknessEstimate(steps, np.full(12, 40.0), np.arange(13) * 40.0).reliable is reliable
