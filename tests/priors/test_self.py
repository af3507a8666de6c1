from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_emgauss import ProgressUpdate
from napari_emgauss._errors import ConfigError, DepthError, PriorError
from napari_emgauss.priors import Observation, get_prior
from napari_emgauss.priors._volume_interpolator import VolumeInterpolator
from napari_emgauss.priors.learned import _learned_prior
from napari_emgauss.priors.learned._square_pixels import square_pixels

SMALL = {"iterations": 60, "channels": (12, 16), "device": "cpu"}


def blobs(depth: int = 33, height: int = 44, width: int = 52) -> np.ndarray:
    """An isotropic texture (Z, H, W) in the unit range."""
    volume = gaussian_filter(np.random.default_rng(0).standard_normal((depth, height, width)), 2.2, mode="wrap")
    return (0.5 + 0.15 * volume / volume.std()).astype(np.float32)


def kept(volume: np.ndarray, depths: np.ndarray, pixel_size_nm: tuple[float, float] = (5.0, 5.0)) -> Observation:
    return Observation(np.ascontiguousarray(volume[depths]), 5.0 * depths.astype(np.float64), pixel_size_nm)


def error(interpolator, volume: np.ndarray, depths: list[int]) -> float:
    return float(np.sqrt(np.mean([(interpolator.at(5.0 * z).image - volume[z]) ** 2 for z in depths])))


def test_learns_more_than_linear_from_the_stack_alone() -> None:
    volume = blobs()
    observation = kept(volume, np.arange(0, 33, 4))
    told: list[ProgressUpdate] = []
    trained = get_prior("self", **SMALL).prepare(observation, on_progress=told.append)
    between = [z for z in range(33) if z % 4]
    assert error(trained, volume, between) < 0.8 * error(get_prior("linear").prepare(observation), volume, between)
    label = trained.at(12.0)
    assert label.image.shape == (44, 52)
    assert label.confidence is not None
    assert 0 < label.confidence.min() <= label.confidence.max() <= 1
    np.testing.assert_array_equal(trained.at(20.0).image, volume[4])
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    assert any(progress.loss is not None for progress in told)
    json.dumps(trained.report)


def test_uneven_gaps_any_depth_and_oblong_pixels_are_answered() -> None:
    volume = blobs(33, 40, 45)
    depths = np.array([0, 4, 7, 12, 20, 24, 29, 32])  # one section missing between 12 and 20
    trained = get_prior("self", **{**SMALL, "iterations": 30}).prepare(kept(volume, depths))
    assert error(trained, volume, [14, 16, 18]) < 1.2 * error(
        get_prior("linear").prepare(kept(volume, depths)), volume, [14, 16, 18]
    )
    assert np.isfinite(trained.at(33.3).image).all()
    with pytest.raises(DepthError):
        trained.at(161.0)
    oblong = get_prior("self", **{**SMALL, "iterations": 2}).prepare(
        kept(volume[:, :, ::2], np.arange(0, 33, 4), (5.0, 10.0))
    )
    assert oblong.at(7.0).image.shape == (40, 23)


def test_same_seed_same_result() -> None:
    observation = kept(blobs(17, 30, 26), np.arange(0, 17, 4))
    prior = get_prior("self", **{**SMALL, "iterations": 6})
    first = prior.prepare(observation, seed=5).at(9.0).image
    np.testing.assert_array_equal(first, prior.prepare(observation, seed=5).at(9.0).image)
    assert not np.array_equal(first, prior.prepare(observation, seed=6).at(9.0).image)


def test_can_be_stopped_while_predicting() -> None:
    def stop(progress: ProgressUpdate) -> None:
        if "predicting" in progress.text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get_prior("self", **{**SMALL, "iterations": 2}).prepare(
            kept(blobs(9, 30, 26), np.arange(0, 9, 4)), on_progress=stop
        )


def test_three_tiny_slices_still_work_and_what_cannot_is_refused() -> None:
    volume = blobs(9, 12, 14)
    label = get_prior("self", **{**SMALL, "iterations": 2}).prepare(kept(volume, np.array([0, 4, 8]))).at(10.0)
    assert label.image.shape == (12, 14)
    with pytest.raises(PriorError, match="smaller than the gap"):
        get_prior("self", **SMALL).prepare(kept(blobs(41, 8, 9), np.array([0, 20, 40])))
    with pytest.raises(PriorError, match="same grey value"):
        get_prior("self", **SMALL).prepare(kept(np.full((9, 20, 30), 0.5, np.float32), np.array([0, 4, 8])))


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one training iteration"):
        get_prior("self", iterations=0)
    with pytest.raises(ConfigError, match="fast, default, best"):
        get_prior("self", effort="huge")
    with pytest.raises(ConfigError, match="has no efforts: write 'linear'"):
        get_prior("linear:fast")
    with pytest.raises(ConfigError, match="auto, cpu, cuda"):
        get_prior("self", device="tpu")


def test_effort_may_follow_the_name() -> None:
    assert get_prior("self:fast") == get_prior("self", effort="fast")
    assert get_prior("self:fast") != get_prior("self")
    assert get_prior("auto:best").config.learned == get_prior("self:best").config  # type: ignore[attr-defined]


def test_lookup_is_linear_between_nodes() -> None:
    images = np.zeros((2, 3, 4), np.float32)
    images[1] = 4
    between = np.array([10.0, 20.0, 40.0], np.float32)[None, :, None, None] * np.ones((1, 3, 3, 4), np.float32)
    lookup = VolumeInterpolator(images, np.array([0.0, 40.0]), between, np.full_like(between, 0.5), {})
    greys = [float(lookup.at(z).image[0, 0]) for z in (0, 5, 10, 20, 25, 35, 40)]
    assert greys == [0, 5, 10, 20, 30, 22, 4]
    assert lookup.at(5.0).confidence[0, 0] == 0.75  # type: ignore[index]


def test_square_pixels_keep_what_is_square() -> None:
    images = blobs(3, 20, 30)
    assert square_pixels(images, (4.0, 4.05)) is images
    assert square_pixels(images, (8.0, 4.0)).shape == (3, 40, 30)


def test_where_the_prior_is_surest_only_noise_is_left() -> None:
    # Confidence is noise over expected error: of errors from 0 to 1 the tenth at the low end is noise.
    errors = np.random.default_rng(0).permutation(np.linspace(0, 1, 1001, dtype=np.float32)).reshape(7, 11, 13)
    # They are half as large as the floor in the mean.
    assert _learned_prior._noise_floor(errors) == pytest.approx((0.1, 0.5))
