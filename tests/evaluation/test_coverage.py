"""How much of the truth lies within error bars."""

from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss.evaluation import Coverage, measured_coverage

NORMAL = {0.5: 0.6745, 0.9: 1.6449, 0.95: 1.96}


def noise(sigma: float, seed: int = 0, distance: float = 1.0, says: float | None = None) -> Coverage:
    errors = np.random.default_rng(seed).normal(0, sigma, (4, 100, 100))
    bars = np.full((100, 100), sigma if says is None else says)
    return measured_coverage(list(errors), [bars] * 4, [distance] * 4, NORMAL)


def test_bars_of_known_noise_hold_what_they_say() -> None:
    coverage = noise(7.0)
    assert coverage.overall == pytest.approx(coverage.bands, abs=0.01)
    assert coverage.worst < 0.03
    assert coverage.voxels == 40_000


def test_bars_half_as_wide_as_the_noise_hold_too_little() -> None:
    # P(|e| < 1.645 / 2 sigma) of a normal error is 0.589.
    assert noise(7.0, says=3.5).overall[1] == pytest.approx(0.589, abs=0.01)


def test_every_tenth_is_told_by_its_own_sigma() -> None:
    # The lower half of the columns has bars of 1 and errors of 0.5; the upper one bars of 10 and errors of 20.
    sigma = np.where(np.arange(100) < 50, 1.0, 10.0) * np.ones((100, 1))
    error = np.where(np.arange(100) < 50, 0.5, 20.0) * np.ones((100, 1))
    coverage = measured_coverage([error], [sigma], [1.0], NORMAL)
    assert [group.at for group in coverage.by_sigma] == pytest.approx([1.0] * 5 + [10.0] * 5)
    assert [group.inside[1] for group in coverage.by_sigma] == [1.0] * 5 + [0.0] * 5
    assert coverage.overall == (0.5, 0.5, 0.5)
    assert coverage.worst == pytest.approx(0.95)


def test_distances_are_kept_apart() -> None:
    bars = np.ones((10, 10))
    coverage = measured_coverage([bars * 0, bars * 9, bars * 0], [bars] * 3, [2.0, 1.0, 2.0], NORMAL)
    assert [(group.at, group.voxels, group.inside) for group in coverage.by_distance] == [
        (1.0, 100, (0.0, 0.0, 0.0)),
        (2.0, 200, (1.0, 1.0, 1.0)),
    ]
    told = coverage.as_dict()
    assert told["by_distance"][0] == {"distance": 1.0, "voxels": 100, "inside": [0.0, 0.0, 0.0]}
    assert told["overall"] == pytest.approx([2 / 3] * 3)
    assert set(told) == {"bands", "voxels", "overall", "by_sigma", "by_distance"}
