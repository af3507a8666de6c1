"""Every prior in the registry, and one registered from outside, keeps the contract."""

from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss.priors import (
    Observation,
    Prior,
    PriorInfo,
    PseudoLabel,
    get_prior,
    locate_gap,
    prior_names,
    register_prior,
    unregister_prior,
)

from .prior_contract import PriorContract

SMALL = {"iterations": 12, "channels": (8, 8), "rotations_deg": (0.0,), "mirrored": False}


class TestNearest(PriorContract):
    @classmethod
    def make(cls) -> Prior:
        return get_prior("nearest", device="cpu")


class TestLinear(PriorContract):
    @classmethod
    def make(cls) -> Prior:
        return get_prior("linear", device="cpu")


class TestCubic(PriorContract):
    overshoot = 0.2

    @classmethod
    def make(cls) -> Prior:
        return get_prior("cubic", device="cpu")


class TestBlurredLinear(PriorContract):
    passes_through_slices = False

    @classmethod
    def make(cls) -> Prior:
        return get_prior("linear+blur", device="cpu")


class TestFlow(PriorContract):
    @classmethod
    def make(cls) -> Prior:
        return get_prior("flow", device="cpu")


class TestBlurredFlow(PriorContract):
    passes_through_slices = False

    @classmethod
    def make(cls) -> Prior:
        return get_prior("flow+blur", device="cpu")


class TestEnsemble(PriorContract):
    passes_through_slices = False

    @classmethod
    def make(cls) -> Prior:
        return get_prior("ensemble", device="cpu")


class TestFlowAndLinear(PriorContract):
    @classmethod
    def make(cls) -> Prior:
        return get_prior("flow+linear", device="cpu")


class TestSelf(PriorContract):
    overshoot = 0.3

    @classmethod
    def make(cls) -> Prior:
        return get_prior("self", device="cpu", **SMALL)


class TestAuto(PriorContract):
    passes_through_slices = False  # it may well choose one that blurs
    overshoot = 0.3

    @classmethod
    def make(cls) -> Prior:
        return get_prior("auto", device="cpu", trial_iterations=4, **SMALL)


class Eased:
    """The prior that the documentation adds."""

    name = "eased"

    def __init__(self, device: str = "auto") -> None: ...

    def prepare(self, observation: Observation, *, seed: int = 0, on_progress: object = None) -> Eased:
        ready = Eased()  # the same prior may be prepared for several stacks, or channels
        ready.images, ready.z_nm = observation.images, observation.z_nm
        return ready

    def at(self, z_nm: float) -> PseudoLabel:
        gap, u = locate_gap(self.z_nm, z_nm)
        u = np.float32(u * u * (3 - 2 * u))
        return PseudoLabel((1 - u) * self.images[gap] + u * self.images[gap + 1])


class TestOneFromOutside(PriorContract):
    @pytest.fixture(autouse=True)
    def registered(self) -> object:
        register_prior(PriorInfo("eased", Eased))
        yield
        unregister_prior("eased")

    @pytest.fixture(scope="class")
    @classmethod
    def ready(cls, observation: Observation) -> Eased:
        return Eased().prepare(observation)

    @classmethod
    def make(cls) -> Prior:
        return get_prior("eased")


def test_every_prior_of_ours_is_tested() -> None:
    contracts = [one for one in globals().values() if isinstance(one, type) and issubclass(one, PriorContract)]
    tested = {one.make().name for one in contracts if one not in (PriorContract, TestOneFromOutside)}
    assert tested == set(prior_names())
