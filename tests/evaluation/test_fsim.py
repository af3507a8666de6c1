"""FSIM against values of piq, the implementation that the literature uses.

The expected values are ``piq.fsim(image, truth, chromatic=False, data_range=1.0)`` of piq 0.8.0 in float64, on the
patterns below. piq itself is no dependency: importing it needs a torchvision that matches torch to the build.
"""

from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss._fsim import compare_features, fsim, image_features


def pattern(height, width, phase):
    """Rings, stripes and grain, from formulas alone so that any implementation can be given the same image."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    rings = np.sin(np.hypot(y - 0.4 * height, x - 0.6 * width) / 3 + phase)
    stripes = np.cos(0.31 * x - 0.17 * y + 2 * phase)
    grain = np.sin(12.9898 * x + 78.233 * y) * 43758.5453
    return (0.5 + 0.25 * rings + 0.15 * stripes + 0.1 * (grain - np.floor(grain) - 0.5)).astype(np.float32)


@pytest.mark.parametrize(
    ("height", "width", "phase", "expected"),
    [
        (64, 96, 0.5, 0.914455),  # even
        (97, 121, 1.0, 0.760096),  # odd: frequencies are divided by size - 1
        (63, 50, 0.2, 0.946946),
        (390, 402, 0.7, 0.796450),  # large enough to be halved first
        (250, 250, 3.0, 0.801135),
    ],
)
def test_agrees_with_piq(height, width, phase, expected):
    assert fsim(pattern(height, width, phase), pattern(height, width, 0.0)) == pytest.approx(expected, abs=2e-5)


def test_equal_images_score_one_and_others_less():
    image = pattern(48, 40, 0.0)
    assert fsim(image, image) == pytest.approx(1.0, abs=1e-6)
    noise = np.random.default_rng(0).normal(0, 0.2, image.shape).astype(np.float32)
    a_little, much = fsim(image + 0.2 * noise, image), fsim(image + noise, image)
    assert much < a_little < 1


def test_flat_images_are_alike():
    flat = np.full((32, 40), 0.25, np.float32)
    assert fsim(flat, flat) == pytest.approx(1.0)


def test_kept_features_give_the_same_score():
    image, truth = pattern(50, 60, 0.4), pattern(50, 60, 0.0)
    assert compare_features(image_features(image), image_features(truth)) == fsim(image, truth)
    assert image_features(pattern(515, 770, 0.0)).gradient.shape == (257, 385)  # halved, the odd row left out
