"""How much slower a machine is: the trial itself, and the threads it takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from napari_emgauss import BackendError
from napari_emgauss.priors import LearnedPrior, Observation, SelfPriorConfig
from napari_emgauss.priors.learned._cost import SECONDS_PER_CORRECTED_PIXEL, SECONDS_PER_GAP_PIXEL_AND_PASS
from napari_emgauss.tiles import Slowness, _slowness, measure_slowness


def test_a_trial_measures_all_and_leaves_threads_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_slowness, "_SHAPE", (3, 64, 64))
    before, told = torch.get_num_threads(), []
    found = measure_slowness(
        "cpu", threads=before + 1, seconds=0.01, on_progress=lambda update: told.append(update.text)
    )
    assert found.iteration > 0 and found.training > 0 and found.inferring > 0
    assert list(dict.fromkeys(told)) == ["measuring the fit", "measuring the prior"]
    assert torch.get_num_threads() == before


def test_each_part_is_timed_with_the_threads_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    for part, found in (("_iteration", 2.0), ("_networks", (3.0, 4.0))):
        monkeypatch.setattr(_slowness, part, lambda *_, found=found: seen.append(torch.get_num_threads()) or found)
    before = torch.get_num_threads()
    assert measure_slowness(threads=before + 2) == Slowness(2.0, 3.0, 4.0) == measure_slowness()
    assert seen == [before + 2, before + 2, before, before]
    assert measure_slowness(networks=False) == Slowness(2.0, 2.0, 2.0)
    assert len(seen) == 5


@pytest.mark.parametrize(("quick", "pixels"), [(False, [64]), (True, [64, 80])])
def test_what_is_inferred_is_timed_on_more_where_little_is_done_at_once(
    monkeypatch: pytest.MonkeyPatch, quick: bool, pixels: list[int]
) -> None:
    """A stand-in for a network that infers, on a clock of our own: half a second, or none, for any piece."""
    clock, asked = [0.0], []

    @dataclass(frozen=True)
    class Learned:
        config: SelfPriorConfig
        network: object = field(default_factory=lambda: SimpleNamespace(config=SimpleNamespace(nodes=7)))

        def prepare(self, observation: Observation) -> None:
            assert self.config.rotations_deg == (0.0,) and self.config.mirrored and self.config.carried == 0
            asked.append(observation.images.shape[1])
            clock[0] += 1e-6 if quick else 0.5

    monkeypatch.setattr(_slowness.time, "perf_counter", lambda: clock[0])
    images = np.zeros((5, 80, 80), np.float32)
    found = _slowness._inferring(
        cast("LearnedPrior", Learned(SelfPriorConfig())), Observation(images, np.arange(5.0) * 64, (8.0, 8.0))
    )
    assert asked == pixels
    # Four passes over four gaps, and the correction of seven slices in each.
    counted = 64**2 * 4 * (4 * SECONDS_PER_GAP_PIXEL_AND_PASS + 7 * SECONDS_PER_CORRECTED_PIXEL)
    assert found == pytest.approx(0.5 / counted if not quick else 1e-6 / (counted * 80**2 / 64**2))


def test_a_device_that_is_not_there_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(BackendError, match="cuda"):
        measure_slowness("cuda", seconds=0.01)
