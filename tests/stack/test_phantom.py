"""The generated sample: deterministic, consistent with its truth, and like electron micrographs in its statistics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_emgauss import ConfigError, PhantomConfig, sample_stack, sample_truth

SMALL = PhantomConfig(shape=(33, 56, 72), factor=8, seed=3)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.asarray(sample_truth(SMALL).slices)


def test_the_stack_is_every_nth_slice_of_the_truth(truth: np.ndarray) -> None:
    stack = sample_stack(SMALL)
    assert stack.shape == (5, 56, 72)
    np.testing.assert_array_equal(stack.z_nm, [0, 40, 80, 120, 160])
    np.testing.assert_array_equal(np.asarray(stack.slices), truth[[0, 8, 16, 24, 32]])
    assert stack.anisotropy_factor == 8
    assert stack.pixel_size_nm == (5.0, 5.0)


def test_the_truth_is_isotropic_8_bit_and_cannot_be_changed(truth: np.ndarray) -> None:
    stack = sample_truth(SMALL)
    assert truth.shape == (33, 56, 72)
    assert truth.dtype == np.uint8
    assert stack.anisotropy_factor == 1
    assert stack.z_nm[-1] == 160
    with pytest.raises(ValueError, match="read-only"):
        truth[0, 0, 0] = 1


def test_the_default_is_a_stack_of_a_usual_ssTEM_geometry() -> None:
    config = PhantomConfig()
    assert config.shape == (121, 176, 208)
    assert config.factor * config.pixel_size_nm == 40


def test_one_seed_one_piece_of_tissue(truth: np.ndarray) -> None:
    from napari_emgauss.stack.phantom import _phantom

    again = _phantom._volume.__wrapped__(SMALL)  # past the cache
    np.testing.assert_array_equal(again, truth)
    other = np.asarray(sample_truth(PhantomConfig(shape=SMALL.shape, factor=8, seed=4)).slices)
    assert abs(np.corrcoef(other.ravel(), truth.ravel())[0, 1]) < 0.3


def test_grey_values_are_those_of_stained_tissue(truth: np.ndarray) -> None:
    dark = np.mean(ndimage.gaussian_filter(truth.astype(float), 1) < 100)
    assert 0.08 < dark < 0.6  # membranes and organelles on a light ground
    assert 100 < truth.mean() < 165
    assert 20 < truth.std() < 45


def test_noise_is_stronger_where_it_is_brighter() -> None:
    quiet = np.asarray(sample_truth(PhantomConfig(shape=SMALL.shape, factor=8, seed=3, noise=0)).slices).astype(float)
    noisy = np.asarray(sample_truth(SMALL).slices).astype(float)
    bright, dark = quiet > 150, quiet < 80
    assert (noisy - quiet)[quiet == 128].std() == pytest.approx(8, rel=0.15)
    expected = np.sqrt(quiet[bright].mean() / quiet[dark].mean())
    assert (noisy - quiet)[bright].std() / (noisy - quiet)[dark].std() == pytest.approx(expected, rel=0.1)


def test_neighbours_are_alike_and_kept_slices_are_much_less_so() -> None:
    volume = np.asarray(sample_truth(PhantomConfig(shape=(41, 96, 112), factor=10, noise=0)).slices).astype(float)

    def likeness(step: int) -> float:
        return float(np.corrcoef(volume[:-step].ravel(), volume[step:].ravel())[0, 1])

    along_x = float(np.corrcoef(volume[..., :-1].ravel(), volume[..., 1:].ravel())[0, 1])
    assert likeness(1) == pytest.approx(along_x, abs=0.04)  # no axis is special in the truth
    assert likeness(1) > 0.9
    assert likeness(10) < 0.75  # 50 nm


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (33, 4, 72)}, "at least 8 voxels"),
        ({"factor": 60}, "leaves fewer than three of 121 slices: give one from 1 to 60"),
        ({"factor": 0}, "from 1 to 60"),
        ({"pixel_size_nm": 0.0}, "above 0 nm"),
        ({"noise": -1.0}, "negative"),
    ],
)
def test_what_cannot_be_made_is_refused(changes: dict[str, object], message: str) -> None:
    if changes == {"factor": 60}:
        assert PhantomConfig(**changes).factor == 60
        changes = {"factor": 61}
    with pytest.raises(ConfigError, match=message):
        PhantomConfig(**changes)
