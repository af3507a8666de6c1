"""The phantom's geometry on neurites whose distances can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss.stack.phantom import _neuropil
from napari_emgauss.stack.phantom._neuropil import Neurites, fill_tissue, lay_neurites, smooth_noise


def two_parallel_neurites(radius: tuple[float, float]) -> Neurites:
    """Both run along z; their axes stand at y=10, x=8 and y=10, x=28."""
    return Neurites(
        centre=np.float32([[0, 10, 8], [0, 10, 28]]),
        direction=np.float32([[1, 0, 0], [1, 0, 0]]),
        half_length=np.float32([400, 400]),
        radius=np.float32(radius),
        brightness=np.float32([0, 0]),
        is_bouton=np.array([False, False]),
        has_mitochondrion=np.array([False, False]),
        has_microtubules=np.array([False, False]),
    )


@pytest.fixture
def straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_neuropil, "_WARPS", ())


@pytest.mark.usefixtures("straight")
def test_the_border_lies_halfway_between_equal_neurites() -> None:
    tissue = fill_tissue((9, 21, 37), two_parallel_neurites((5, 5)), np.random.default_rng(0))
    assert set(tissue.label[4, 10, :18]) == {0}
    assert set(tissue.label[4, 10, 19:]) == {1}
    # On the line between the axes the distances differ by 2·(18-x), and the two directions by a rate of 2.
    np.testing.assert_allclose(tissue.wall[4, 10, 9:18], 18 - np.arange(9, 18), atol=1e-3)
    np.testing.assert_allclose(tissue.to_axis[4, 10, 9:18], np.arange(9, 18) - 8, atol=1e-3)
    np.testing.assert_allclose(tissue.along[:, 10, 12], np.arange(9), atol=1e-4)


@pytest.mark.usefixtures("straight")
def test_the_thicker_neurite_takes_more_room() -> None:
    tissue = fill_tissue((9, 21, 37), two_parallel_neurites((9, 5)), np.random.default_rng(0))
    assert tissue.label[4, 10, 19] == 0  # 11 - 9 = 2 < 9 - 5 = 4
    assert tissue.label[4, 10, 21] == 1  # 13 - 9 = 4 > 7 - 5 = 2


@pytest.mark.usefixtures("straight")
def test_positions_across_a_neurite_are_at_right_angles() -> None:
    tissue = fill_tissue((9, 21, 37), two_parallel_neurites((5, 5)), np.random.default_rng(0))
    np.testing.assert_allclose(np.hypot(*tissue.across[:, 4]), tissue.to_axis[4], atol=1e-3)


def test_looking_at_near_neurites_alone_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (30, 41, 53)
    neurites = lay_neurites(shape, np.random.default_rng(5))
    pruned = fill_tissue(shape, neurites, np.random.default_rng(6))
    monkeypatch.setattr(_neuropil, "_neurites_near", lambda places, n: np.arange(len(n.radius), dtype=np.int16))
    full = fill_tissue(shape, neurites, np.random.default_rng(6))
    np.testing.assert_array_equal(pruned.label, full.label)
    # Sums over another number of neurites round differently, most of all at a squared distance of zero.
    np.testing.assert_allclose(pruned.wall, full.wall, atol=0.05)


def test_smooth_noise_has_unit_variance_and_its_wavelength() -> None:
    noise = smooth_noise((64, 72, 80), 12.0, np.random.default_rng(1))
    assert noise.shape == (64, 72, 80)
    assert noise.std() == pytest.approx(1, abs=0.35)
    near = np.corrcoef(noise[:, :, :-1].ravel(), noise[:, :, 1:].ravel())[0, 1]
    far = np.corrcoef(noise[:, :, :-12].ravel(), noise[:, :, 12:].ravel())[0, 1]
    assert near > 0.95
    assert abs(far) < 0.3
