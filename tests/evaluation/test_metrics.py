from __future__ import annotations

import math

import numpy as np
import pytest

from napari_emgauss.evaluation import Scores, compare, mean_scores, psnr, ssim


def texture(seed=0, shape=(24, 30)):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def test_psnr_of_a_constant_difference_is_known():
    truth = np.full((7, 9), 0.5, np.float32)
    # mean squared error 0.1², so 10 log10(1 / 0.01) = 20 dB
    assert psnr(truth + np.float32(0.1), truth) == pytest.approx(20.0, abs=1e-4)


def test_ssim_of_flat_images_is_the_luminance_term():
    a, b = np.full((16, 20), 0.2), np.full((16, 20), 0.6)
    c1 = 0.01**2
    assert ssim(a, b) == pytest.approx((2 * 0.2 * 0.6 + c1) / (0.2**2 + 0.6**2 + c1), rel=1e-4)


def test_equal_images_score_inf_one_one():
    image = texture()
    scores = compare(image, image)
    assert scores.psnr == math.inf
    assert scores.ssim == pytest.approx(1.0)
    assert scores.fsim == pytest.approx(1.0, abs=1e-6)


def test_ssim_is_unknown_where_its_window_does_not_fit():
    assert ssim(texture(shape=(10, 40)), texture(1, shape=(10, 40))) is None
    assert ssim(texture(shape=(11, 40)), texture(1, shape=(11, 40))) is not None


def test_means_are_over_images_and_unknown_if_one_is():
    one, two = Scores(20.0, 0.5, 0.8), Scores(30.0, 0.7, 0.9)
    assert mean_scores([one, two]).psnr == pytest.approx(25.0)
    assert mean_scores([one, two]).ssim == pytest.approx(0.6)
    assert mean_scores([one, Scores(30.0, None, 0.9)]).ssim is None
    assert mean_scores([]) == Scores(None, None, None)
    assert mean_scores([one, Scores(math.inf, 1.0, 1.0)]).psnr == math.inf
