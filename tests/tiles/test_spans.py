from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

from napari_emgauss.tiles._spans import Span, cut_pixels, cut_slices, smallest_window


def test_weight_of_a_span_by_hand() -> None:
    span = Span(0, 20, (4.0, 8.0), (12.0, 16.0))
    # Half-way through a fade a smooth step is 1/2, a quarter of the way 3/16 - 2/64 = 5/32.
    assert span.weight([4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 16.0]) == pytest.approx([0, 5 / 32, 0.5, 1, 1, 0.5, 0])


def test_pixels_are_cut_evenly_with_a_halo() -> None:
    low, high = cut_pixels(130, 100, 8)
    assert (low.start, low.stop) == (0, 65 + 8)
    assert (high.start, high.stop) == (65 - 8, 130)
    # Three quarters of the halo: the outermost two pixels of a tile are not shown.
    assert low.fade_in is None
    assert low.fade_out == high.fade_in == (59.0, 71.0)
    assert high.fade_out is None


def test_what_fits_is_not_cut() -> None:
    assert cut_pixels(100, 100, 8) == (Span(0, 100, None, None),)
    assert cut_slices(np.arange(5.0), 5, 2) == (Span(0, 5, None, None),)


def test_slices_are_cut_with_shared_slices_and_fade_over_their_depths() -> None:
    z_nm = np.array([0.0, 10, 25, 30, 50, 60, 75])
    low, high = cut_slices(z_nm, 5, 2)
    assert (low.start, low.stop, high.start, high.stop) == (0, 4, 2, 7)
    assert low.fade_out == high.fade_in == (25.0, 30.0)


def test_with_one_shared_slice_one_window_hands_over_to_the_next() -> None:
    low, high = cut_slices(np.arange(5.0), 3, 1)
    assert (low.stop, high.start) == (3, 2)
    at = [1.5, 2.0, 2.5]
    assert low.weight(at).tolist() == [1, 0, 0]
    assert high.weight(at).tolist() == [0, 1, 1]


@given(st.integers(1, 700), st.integers(1, 20), st.integers(0, 200))
def test_weights_of_pixels_sum_to_one_inside_tiles(length: int, halo: int, more: int) -> None:
    largest = 4 * halo + more
    spans = cut_pixels(length, largest, halo)
    at = np.linspace(0, length, 997)
    weights = np.stack([span.weight(at) for span in spans])
    assert weights.sum(0) == pytest.approx(1, abs=1e-6)
    assert max(len(span) for span in spans) <= largest + 2 * halo
    for span, weight in zip(spans, weights, strict=True):
        seen = at[weight > 0]
        assert span.start <= seen.min() and seen.max() <= span.stop


@given(st.integers(2, 300), st.integers(1, 5), st.integers(0, 30), st.randoms())
def test_weights_of_slices_sum_to_one_inside_windows(count: int, overlap: int, more: int, random: object) -> None:
    z_nm = np.cumsum(np.random.default_rng(count).uniform(1, 9, count))
    largest = smallest_window(overlap) + more
    spans = cut_slices(z_nm, largest, overlap)
    at = np.concatenate([np.linspace(z_nm[0], z_nm[-1], 499), z_nm])
    weights = np.stack([span.weight(at) for span in spans])
    assert weights.sum(0) == pytest.approx(1, abs=1e-6)
    assert max(len(span) for span in spans) <= largest
    for before, after in pairwise(spans):
        assert before.stop - after.start == overlap
    for span, weight in zip(spans, weights, strict=True):
        seen = at[weight > 0]
        assert z_nm[span.start] <= seen.min() and seen.max() <= z_nm[span.stop - 1]
