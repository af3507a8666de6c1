from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss._errors import DepthError
from napari_emgauss.priors import blur_slices, interpolate_cubic, interpolate_linear, interpolate_nearest
from napari_emgauss.priors.classical._pixelwise import cubic_weights, locate_gap

UNEVEN_NM = np.array([0.0, 10.0, 40.0, 50.0, 75.0])


def stack_of(function) -> np.ndarray:
    """Slices (5, 3, 4) whose pixels follow ``function(z)`` times a factor of their own."""
    factors = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    return (function(UNEVEN_NM)[:, None, None] * factors).astype(np.float32)


def test_locate_gap_on_uneven_depths() -> None:
    assert locate_gap(UNEVEN_NM, 0.0) == (0, 0.0)
    assert locate_gap(UNEVEN_NM, 10.0) == (1, 0.0)
    assert locate_gap(UNEVEN_NM, 25.0) == (1, 0.5)
    assert locate_gap(UNEVEN_NM, 75.0) == (3, 1.0)


def test_locate_gap_forgives_rounding_and_refuses_outside() -> None:
    assert locate_gap(UNEVEN_NM, 75.0 + 1e-9) == (3, 1.0)
    with pytest.raises(DepthError, match="between 0 and 75 nm"):
        locate_gap(UNEVEN_NM, 76.0)
    with pytest.raises(DepthError):
        locate_gap(UNEVEN_NM, float("nan"))


def test_nearest_takes_the_closer_slice_and_the_lower_one_at_mid_gap() -> None:
    images = stack_of(lambda z: z)
    out = interpolate_nearest(images, UNEVEN_NM, [24.9, 25.0, 60.0])
    np.testing.assert_array_equal(out, images[[1, 2, 3]])


def test_linear_is_exact_for_a_line() -> None:
    images = stack_of(lambda z: 2 * z + 1)
    out = interpolate_linear(images, UNEVEN_NM, [5.0, 33.0, 75.0])
    assert out.shape == (3, 3, 4)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[:, 0, 0], [11, 67, 151], rtol=1e-6)


def test_cubic_is_exact_for_a_cubic_and_linear_is_not() -> None:
    def curve(z: np.ndarray) -> np.ndarray:
        return (z / 50) ** 3 - z / 100

    images = stack_of(curve)
    depths = np.array([3.0, 25.0, 60.0])
    np.testing.assert_allclose(interpolate_cubic(images, UNEVEN_NM, depths)[:, 0, 1], 2 * curve(depths), rtol=2e-4)
    assert abs(interpolate_linear(images, UNEVEN_NM, 25.0)[0, 0, 1] - 2 * curve(np.array(25.0))) > 0.01


@pytest.mark.parametrize("slices", [2, 3, 4])
def test_cubic_weights_sum_to_one_for_few_slices(slices: int) -> None:
    weights = cubic_weights(UNEVEN_NM[:slices], [1.0, 9.0])
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("function", [interpolate_nearest, interpolate_linear, interpolate_cubic])
def test_observed_depths_return_the_observed_slices(function) -> None:
    images = np.random.default_rng(3).random((5, 6, 7), dtype=np.float32)
    np.testing.assert_allclose(function(images, UNEVEN_NM, UNEVEN_NM), images, atol=1e-6)


def test_blur_keeps_slices_apart_and_the_mean() -> None:
    images = np.zeros((3, 9, 11), dtype=np.float32)
    images[1, 4, 5] = 1
    blurred = blur_slices(images)
    assert blurred[0].max() == 0
    assert blurred[1].sum() == pytest.approx(1, abs=1e-4)
    assert blurred[1, 4, 5] == pytest.approx(1 / (2 * np.pi * 0.8**2), rel=0.06)  # the sampled Gaussian's peak
