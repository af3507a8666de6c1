"""Isotropic depths by hand."""

from __future__ import annotations

import pytest

from napari_emgauss._errors import DepthError
from napari_emgauss.volume import aligned_spacing, isotropic_depths


def test_both_ends_are_included() -> None:
    assert isotropic_depths([0, 40, 80], 10).tolist() == [0, 10, 20, 30, 40, 50, 60, 70, 80]


def test_nearest_whole_number_of_steps() -> None:
    depths = isotropic_depths([100, 150, 200], 46)  # 100 / 46 = 2.17 -> 2 steps of 50
    assert depths.tolist() == [100, 150, 200]
    assert len(isotropic_depths([0, 50], 4.6)) == 12  # 10.87 -> 11 steps


def test_range() -> None:
    assert isotropic_depths([0, 40, 80], 10, (15, 45)).tolist() == [15, 25, 35, 45]


def test_rounded_ends_are_forgiven() -> None:
    assert isotropic_depths([0, 40, 80], 10, (-1e-8, 80 + 1e-8))[[0, -1]].tolist() == [0, 80]


@pytest.mark.parametrize(
    ("spacing", "z_range", "match"),
    [
        (0, None, "positive"),
        (-1, None, "positive"),
        (float("nan"), None, "positive"),
        (200, None, "larger than the z range"),
        (1e-9, None, "choose a larger one"),
        (10, (-5, 40), "0 to 80 nm"),
        (10, (40, 90), "0 to 80 nm"),
        (10, (40, 40), "0 to 80 nm"),
        (10, (40, 20), "0 to 80 nm"),
        (10, (float("nan"), 20), "0 to 80 nm"),
    ],
)
def test_refuses(spacing: float, z_range: tuple[float, float] | None, match: str) -> None:
    with pytest.raises(DepthError, match=match):
        isotropic_depths([0, 40, 80], spacing, z_range)


def test_aligned_spacing() -> None:
    assert aligned_spacing([0, 50, 100], 4.6) == pytest.approx(50 / 11)
    assert aligned_spacing([0, 50, 110], 4.6) == 4.6
    assert aligned_spacing([0, 4, 8], 10) == 4


def test_what_lies_beyond_the_end_by_more_than_rounding_is_refused() -> None:
    z_nm = [0.0, 40.0, 80.0]
    assert isotropic_depths(z_nm, 4.0, (0.0, 80.0 + 1e-8))[-1] == 80.0  # a depth typed by hand
    with pytest.raises(DepthError, match="does not lie within the observed slices"):
        isotropic_depths(z_nm, 4.0, (0.0, 80.01))
