from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss.evaluation import METRICS, gmsd, haarpsi, metric_row


def pair(shape):
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: shape[0], : shape[1]]
    truth = (0.5 + 0.3 * np.sin(x / 5.0) * np.cos(y / 7.0)).astype(np.float32)
    return np.clip(truth + 0.1 * rng.standard_normal(shape), 0, 1).astype(np.float32), truth


@pytest.mark.parametrize(
    ("shape", "expected_gmsd", "expected_haarpsi"),
    [((64, 64), 0.069981, 0.708804), ((65, 48), 0.081205, 0.704878), ((37, 41), 0.064640, 0.699913)],
)
def test_values_are_those_of_piq(shape, expected_gmsd, expected_haarpsi):
    # piq 0.8.0: piq.gmsd(image, truth), piq.haarpsi(image, truth) of the same arrays.
    image, truth = pair(shape)
    assert gmsd(image, truth) == pytest.approx(expected_gmsd, abs=2e-6)
    assert haarpsi(image, truth) == pytest.approx(expected_haarpsi, abs=2e-6)


def test_equal_images_are_perfect_and_small_ones_unknown():
    _, truth = pair((40, 40))
    assert gmsd(truth, truth) == 0
    assert haarpsi(truth, truth) == pytest.approx(1)
    flat = np.zeros((32, 32), np.float32)
    assert (gmsd(flat, flat), haarpsi(flat, flat)) == (0, 1)
    assert gmsd(truth[:15], truth[:15]) is None
    assert haarpsi(truth[:15], truth[:15]) is None


def test_rows_of_metrics_are_whole():
    assert len({row.name for row in METRICS}) == len(METRICS)
    assert {row.better for row in METRICS} == {"higher", "lower"}
    assert metric_row("gmsd").better == "lower"
    assert all(row.how and row.label for row in METRICS)
