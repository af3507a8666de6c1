"""Shifts and jitter that were put in are found."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from napari_emgauss.stack import Stack, check_alignment, remove_jitter, stack_from_array


def tissue(moves: NDArray[np.float64]) -> Stack:
    """Slices of structure that hardly changes, each moved by ``(y, x)`` pixels, with noise."""
    rng = np.random.default_rng(8)
    cloud = gaussian_filter(rng.standard_normal((len(moves), 120, 140)), (3, 3, 3), mode="wrap")
    cloud = 128 + 35 * cloud / cloud.std()
    moved = np.stack([shift(plane, move, mode="grid-wrap") for plane, move in zip(cloud, moves, strict=True)])
    values = np.clip(moved + 3 * rng.standard_normal(moved.shape), 0, 255).astype(np.uint8)
    return stack_from_array(values, (40, 4, 4))


def test_aligned() -> None:
    report = check_alignment(tissue(np.zeros((8, 2))))
    assert np.abs(report.shift_px).max() < 0.3
    assert report.median_jitter_px < 0.2
    assert report.warning() is None
    assert (report.similarity > 0.7).all()


def test_one_slice_off() -> None:
    moves = np.zeros((9, 2))
    moves[4] = [3.0, -2.0]
    report = check_alignment(tissue(moves))
    np.testing.assert_allclose(report.shift_px[3], [3, -2], atol=0.4)
    np.testing.assert_allclose(report.shift_px[4], [-3, 2], atol=0.4)
    np.testing.assert_allclose(report.jitter_px[4], [3, -2], atol=0.4)
    assert report.worst_slice == 4
    assert np.isnan(report.jitter_px[[0, 8]]).all()
    warning = report.warning()
    assert warning is not None
    assert "4" in warning.split("(slice ")[1].split(";")[0]


def test_steady_drift_is_no_jitter() -> None:
    report = check_alignment(tissue(np.arange(8)[:, None] * np.array([1.5, 0.5])))
    np.testing.assert_allclose(report.shift_px.mean(axis=0), [1.5, 0.5], atol=0.2)
    assert np.nanmax(report.jitter_length_px) < 0.5
    assert report.warning() is None


def test_jitter_is_removed() -> None:
    moves = np.random.default_rng(1).uniform(-3, 3, (14, 2))
    stack = tissue(moves)
    before = check_alignment(stack)
    straight = remove_jitter(stack, before)
    after = check_alignment(straight)
    assert before.median_jitter_px > 1.5
    assert after.median_jitter_px < 0.35 * before.median_jitter_px
    assert straight.shape == stack.shape
    assert straight.slices.dtype == np.uint8
    assert len(straight.metadata["jitter_removed_px"]) == 14
    np.testing.assert_array_equal(straight.slices[3, 5:9, 2:4], straight.slices[3][5:9, 2:4])


def test_unrelated_slices_raise_no_alarm() -> None:
    rng = np.random.default_rng(3)
    cloud = gaussian_filter(rng.standard_normal((10, 200, 210)), (0, 3, 3))
    values = np.clip(128 + 35 * cloud / cloud.std(), 0, 255).astype(np.uint8)
    report = check_alignment(stack_from_array(values, (40, 4, 4)))
    assert report.median_jitter_px > 1  # the numbers mean nothing here, and their uncertainty says so
    assert report.warning() is None


def test_progress() -> None:
    told: list[float | None] = []
    check_alignment(tissue(np.zeros((4, 2))), on_progress=lambda update: told.append(update.fraction))
    assert told == pytest.approx([1 / 3, 2 / 3, 1])
