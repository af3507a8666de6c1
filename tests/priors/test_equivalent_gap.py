"""The distance at which tissue changes as much as from slice to slice, on volumes where it is known."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_emgauss.priors._equivalent_gap import LONGEST, SHORTEST, equivalent_gap_ratio


def _isotropic(shape: tuple[int, int, int], z_stretch: float = 1.0) -> np.ndarray:
    """Smooth noise whose grains are ``z_stretch`` times as long along z as in plane."""
    noise = np.random.default_rng(0).standard_normal(shape)
    return gaussian_filter(noise, (6 * z_stretch, 6, 6), mode="wrap").astype(np.float32)


def test_isotropic_tissue_keeps_its_gap() -> None:
    kept = _isotropic((160, 120, 140))[::5]
    assert abs(equivalent_gap_ratio(kept, np.full(31, 5.0)) - 1) < 0.06


def test_tissue_that_changes_faster_along_z_is_further_apart() -> None:
    kept = _isotropic((160, 120, 140), z_stretch=1 / 1.06)[::5]
    assert abs(equivalent_gap_ratio(kept, np.full(31, 5.0)) - 1.06) < 0.03


def test_the_ratio_keeps_to_its_limits() -> None:
    shuffled = np.random.default_rng(0).permutation(_isotropic((160, 120, 140)))[::5]
    assert equivalent_gap_ratio(shuffled, np.full(31, 5.0)) == LONGEST
    along_fibres = np.repeat(_isotropic((2, 120, 140))[:1], 32, axis=0)
    assert equivalent_gap_ratio(along_fibres, np.full(31, 5.0)) == SHORTEST


def test_flicker_is_not_distance() -> None:
    kept = _isotropic((160, 120, 140))[::5]
    flicker = np.random.default_rng(1).normal(0, 3 * kept.std(), len(kept)).astype(np.float32)
    steady = equivalent_gap_ratio(kept, np.full(31, 5.0))
    assert abs(equivalent_gap_ratio(kept + flicker[:, None, None], np.full(31, 5.0)) - steady) < 1e-3
