from __future__ import annotations

import math

import numpy as np
import pytest

from napari_emgauss.evaluation import mean_over_slices
from napari_emgauss.evaluation._intervals import MOST_BATCHES, psnr_over_slices


def test_three_slices_have_students_interval():
    # s = 1, sqrt(3) batches, t(0.975, 2) = 4.30265
    found = mean_over_slices([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.half_width == pytest.approx(4.30265 / math.sqrt(3), abs=1e-4)
    assert found.text(2) == "2.00 ±2.48"


def test_slices_of_one_gap_are_one_batch():
    # Two gaps with means 1 and 3: s = sqrt(2), t(0.975, 1) = 12.7062.
    found = mean_over_slices([0.0, 2.0, 2.0, 4.0], groups=[5, 5, 6, 6])
    assert found.half_width == pytest.approx(12.7062, abs=1e-3)
    assert mean_over_slices([0.0, 2.0], groups=[1, 1]).half_width is None


def test_long_series_are_cut_into_batches_of_neighbours():
    values = np.repeat(np.arange(MOST_BATCHES, dtype=float), 10)
    each = mean_over_slices(list(range(MOST_BATCHES)))
    assert mean_over_slices(values.tolist()).half_width == pytest.approx(each.half_width)


def test_correlated_slices_are_covered_as_often_as_promised():
    rng = np.random.default_rng(0)
    covered = single = 0
    for _ in range(400):
        # Thirty gaps of seven slices that share most of what they are.
        values = (rng.standard_normal(30)[:, None] + 0.3 * rng.standard_normal((30, 7))).ravel()
        found = mean_over_slices(values.tolist(), np.repeat(np.arange(30), 7).tolist())
        covered += found.low <= 0 <= found.high
        single += abs(values.mean()) <= 1.96 * values.std() / math.sqrt(values.size)
    assert 0.92 <= covered / 400 <= 0.98
    assert single / 400 < 0.7  # what an interval from single slices would have covered


def test_what_was_not_measured_everywhere_is_unknown():
    assert mean_over_slices([1.0, None]).mean is None
    assert mean_over_slices([]).text(2) == "-"
    assert mean_over_slices([math.inf, math.inf, math.inf]).text(2) == "inf"


def test_decibels_of_a_volume_are_those_of_its_mean_error():
    found = psnr_over_slices([0.01, 0.03])
    assert found.mean == pytest.approx(-10 * math.log10(0.02))
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert psnr_over_slices([0.0, 0.0]).mean == math.inf
