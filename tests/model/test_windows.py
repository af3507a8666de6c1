"""Depth windows cover the stack, and their weights sum to 1 everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss.model._windows import depth_windows, knots_of

UNEVEN = np.cumsum(np.r_[0.0, np.tile([1.0, 1.0, 3.0], 7)])
UNEVEN = UNEVEN / UNEVEN[-1]


@pytest.mark.parametrize("window_slices", [3, 5, 8, None])
def test_weights_sum_to_one_and_change_smoothly(window_slices: int | None) -> None:
    windows = depth_windows(UNEVEN, window_slices)
    t = np.linspace(0, 1, 2001)
    weights = np.array([[window.weight(v) for window in windows] for v in t])
    assert weights.sum(axis=1) == pytest.approx(1.0)
    assert np.abs(np.diff(weights, axis=0)).max() < 0.05
    # A cloud is only asked where it has knots.
    for window, weight in zip(windows, weights.T, strict=True):
        seen = t[weight > 0]
        assert UNEVEN[window.first] <= seen.min() and seen.max() <= UNEVEN[window.last]


def test_windows_share_a_slice_and_reach_beyond_it() -> None:
    t = np.linspace(0, 1, 9)
    first, second = depth_windows(t, 5)
    assert (first.first, first.last, second.first, second.last) == (0, 5, 3, 8)
    assert first.weight(t[4]) == pytest.approx(0.5) == second.weight(t[4])
    assert first.weight(t[3]) == 1.0 and second.weight(t[5]) == 1.0


def test_short_stacks_have_one_window() -> None:
    assert len(depth_windows(np.linspace(0, 1, 6), 5)) == 1
    assert depth_windows(np.linspace(0, 1, 6), None)[0].weight(0.3) == 1.0


def test_knots_follow_uneven_slices() -> None:
    t = np.array([0.0, 0.2, 1.0])
    (window,) = depth_windows(t, None)
    assert knots_of(t, window, 2) == pytest.approx([0.0, 0.1, 0.2, 0.6, 1.0])
