"""A preparation that was stopped, anywhere, goes on from what it left, with the result of one that nobody stopped."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from napari_emgauss._errors import ModelFileError
from napari_emgauss._progress import ProgressUpdate
from napari_emgauss.priors import (
    Observation,
    PriorState,
    ResumablePrior,
    StateEntry,
    _state as state_module,
    get_prior,
    prepare_channels,
)
from napari_emgauss.priors.learned._training_step import TrainingStep
from napari_emgauss.stack import sample_stack

SMALL: dict[str, Any] = {"iterations": 25, "channels": (8, 8), "rotations_deg": (0.0,), "mirrored": False}
SELF: dict[str, Any] = {**SMALL, "device": "cpu"}
AUTO: dict[str, Any] = {**SELF, "trial_iterations": 8}


class Stopped(Exception):
    pass


@lru_cache
def observation() -> Observation:
    stack = sample_stack().select(range(9)).crop((0, 44, 0, 48))
    return Observation(stack.unit_slices(), stack.z_nm, stack.pixel_size_nm)


def stopped_after(messages: int) -> Any:
    count = 0

    def tell(_: ProgressUpdate) -> None:
        nonlocal count
        count += 1
        if count == messages:
            raise Stopped

    return tell


def through_a_file(state: PriorState) -> PriorState:
    """What a checkpoint keeps of a state: JSON and tensors."""
    import json

    return PriorState(
        {name: StateEntry(json.loads(json.dumps(e.values)), dict(e.tensors)) for name, e in state.entries().items()}
    )


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every step of any training."""
    done: list[int] = []
    step = TrainingStep.__call__

    def counted(self: TrainingStep, *arguments: Any) -> torch.Tensor:
        done.append(1)
        return step(self, *arguments)

    monkeypatch.setattr(TrainingStep, "__call__", counted)
    return done


