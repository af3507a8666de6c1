"""What every prior keeps, as a test class: inherit it and say how the prior is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from napari_emgauss import DepthError
from napari_emgauss._progress import ProgressUpdate
from napari_emgauss.priors import Interpolator, Observation, Prior, prepare_channels

Z_NM = np.array([10.0, 42.0, 74.0, 110.0, 142.0])
PIXEL_NM = (8.0, 8.0)
DEPTHS = (26.0, 130.0, 43.0, 10.0, 92.0, 142.0, 26.0)
"""Between slices and on them, at both ends, in no order, one of them twice."""


def moving_discs(slices: np.ndarray = Z_NM) -> np.ndarray:
    """Slices ``(K, 36, 30)`` of bright discs that drift and swell along z; some noise."""
    y, x = np.mgrid[:36, :30].astype(np.float32)
    random = np.random.default_rng(3)
    images = []
    for z in slices:
        image = np.full((36, 30), 0.2, np.float32)
        for row, column in ((10, 9), (24, 20)):
            far = np.hypot(y - row - 0.03 * z, x - column + 0.02 * z)
            image += 0.6 / (1 + np.exp(far - 4 - 0.01 * z))
        images.append(image + 0.02 * random.standard_normal(image.shape))
    return np.clip(images, 0, 1).astype(np.float32)


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute in the thread that asks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class PriorContract:
    """Tests of one prior.

    Subclasses give `make`; the other attributes are for priors that differ from most.
    """

    passes_through_slices = True
    """Whether a guess at an observed depth is the observed slice; priors that blur are only near it."""
    overshoot = 0.0
    """How far beyond the grey values of the slices a guess may go, unit range."""

    @classmethod
    def make(cls) -> Prior:
        """The prior, on the CPU."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def observation(cls) -> Observation:
        """Unevenly spaced slices; nobody may write to them."""
        images = moving_discs()
        images.flags.writeable = False
        return Observation(images, Z_NM, PIXEL_NM)

    @pytest.fixture(scope="class")
    @classmethod
    def ready(cls, observation: Observation) -> Interpolator:
        """The prior made ready for them."""
        return cls.make().prepare(observation, seed=5)

    def test_it_is_a_prior_with_a_name(self) -> None:
        prior = self.make()
        assert isinstance(prior, Prior)
        assert prior.name

    @pytest.mark.parametrize("z_nm", sorted(set(DEPTHS)))
    def test_a_guess_is_a_slice(self, ready: Interpolator, observation: Observation, z_nm: float) -> None:
        label = ready.at(z_nm)
        assert label.image.shape == observation.images.shape[1:]
        assert label.image.dtype == np.float32
        assert np.isfinite(label.image).all()
        low, high = observation.images.min() - self.overshoot - 1e-5, observation.images.max() + self.overshoot + 1e-5
        assert low <= label.image.min() and label.image.max() <= high

    @pytest.mark.parametrize("z_nm", sorted(set(DEPTHS)))
    def test_confidence_is_a_share_for_each_pixel(self, ready: Interpolator, z_nm: float) -> None:
        label = ready.at(z_nm)
        if label.confidence is not None:
            assert label.confidence.shape == label.image.shape
            assert label.confidence.dtype == np.float32
            assert label.confidence.min() >= 0 and label.confidence.max() <= 1

    def test_at_observed_depths_it_knows_the_slice(self, ready: Interpolator, observation: Observation) -> None:
        for image, z_nm in zip(observation.images, observation.z_nm, strict=True):
            guess = ready.at(float(z_nm)).image
            if self.passes_through_slices:
                np.testing.assert_allclose(guess, image, atol=1e-5)
            else:
                # A blur costs some of the noise, not the picture.
                assert np.sqrt(np.mean((guess - image) ** 2)) < 0.1

    def test_in_between_it_is_nearer_to_the_truth_than_the_far_slice(
        self, ready: Interpolator, observation: Observation
    ) -> None:
        truth = moving_discs(np.array([20.0]))[0]  # a third into the first gap
        error = np.mean((ready.at(20.0).image - truth) ** 2)
        assert error < np.mean((observation.images[1] - truth) ** 2)

    def test_the_order_of_depths_does_not_matter(self, ready: Interpolator) -> None:
        forwards = {z: ready.at(z).image for z in DEPTHS}
        for z in reversed(DEPTHS):
            np.testing.assert_array_equal(ready.at(z).image, forwards[z])

    def test_threads_may_ask_at_once(self, ready: Interpolator) -> None:
        alone = [ready.at(z).image for z in DEPTHS]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda z: ready.at(z).image, DEPTHS))
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("z_nm", [9.0, 143.0])
    def test_outside_the_slices_it_refuses(self, ready: Interpolator, z_nm: float) -> None:
        with pytest.raises(DepthError):
            ready.at(z_nm)

    def test_the_same_seed_gives_the_same_slices(self, observation: Observation) -> None:
        with one_thread():  # with more, torch may add up in another order: once in many runs 3e-7 lay between two flows
            first, again = (self.make().prepare(observation, seed=5).at(26.0).image for _ in range(2))
        np.testing.assert_array_equal(again, first)

    def test_two_slices_are_enough(self, observation: Observation) -> None:
        pair = Observation(observation.images[:2], observation.z_nm[:2], PIXEL_NM)
        assert np.isfinite(self.make().prepare(pair).at(26.0).image).all()

    def test_channels_are_prepared_one_by_one(self, ready: Interpolator, observation: Observation) -> None:
        images = observation.images
        both = np.stack([images, 1 - images], axis=1)
        label = prepare_channels(self.make(), both, Z_NM, PIXEL_NM, seed=5).at(26.0)
        assert label.image.shape == both.shape[1:]
        np.testing.assert_allclose(label.image[0], ready.at(26.0).image, atol=1e-6)
        assert label.confidence is None or label.confidence.shape == both.shape[1:]

    def test_progress_rises_to_the_end(self, observation: Observation) -> None:
        told: list[ProgressUpdate] = []
        self.make().prepare(observation, on_progress=told.append)
        fractions = [update.fraction for update in told if update.fraction is not None]
        assert fractions == sorted(fractions)
        assert all(0 <= fraction <= 1 for fraction in fractions)
        assert not fractions or fractions[-1] == pytest.approx(1.0)

    @pytest.mark.parametrize("messages", [1, 2])
    def test_preparing_can_be_stopped_at_any_message(self, observation: Observation, messages: int) -> None:
        told: list[ProgressUpdate] = []
        stop = stopping_after(messages, told)
        try:
            self.make().prepare(observation, on_progress=stop)
        except StoppedError:
            assert len(told) == messages
        else:
            assert len(told) < messages


class StoppedError(Exception):
    """Somebody does not want to wait any longer."""


def stopping_after(messages: int, told: list[ProgressUpdate]) -> Callable[[ProgressUpdate], None]:
    """A listener that stops the work at its so-many-th message."""

    def listen(update: ProgressUpdate) -> None:
        told.append(update)
        if len(told) == messages:
            raise StoppedError

    return listen
