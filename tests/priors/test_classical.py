from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss import ProgressUpdate
from napari_emgauss._errors import ConfigError, DepthError
from napari_emgauss.evaluation import classical_methods
from napari_emgauss.priors import (
    Observation,
    Prior,
    blur_slices,
    get_prior,
    interpolate_cubic,
    interpolate_ensemble,
    interpolate_flow,
    interpolate_linear,
    interpolate_nearest,
    prior_names,
)

DEPTHS_NM = np.array([5.0, 45.0, 95.0])


@pytest.fixture(scope="module")
def observation() -> Observation:
    images = np.random.default_rng(1).random((3, 26, 22), dtype=np.float32)
    return Observation(blur_slices(images, 1.5), DEPTHS_NM, (8.0, 8.0))


FUNCTIONS = {
    "nearest": interpolate_nearest,
    "linear": interpolate_linear,
    "cubic": interpolate_cubic,
    "linear+blur": lambda images, z, at: interpolate_linear(blur_slices(images), z, at),
    "flow": interpolate_flow,
    "flow+blur": lambda images, z, at: interpolate_flow(blur_slices(images), z, at, blurred=True),
    "ensemble": interpolate_ensemble,
}


@pytest.mark.parametrize("name", classical_methods())
def test_prior_gives_what_its_function_gives(observation: Observation, name: str) -> None:
    prior = get_prior(name)
    assert isinstance(prior, Prior)
    assert prior.name == name
    told: list[ProgressUpdate] = []
    interpolator = prior.prepare(observation, on_progress=told.append)
    assert told[-1].fraction == 1
    for depth in (5.0, 30.0, 70.0, 95.0):
        label = interpolator.at(depth)
        expected = FUNCTIONS[name](observation.images, observation.z_nm, depth)[0]
        np.testing.assert_allclose(label.image, expected, atol=1e-5)
        assert label.image.dtype == np.float32


def test_confidence_of_the_ensemble_falls_where_its_parts_disagree(observation: Observation) -> None:
    images = np.full((2, 30, 41), 0.5, dtype=np.float32)
    images[0, 12:18, 5:11] = 1.0  # appears in one slice only: flow and linear cannot agree here
    label = get_prior("flow+blur").prepare(Observation(images, np.array([0.0, 40.0]), (4.0, 4.0))).at(20.0)
    assert label.confidence is not None
    assert label.confidence.shape == (30, 41)
    assert label.confidence[25, 35] == pytest.approx(1, abs=1e-3)
    assert label.confidence[14, 8] < 0.6


def test_depth_outside_is_refused(observation: Observation) -> None:
    with pytest.raises(DepthError):
        get_prior("linear").prepare(observation).at(4.0)


def test_progress_may_stop_the_preparation(observation: Observation) -> None:
    def stop(progress: ProgressUpdate) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get_prior("ensemble").prepare(observation, on_progress=stop)


def test_wrong_names_and_options_say_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"Unknown prior 'spline': choose one of nearest, linear"):
        get_prior("spline")
    with pytest.raises(ConfigError, match="sigma"):
        get_prior("linear", sigma=2)
    with pytest.raises(ConfigError, match="0 or more pixels"):
        get_prior("ensemble", blur_sigma_pixels=-1)
    with pytest.raises(ConfigError, match="tvl1, dis"):
        get_prior("flow", method="horn")
    assert set(classical_methods()) <= set(prior_names())