@pytest.mark.parametrize(("name", "settings"), [("self", SELF), ("auto", {**AUTO, "correction": 0.0}), ("auto", AUTO)])
def test_stopped_and_gone_on_is_as_never_stopped(
    name: str, settings: dict[str, Any], steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_emgauss.priors._auto._self_weight", lambda *_: 0.4)  # a mixture, after so few steps
    prior = get_prior(name, **settings)
    assert isinstance(prior, ResumablePrior)
    z_nm = float(observation().z_nm[1]) + 13.0
    told: list[ProgressUpdate] = []
    whole = prior.prepare(observation(), seed=4, on_progress=told.append).at(z_nm)
    all_steps = len(steps)
    training = [k for k, update in enumerate(told, 1) if "training the prior" in update.text]
    for stop in (training[0], training[-1] - 1, len(told) - 1):
        steps.clear()
        torch.manual_seed(stop)  # the caller's own numbers have no say
        state = PriorState()
        with pytest.raises(Stopped):
            prior.prepare_from(state, observation(), seed=4, on_progress=stopped_after(stop))
        ready = prior.prepare_from(through_a_file(state), observation(), seed=4)
        assert len(steps) == all_steps  # none was made twice, none left out
        again = ready.at(z_nm)
        np.testing.assert_array_equal(again.image, whole.image)
        np.testing.assert_array_equal(again.confidence, whole.confidence)


def test_a_training_leaves_its_place_now_and_then(monkeypatch: pytest.MonkeyPatch, steps: list[int]) -> None:
    """What a kill leaves: the last state that was put, without any exception."""
    monkeypatch.setattr(state_module, "KEEP_INTERVAL_S", 0.0)
    prior, state, seen = get_prior("self", **SELF), PriorState(), {}

    def look(_: ProgressUpdate) -> None:
        if (left := state.get("training")) is not None:
            seen[len(steps)] = (left.values["iteration"], through_a_file(state))

    assert isinstance(prior, ResumablePrior)
    whole = prior.prepare_from(state, observation(), seed=4, on_progress=look)
    # Messages come every tenth step, before the state of that step is left.
    assert {at: iteration for at, (iteration, _) in seen.items()} == {10: 9, 20: 19, 25: 24}
    assert set(state.entries()) == {"learned"}
    again = prior.prepare_from(seen[20][1], observation(), seed=4)
    z_nm = float(observation().z_nm[1]) + 13.0
    np.testing.assert_array_equal(again.at(z_nm).image, whole.at(z_nm).image)


def test_a_preparation_that_ended_is_not_made_again(steps: list[int]) -> None:
    for name, settings in (("self", SELF), ("auto", AUTO)):
        prior, state = get_prior(name, **settings), PriorState()
        assert isinstance(prior, ResumablePrior)
        one = prior.prepare_from(state, observation())
        steps.clear()
        two = prior.prepare_from(through_a_file(state), observation())
        assert not steps
        np.testing.assert_array_equal(one.at(100.0).image, two.at(100.0).image)
        assert getattr(one, "report", None) == getattr(two, "report", None)


def test_channels_have_a_state_each(steps: list[int]) -> None:
    prior, seen = get_prior("self", **SELF), observation()
    images = np.stack([seen.images, 1 - seen.images], axis=1)
    state = PriorState()
    whole = prepare_channels(prior, images, seen.z_nm, seen.pixel_size_nm, state=state)
    assert set(state.entries()) == {"channel 0/learned", "channel 1/learned"}
    steps.clear()
    again = prepare_channels(prior, images, seen.z_nm, seen.pixel_size_nm, state=through_a_file(state))
    assert not steps
    np.testing.assert_array_equal(again.at(100.0).image, whole.at(100.0).image)


def broken_states() -> dict[str, PriorState]:
    """A training's state with one thing wrong each."""
    prior, state = get_prior("self", **SELF), PriorState()
    assert isinstance(prior, ResumablePrior)
    with pytest.raises(Stopped):
        prior.prepare_from(state, observation(), on_progress=stopped_after(2))
    left = state.entries()["training"]
    some = next(name for name in left.tensors if name.startswith("network/"))
    short = {**left.tensors, some: left.tensors[some][:1]}
    fewer = {name: value for name, value in left.tensors.items() if name != some}
    values = {
        "more steps than there are": {"iteration": 26},
        "steps below none": {"iteration": -1},
        "steps that are no number": {"iteration": "x"},
        "half a step": {"iteration": 1.5},
        "an endless error": {"loss": float("nan")},
        "no sampler": {"sampler": None},
        "a sampler beyond its plan": {"sampler": {**left.values["sampler"], "step": 10**9}},
        "another generator": {"sampler": {"step": 3, "generator": {"bit_generator": "MT19937"}}},
        "numbers out of range": {
            "sampler": {"step": 3, "generator": {**left.values["sampler"]["generator"], "has_uint32": 10**30}}
        },
    }
    entries = {name: StateEntry({**left.values, **wrong}, left.tensors) for name, wrong in values.items()}
    entries["a tensor cut short"] = StateEntry(left.values, short)
    entries["a tensor gone"] = StateEntry(left.values, fewer)
    entries["another type"] = StateEntry(left.values, {**left.tensors, some: left.tensors[some].double()})
    entries["nothing"] = StateEntry({}, {})
    return {name: PriorState({"training": entry}) for name, entry in entries.items()}


def test_damaged_states_are_refused() -> None:
    states = broken_states()
    states["a network of another size"] = PriorState({"learned": StateEntry({}, {"enter.weight": torch.zeros(3)})})
    prior = get_prior("self", **SELF)
    assert isinstance(prior, ResumablePrior)
    for name, state in states.items():
        with pytest.raises(ModelFileError, match="start the fit afresh"):
            prior.prepare_from(state, observation())
            pytest.fail(name)


@pytest.mark.parametrize(
    "wrong",
    [{"weights": {}}, {"weights": {"magic": 1.0}}, {"weights": {"self": "x"}}, {"correction": 7.0}, {"scores": 3}],
)
def test_a_damaged_choice_is_refused(wrong: dict[str, Any]) -> None:
    good = {"weights": {"linear": 1.0}, "scores": {}, "hidden_slices": 3, "note": "", "correction": 0.5}
    prior = get_prior("auto", **AUTO)
    assert isinstance(prior, ResumablePrior)
    prior.prepare_from(PriorState({"choice": StateEntry(good)}), observation())
    with pytest.raises(ModelFileError, match="start the fit afresh"):
        prior.prepare_from(PriorState({"choice": StateEntry({**good, **wrong})}), observation())
