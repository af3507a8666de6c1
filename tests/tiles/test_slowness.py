"""How much slower a machine is: the trial itself, and the threads it takes."""

from __future__ import annotations

import pytest
import torch

from napari_emgauss import BackendError
from napari_emgauss.tiles import Slowness, _slowness, measure_slowness


def test_a_trial_measures_both_and_leaves_threads_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_slowness, "_SHAPE", (3, 64, 64))
    before, told = torch.get_num_threads(), []
    found = measure_slowness(
        "cpu", threads=before + 1, seconds=0.01, on_progress=lambda update: told.append(update.text)
    )
    assert found.iteration > 0 and found.prior > 0
    assert list(dict.fromkeys(told)) == ["measuring the fit", "measuring the prior"]
    assert torch.get_num_threads() == before


def test_each_part_is_timed_with_the_threads_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    for part in ("_iteration", "_prior"):
        monkeypatch.setattr(_slowness, part, lambda *given: seen.append(torch.get_num_threads()) or 2.0)
    before = torch.get_num_threads()
    assert measure_slowness(threads=before + 2) == Slowness(2.0, 2.0) == measure_slowness()
    assert seen == [before + 2, before + 2, before, before]
    assert measure_slowness(networks=False) == Slowness(2.0, 2.0)
    assert len(seen) == 5


def test_a_device_that_is_not_there_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(BackendError, match="cuda"):
        measure_slowness("cuda", seconds=0.01)
