from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_emgauss import FitConfig, ModelFileError, Stack, stack_from_array
from napari_emgauss.model._file import read_tensors, write_tensors
from napari_emgauss.priors import Observation, SelfPrior, SelfPriorConfig, WeightedPrior
from napari_emgauss.tiles import RunOptions, TileSize, _task, cut, fit_tiles, run_fit_tiles
from napari_emgauss.tiles._shared_prior import (
    _FORMAT,
    PRIOR_NAME,
    UNFINISHED_NAME,
    learn_shared_prior,
    learns,
    read_prior_state,
    read_shared_prior,
    sample,
    sample_shape,
    write_shared_prior,
)

SIZE = TileSize(70, 8, 4, 2)
TINY = SelfPriorConfig(iterations=2, channels=(4,), rotations_deg=(0.0,), mirrored=False, device="cpu")


@pytest.fixture
def tiny_self(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prior ``self`` in a moment."""
    from napari_emgauss.priors import _registry

    def tiny(device: str = "auto") -> SelfPrior:
        return SelfPrior(replace(TINY, device=device))

    monkeypatch.setitem(_registry._PRIORS, "self", replace(_registry.prior_info("self"), factory=tiny))


def observation_of(stack: Stack) -> Observation:
    return Observation(stack.unit_slices(), stack.z_nm, stack.pixel_size_nm)


def test_only_priors_that_learn_are_worth_sharing(quick_config: FitConfig) -> None:
    assert learns(replace(quick_config, prior="auto")) and learns(replace(quick_config, prior="self:best"))
    assert not learns(replace(quick_config, prior="ensemble"))
    assert not learns(replace(quick_config, prior="auto", teacher_student=False))


def test_the_sample_is_spread_over_the_plane_in_the_middle_window() -> None:
    # Grey values tell where a voxel is from: 100 a slice, then 20 a quarter of the rows, 1 a quarter of the columns.
    z, y, x = np.meshgrid(np.arange(9), np.arange(1040) // 260, np.arange(560) // 140, indexing="ij")
    stack = stack_from_array((z * 100 + y * 20 + x).astype(np.uint16), (40, 8, 8))
    plan = cut(stack.shape, stack.z_nm, TileSize(512, 16, 5, 2))
    assert [(span.start, span.stop) for span in plan.slices] == [(0, 4), (2, 7), (5, 9)]
    middle = plan.slices[1]
    seen = sample(stack, plan)
    assert seen.images.shape == (len(middle), 512, 512) == sample_shape((len(middle), 1040, 560))
    assert sample_shape((5, 300, 70)) == (5, 256, 70)
    assert seen.z_nm.tolist() == stack.z_nm[middle.start : middle.stop].tolist()
    grey = np.rint(stack.normalisation.from_unit(seen.images)).astype(int)
    expected = np.asarray(stack.slices)[middle.start]
    # Pieces of 256 centred on a quarter and three quarters: rows 132-388 and 652-908, columns 12-268 and 292-548.
    assert np.array_equal(grey[0, :256, :256], expected[132:388, 12:268])
    assert np.array_equal(grey[0, 256:, 256:], expected[652:908, 292:548])


def test_of_a_small_volume_the_sample_is_all_there_is(small_stack: Stack) -> None:
    plan = cut(small_stack.shape, small_stack.z_nm, TileSize())
    assert np.array_equal(sample(small_stack, plan).images, small_stack.unit_slices())


def test_what_is_written_is_what_is_read(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path, tiny_self: None
) -> None:
    plan = cut(small_stack.shape, small_stack.z_nm, SIZE)
    prior = learn_shared_prior(small_stack, plan, replace(quick_config, prior="self"))
    assert prior.describe() == "self"
    prior = replace(prior, parts=(("self", 1.0, replace(prior.parts[0][2], gap_ratio=1.07, warm=True)),))
    write_shared_prior(tmp_path, prior)
    again = read_shared_prior(tmp_path)
    assert again is not None
    assert (again.parts[0][2].gap_ratio, again.parts[0][2].warm) == (1.07, True)
    z_nm = float(small_stack.z_nm[1]) + 17.0
    before, after = (p.prepare(observation_of(small_stack)).at(z_nm).image for p in (prior, again))
    assert np.array_equal(before, after)
    # Where it calculates is the matter of those who read it.
    read = [read_shared_prior(tmp_path, device) for device in ("cpu", "auto", "cuda")]
    assert [p.parts[0][2].config.device for p in read if p is not None] == ["cpu", "auto", "auto"]
    (tmp_path / PRIOR_NAME).write_bytes(b"nonsense")
    with pytest.raises(ModelFileError, match="not an EMGauss prior"):
        read_shared_prior(tmp_path)


@pytest.mark.parametrize("corrected", [True, False])
def test_a_prior_from_when_its_correction_was_all_or_nothing_is_read(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path, tiny_self: None, corrected: bool
) -> None:
    plan = cut(small_stack.shape, small_stack.z_nm, SIZE)
    write_shared_prior(tmp_path, learn_shared_prior(small_stack, plan, replace(quick_config, prior="self")))
    tensors, header = read_tensors(tmp_path / PRIOR_NAME, expected_format=_FORMAT, newest_version=1, kind="prior")
    settings = header["parts"][0]["learned"]["config"]
    del settings["correction"]
    settings["corrected"] = corrected
    write_tensors(tmp_path / PRIOR_NAME, tensors, header)
    again = read_shared_prior(tmp_path)
    assert again is not None
    assert again.parts[0][2].config.correction == float(corrected)


def test_parts_are_mixed_by_their_weights(small_stack: Stack, tmp_path: Path) -> None:
    from napari_emgauss import get_prior

    prior = WeightedPrior("auto", (("nearest", 0.25, get_prior("nearest")), ("linear", 0.75, get_prior("linear"))))
    write_shared_prior(tmp_path, prior)
    mixed = read_shared_prior(tmp_path)
    assert mixed is not None and mixed.describe() == "25% nearest + 75% linear"
    images = small_stack.unit_slices()
    found = mixed.prepare(observation_of(small_stack)).at(10.0).image  # a quarter of the first gap
    assert found == pytest.approx(0.25 * images[0] + 0.75 * (0.75 * images[0] + 0.25 * images[1]), abs=1e-5)


def test_a_run_learns_once_and_one_that_goes_on_uses_the_same(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path, tiny_self: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(quick_config, prior="self")
    learned = []
    learn = SelfPrior.learn_from

    def counted(self: SelfPrior, *arguments: object, **more: object) -> object:
        learned.append(1)
        return learn(self, *arguments, **more)

    monkeypatch.setattr(SelfPrior, "learn_from", counted)
    updates = fit_tiles(small_stack, config, folder=tmp_path / "run", size=SIZE)
    texts = []
    for update in updates:
        texts.append(update.text)
        if update.tiles_done == 2:
            break
    updates.close()
    assert "Prior for all tiles: self." in texts
    before = (tmp_path / "run" / PRIOR_NAME).read_bytes()
    *_, last = fit_tiles(small_stack, folder=tmp_path / "run")
    shared = len(learned)
    assert last.finished and shared == 2, "one training, and one trial on hidden slices that tells its errors"
    assert (tmp_path / "run" / PRIOR_NAME).read_bytes() == before
    *_, own = fit_tiles(small_stack, config, folder=tmp_path / "own", size=SIZE, options=RunOptions(share_prior=False))
    assert own.finished and len(learned) == shared + 2 * 6
    assert not (tmp_path / "own" / PRIOR_NAME).exists()


def test_learning_that_was_stopped_goes_on(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run closed while it learns for all tiles goes on there, and ends in the same bytes."""
    from napari_emgauss.priors import _registry
    from napari_emgauss.priors.learned._training_step import TrainingStep

    def tiny(device: str = "auto") -> SelfPrior:
        return SelfPrior(replace(TINY, iterations=60, device=device))

    monkeypatch.setitem(_registry._PRIORS, "self", replace(_registry.prior_info("self"), factory=tiny))
    config = replace(quick_config, prior="self")
    *_, whole = fit_tiles(small_stack, config, folder=tmp_path / "whole", size=SIZE)
    assert whole.finished
    steps = []
    hold = threading.Event()
    step = TrainingStep.__call__

    def counted(self: TrainingStep, *arguments: object) -> object:
        steps.append(1)
        if len(steps) == 20:
            assert hold.wait(60)
        return step(self, *arguments)

    monkeypatch.setattr(TrainingStep, "__call__", counted)
    updates = fit_tiles(small_stack, config, folder=tmp_path / "run", size=SIZE)
    next(update for update in updates if len(steps) == 20)
    closing = threading.Thread(target=updates.close)
    threading.Timer(0.5, hold.set).start()
    closing.start()
    closing.join()
    unfinished = tmp_path / "run" / UNFINISHED_NAME
    done = read_prior_state(tmp_path / "run").entries()["training"].values["iteration"]
    assert len(steps) == done < 60
    *_, last = fit_tiles(small_stack, folder=tmp_path / "run")
    assert last.finished and len(steps) == 60 + 20, "the trial on hidden slices takes a third of the steps"
    assert not unfinished.exists()
    for name in (PRIOR_NAME, "index.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_damaged_state_of_learning_is_told(small_stack: Stack, quick_config: FitConfig, tmp_path: Path) -> None:
    write_tensors(
        tmp_path / UNFINISHED_NAME,
        {},
        {"format": "napari-emgauss-prior-state", "format_version": 1, "entries": {"training": 3}},
    )
    with pytest.raises(ModelFileError, match="delete it and run the fit again"):
        read_prior_state(tmp_path)


def test_all_cores_learn_what_tiles_of_one_thread_share(
    tiny_self: None, small_stack: Stack, quick_config: FitConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: dict[str, set[int]] = {"learning": set(), "fitting": set()}
    learn, fit = SelfPrior.learn_from, _task.fit

    def learning(*given: Any, **named: Any) -> Any:
        used["learning"].add(torch.get_num_threads())
        return learn(*given, **named)

    def fitting(*given: Any, **named: Any) -> Any:
        used["fitting"].add(torch.get_num_threads())
        return fit(*given, **named)

    monkeypatch.setattr(SelfPrior, "learn_from", learning)
    monkeypatch.setattr(_task, "fit", fitting)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run_fit_tiles(small_stack, replace(quick_config, prior="self"), folder=tmp_path / "run", size=SIZE)
    finally:
        torch.set_num_threads(before)
    assert used == {"learning": {3}, "fitting": {1}}
