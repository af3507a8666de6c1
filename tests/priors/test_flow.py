from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from napari_emgauss._errors import ConfigError
from napari_emgauss.priors import interpolate_ensemble, interpolate_flow, interpolate_linear, optical_flow

SHIFT = (2.0, -3.0)
DEPTHS_NM = np.array([0.0, 40.0])


@pytest.fixture(scope="module")
def moved() -> np.ndarray:
    """Two slices of a soft texture, the second moved by ``SHIFT`` pixels (y, x), and the true middle."""
    texture = gaussian_filter(np.random.default_rng(0).standard_normal((64, 72)), 3, mode="wrap")
    texture = 0.5 + 0.2 * texture / texture.std()
    frames = [shift(texture, np.multiply(SHIFT, part), order=3, mode="grid-wrap") for part in (0, 0.5, 1)]
    return np.stack(frames).astype(np.float32)


def inner(image: np.ndarray) -> np.ndarray:
    return image[..., 8:-8, 8:-8]


def test_flow_finds_a_translation(moved: np.ndarray) -> None:
    flow = optical_flow(moved[0], moved[2])
    assert flow.shape == (2, 64, 72)
    np.testing.assert_allclose(np.median(inner(flow), axis=(1, 2)), SHIFT, atol=0.15)


def test_flow_interpolation_follows_what_linear_fades(moved: np.ndarray) -> None:
    pair = moved[[0, 2]]
    flow_error = np.sqrt(np.mean(inner(interpolate_flow(pair, DEPTHS_NM, 20.0)[0] - moved[1]) ** 2))
    linear_error = np.sqrt(np.mean(inner(interpolate_linear(pair, DEPTHS_NM, 20.0)[0] - moved[1]) ** 2))
    assert flow_error < 0.25 * linear_error


def test_flow_returns_the_slices_themselves_at_their_depths(moved: np.ndarray) -> None:
    pair = moved[[0, 2]]
    np.testing.assert_allclose(interpolate_flow(pair, DEPTHS_NM, DEPTHS_NM), pair, atol=1e-6)


def test_ensemble_is_the_mean_of_its_parts(moved: np.ndarray) -> None:
    pair = moved[[0, 2]]
    smooth = np.stack([gaussian_filter(image, 0.8) for image in pair])
    parts = interpolate_linear(smooth, DEPTHS_NM, 10.0) + interpolate_flow(smooth, DEPTHS_NM, 10.0, blurred=True)
    np.testing.assert_allclose(interpolate_ensemble(pair, DEPTHS_NM, 10.0), parts / 2, atol=1e-6)


def test_unknown_method_and_missing_opencv_say_what_to_do(moved: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="tvl1, dis"):
        optical_flow(moved[0], moved[2], "horn")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match="opencv-python-headless"):
        optical_flow(moved[0], moved[2], "dis")


def test_dis_agrees_with_the_translation(moved: np.ndarray) -> None:
    pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    flow = optical_flow(moved[0], moved[2], "dis")
    np.testing.assert_allclose(np.median(inner(flow), axis=(1, 2)), SHIFT, atol=0.3)
