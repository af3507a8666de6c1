from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from napari_emgauss._errors import ModelFileError
from napari_emgauss.priors._state import PriorState
from napari_emgauss.priors.learned._network import NetworkConfig
from napari_emgauss.priors.learned._sampler import RowDropSampler
from napari_emgauss.priors.learned._self import held_out_slices
from napari_emgauss.priors.learned._training import TrainedNetwork, train_network
from napari_emgauss.priors.learned._training_config import TrainingConfig
from napari_emgauss.priors.learned._training_length import TrainingLength


def run(length: TrainingLength, errors: list[float] | float) -> list[int]:
    """Go through a training with these errors at the looks; the steps after which there was one."""
    looks: list[int] = []
    done = 0
    while done < length.total:
        done += 1
        if length.wants_look(done):
            length.look(done, errors if isinstance(errors, float) else errors[len(looks)])
            looks.append(done)
    return looks


def test_without_patience_the_rate_falls_along_a_cosine_over_all_steps() -> None:
    length = TrainingLength(TrainingConfig(1000))
    assert length.falling and run(length, 1.0) == [] and length.total == 1000
    assert length.share(0) == pytest.approx(1 / 50, rel=1e-3)  # the first of 50 steps of warm-up
    assert length.share(500) == pytest.approx((1 + 0.02) / 2)
    assert length.share(999) == pytest.approx(0.02, abs=1e-4)


def test_a_training_ends_once_patience_is_over() -> None:
    length = TrainingLength(TrainingConfig(1000, patience=200))
    assert run(length, 1.0) == list(range(25, 401, 25))  # twice the patience is the least
    assert length.falling and length.total == 572  # of which 400 are seven tenths
    assert length.share(400) == pytest.approx(1 - 0.98 / 172)
    assert length.share(571) == pytest.approx(0.02)


def test_the_rate_stays_until_the_end_is_settled() -> None:
    length = TrainingLength(TrainingConfig(1000, patience=200))
    assert [length.share(k) for k in (0, 24, 49, 399, 600)] == [0.02, 0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(("gain", "last"), [(0.005, 700), (0.003, 400)])
def test_a_training_goes_on_while_it_pays(gain: float, last: int) -> None:
    errors = [(1 - gain) ** (k / 8) for k in range(100)]  # lower by the gain from one patience to the next
    length = TrainingLength(TrainingConfig(1000, patience=200))
    assert run(length, errors)[-1] == last
    assert length.total == min(1000, int(np.ceil(last / 0.7)))


def test_one_lucky_look_does_not_end_a_training() -> None:
    errors = [0.99 ** (k / 8) for k in range(100)]
    errors[7] *= 0.98
    length = TrainingLength(TrainingConfig(1000, patience=200))
    assert run(length, errors)[-1] == 700


def test_what_is_left_is_told_without_going_back() -> None:
    length = TrainingLength(TrainingConfig(2000, patience=200))
    told = []
    for done in range(1, 1001):
        if length.wants_look(done):
            length.look(done, 0.9 ** (done / 200) if done < 500 else 0.9**2.5)  # it pays until 500
        told.append(done / length.expected(done))
    assert told[99] == 100 / 900  # 4.5 times the patience
    assert length.falling and all(after >= before - 1e-2 for before, after in pairwise(told))
    late = TrainingLength(TrainingConfig(2000, patience=200))
    assert [late.expected(done) for done in (630, 700, 1400)] == [900, 1000, 2000]
    assert TrainingLength(TrainingConfig(300, patience=200)).expected(1) == 300
    assert TrainingLength(TrainingConfig(300)).expected(1) == 300


@pytest.mark.parametrize("most", [1, 2, 3, 30])
def test_short_trainings_take_at_most_their_steps(most: int) -> None:
    length = TrainingLength(TrainingConfig(most, patience=200))
    looks = run(length, 1.0)
    assert length.total == most and length.falling and looks[-1] == max(1, int(0.7 * most))


def test_a_length_goes_on_where_another_was() -> None:
    for steps in (0, 30, 400, 500):
        one, other = (TrainingLength(TrainingConfig(1000, patience=200)) for _ in range(2))
        for done in range(1, steps + 1):
            if one.wants_look(done):
                one.look(done, 1.0)
        other.restore(json.loads(json.dumps(one.state())))
        assert (other.total, other.falling) == (one.total, one.falling)
        assert other.share(steps) == one.share(steps)
        for done in range(steps + 1, 1001):
            assert one.wants_look(done) == other.wants_look(done)
            if one.wants_look(done):
                one.look(done, 1.0)
                other.look(done, 1.0)
        assert other.total == one.total == 572


@pytest.mark.parametrize(
    "state", [{}, {"falls_from": 0.5, "errors": []}, {"falls_from": 701, "errors": []}, {"falls_from": 0, "errors": []}]
)
def test_a_damaged_length_is_refused(state: dict[str, object]) -> None:
    with pytest.raises((KeyError, ValueError)):
        TrainingLength(TrainingConfig(1000, patience=200)).restore(state)


def test_slices_are_held_out_where_there_are_enough() -> None:
    assert held_out_slices(7) == []
    assert held_out_slices(8) == [4]
    assert held_out_slices(30) == [4, 12, 20, 28]


def numbered(slices: int = 9) -> np.ndarray:
    """Slices that hold nothing but their number."""
    return np.broadcast_to(np.arange(slices, dtype=np.float32)[:, None, None], (slices, 30, 30)).copy()


def test_nothing_is_drawn_of_slices_held_out_until_they_are_released() -> None:
    config = TrainingConfig(1, batch=50, rows=3, columns=8)
    sampler = RowDropSampler(numbered(), np.full(8, 4.0), 3, config, 0, held_out=[4, 7])
    drawn = {int(v) for _ in range(3) for v in sampler.draw()[0].unique()}
    assert drawn == set(range(9)) - {4, 7}
    sampler.release()  # from the very next batch on, though 64 were planned
    assert {int(v) for _ in range(3) for v in sampler.draw()[0].unique()} == set(range(9))


class _Stopped(Exception):
    pass


def test_a_training_with_patience_goes_on_after_a_stop() -> None:
    images = np.random.default_rng(0).standard_normal((9, 40, 36)).astype(np.float32)
    config = TrainingConfig(80, patience=20, batch=4, rows=4, columns=16)
    held_out = RowDropSampler(images[4:5], np.full(8, 4.0), 3, config, 7)
    looks = [held_out.draw()]

    def train(state: PriorState, stop_at: int | None = None) -> TrainedNetwork:
        def told(progress: object) -> None:
            nonlocal seen
            seen += 10
            if seen == stop_at:
                raise _Stopped

        seen = 0
        return train_network(
            RowDropSampler(images, np.full(8, 4.0), 3, config, 1, held_out=[4]),
            NetworkConfig(3, channels=(4, 4), blocks=(1, 1)),
            config,
            seed=1,
            device=torch.device("cpu"),
            held_out=looks,
            on_progress=told,
            state=state,
        )

    whole = train(PriorState())
    assert whole.steps == 80
    for stop_at in (20, 70):  # before the rate falls, and after
        state = PriorState()
        with pytest.raises(_Stopped):
            train(state, stop_at)
        again = train(state)
        assert again.steps == whole.steps
        for mine, theirs in zip(again.network.parameters(), whole.network.parameters(), strict=True):
            assert torch.equal(mine, theirs)
    entry = state.get("training")
    assert entry is not None
    entry.values["sampler"]["drawn_from"] = [9]
    with pytest.raises(ModelFileError):
        train(state)
