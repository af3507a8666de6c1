"""Checkpoints: what they hold, how they are written, and that a fit goes on from any as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_emgauss._errors import ModelFileError
from napari_emgauss.fitting import (
    FitConfig,
    FitUpdate,
    _checkpoint as checkpoint_module,
    _fit as fit_module,
    _keeper as keeper_module,
    fit,
    preset,
    run_fit,
)
from napari_emgauss.fitting._checkpoint import read_checkpoint
from napari_emgauss.priors import get_prior
from napari_emgauss.priors.learned._training_step import TrainingStep
from napari_emgauss.render import EmgaussModel
from napari_emgauss.stack import Stack, read_stack, stack_from_array

from ..data.make import STOPPED_AT, small_config, small_stack
from .conftest import keep_always

DATA = Path(__file__).parents[1] / "data"
SHORT: dict[str, Any] = {"teacher_student_iterations": 30, "pixels_per_gaussian": 20.0, "device": "cpu"}


@pytest.fixture(autouse=True)
def every_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report after each iteration: what is tested must not depend on the machine's speed."""
    monkeypatch.setattr(fit_module, "_REPORT_INTERVAL_S", 0.0)


@pytest.fixture
def tiny_self(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prior ``self`` in a moment, by its name in the settings."""
    from napari_emgauss.priors import SelfPrior, SelfPriorConfig, _registry

    def tiny(device: str = "auto") -> SelfPrior:
        return SelfPrior(SelfPriorConfig(40, (4, 4), (0.0,), mirrored=False, correction=0.0, device=device))

    monkeypatch.setitem(_registry._PRIORS, "self", replace(_registry.prior_info("self"), factory=tiny))


def wide_stack() -> Stack:
    """Six slices that are large enough to learn from."""
    z, y, x = np.meshgrid(np.arange(6), np.arange(44), np.arange(40), indexing="ij")
    grey = 128 + 60 * np.sin((y + 3 * z) / 5) + 50 * np.cos((x - 2 * z) / 4)
    return stack_from_array(grey.astype(np.uint8), (32, 8, 8), name="waves")


def same(one: EmgaussModel | None, other: EmgaussModel | None) -> bool:
    assert one is not None and other is not None
    pairs = zip(one.named_parameters(), other.named_parameters(), strict=True)
    return all(torch.equal(a, b) for (_, a), (_, b) in pairs)


def stop_in_prior(path: Path, config: FitConfig, messages: int) -> None:
    """Close a fit that trains its prior, after so many messages of that training."""
    updates = fit(wide_stack(), config, checkpoint=path)
    texts: set[str] = set()
    for update in updates:
        assert update.stage == "prior"
        if "training" in update.text:
            texts.add(update.text)
        if len(texts) == messages:
            break
    updates.close()  # type: ignore[attr-defined]


OF_ERROR_BARS = 13
"""Steps of the trial on hidden slices that follows a training of 40: a third."""


class Steps:
    """Counts the steps of all trainings, and holds each until it may be made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        step = TrainingStep.__call__

        def counted(training: TrainingStep, *arguments: Any) -> torch.Tensor:
            self.count += 1
            return step(training, *arguments)

        monkeypatch.setattr(TrainingStep, "__call__", counted)


@pytest.mark.parametrize("shifts", [False, True])
def test_a_fit_closed_in_its_prior_goes_on_in_it(
    tmp_path: Path, tiny_self: None, monkeypatch: pytest.MonkeyPatch, shifts: bool
) -> None:
    config = preset("fast", **{**SHORT, "prior": "self", "slice_shifts": shifts, "joint_iterations": 10})
    whole = run_fit(wide_stack(), config)
    steps = Steps(monkeypatch)
    path = tmp_path / "c.safetensors"
    updates = fit(wide_stack(), config, checkpoint=path)
    at = next(u.iteration for u in updates if u.stage == "prior" and "training" in u.text)
    updates.close()  # type: ignore[attr-defined]
    saved = read_checkpoint(path)
    assert saved.state["iteration"] == at and saved.iterating == shifts and (at > 0) == shifts
    assert 0 < saved.prior["training"].values["iteration"] == steps.count < 40
    resumed = list(fit(wide_stack(), resume=path))
    assert steps.count == 40 + OF_ERROR_BARS  # none was made twice
    assert same(resumed[-1].model, whole)
    assert resumed[-1].elapsed_s > saved.elapsed_s > 0


def test_large_labels_are_made_again_from_what_the_prior_learned(
    tmp_path: Path, tiny_self: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = preset("fast", **{**SHORT, "prior": "self"})
    whole = run_fit(wide_stack(), config)
    path = tmp_path / "c.safetensors"

    def stopped(limit: int) -> int:
        monkeypatch.setattr(checkpoint_module, "LABELS_KEPT_BYTES", limit)
        updates = fit(wide_stack(), config, checkpoint=path)
        next(u for u in updates if u.iteration == 12)
        updates.close()  # type: ignore[attr-defined]
        return path.stat().st_size

    with_labels = stopped(1 << 30)
    assert read_checkpoint(path).labels() is not None and not read_checkpoint(path).prior
    assert all(u.stage != "prior" for u in fit(wide_stack(), resume=path))
    without = stopped(0)
    saved = read_checkpoint(path)
    assert saved.labels() is None and set(saved.prior) == {"learned", "error_laws"}
    labels = 5 * 3 * 44 * 40 * 2 * 2  # three in each of five gaps, with their confidences
    network = saved.prior["learned"].tensors.values()
    assert with_labels - without == pytest.approx(labels - sum(tensor.nbytes for tensor in network), abs=4000)
    steps = Steps(monkeypatch)
    resumed = list(fit(wide_stack(), resume=path))
    assert {u.stage for u in resumed} >= {"prior", "teacher-student"} and steps.count == 0
    assert {u.iteration for u in resumed if u.stage == "prior"} == {12}
    assert same(resumed[-1].model, whole)
    assert resumed[-1].model is not None and resumed[-1].model.confidence is not None


def test_labels_of_a_prior_given_as_an_object_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else could make them again."""
    monkeypatch.setattr(checkpoint_module, "LABELS_KEPT_BYTES", 0)
    config = preset("fast", **{**SHORT, "prior": "linear"})
    path = tmp_path / "c.safetensors"
    for prior in (None, get_prior("linear")):
        updates = fit(wide_stack(), config, checkpoint=path, prior=prior)
        next(u for u in updates if u.iteration == 5)
        updates.close()  # type: ignore[attr-defined]
        assert (read_checkpoint(path).labels() is None) == (prior is None)


def test_stopped_again_while_labels_are_made_again(
    tmp_path: Path, tiny_self: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_module, "LABELS_KEPT_BYTES", 0)
    config = preset("fast", **{**SHORT, "prior": "self"})
    whole = run_fit(wide_stack(), config)
    path = tmp_path / "c.safetensors"
    updates = fit(wide_stack(), config, checkpoint=path)
    next(u for u in updates if u.iteration == 60)
    updates.close()  # type: ignore[attr-defined]
    updates = fit(wide_stack(), resume=path, checkpoint=path)
    assert next(updates).stage == "prior"
    updates.close()  # type: ignore[attr-defined]
    assert read_checkpoint(path).state["iteration"] == 60
    *_, last = fit(wide_stack(), resume=path)
    assert same(last.model, whole)


def test_a_state_is_written_while_the_fit_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is of the iteration at which it was begun, however far the fit is when it is done; one at a time."""
    may_write, writing = threading.Event(), []
    write = keeper_module.write_checkpoint

    def slow(path: Any, state: Any) -> None:
        writing.append(state.state["iteration"])
        assert may_write.wait(60)
        write(path, state)

    monkeypatch.setattr(keeper_module, "write_checkpoint", slow)
    keep_always(monkeypatch)
    path = tmp_path / "c.safetensors"
    config = preset("fast", **{**SHORT, "prior": "linear"})
    updates = fit(wide_stack(), config, checkpoint=path)
    next(u for u in updates if u.iteration == 40)
    assert len(writing) == 1 and not path.exists()
    begun = writing[0]
    states: list[Any] = []
    monkeypatch.setattr(keeper_module, "write_checkpoint", lambda _path, state: states.append(state))
    may_write.set()
    updates.close()  # type: ignore[attr-defined]
    assert read_checkpoint(path).state["iteration"] == begun < 40  # closing waited for it, and wrote its own after it
    assert [state.state["iteration"] for state in states] == [40]
    *_, last = fit(wide_stack(), resume=path)
    assert same(last.model, run_fit(wide_stack(), config))


def test_where_memory_is_short_a_state_is_written_without_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000})())
    keep_always(monkeypatch)
    threads = set()
    write = keeper_module.write_checkpoint

    def watched(path: Any, state: Any) -> None:
        if state.nbytes > 500:  # half of what is there; while the prior is made there is nothing to copy yet
            threads.add(threading.current_thread().name)
        write(path, state)

    monkeypatch.setattr(keeper_module, "write_checkpoint", watched)
    list(fit(wide_stack(), preset("fast", **{**SHORT, "prior": "linear"}), checkpoint=tmp_path / "c.safetensors"))
    assert threads == {threading.main_thread().name}


def test_what_a_killed_fit_left_half_written_goes_although_nothing_is_written(tmp_path: Path) -> None:
    left, foreign = (tmp_path / f".{name}.safetensors.37bb3341.emgauss-part" for name in ("c", "another"))
    for path in (left, foreign):
        path.write_bytes(b"half")
    config = preset("fast", **{**SHORT, "prior": "linear"})
    *_, last = fit(wide_stack(), config, checkpoint=tmp_path / "c.safetensors")
    assert last.finished
    assert list(tmp_path.iterdir()) == [foreign]


def test_a_checkpoint_in_the_prior_is_small(tmp_path: Path, tiny_self: None) -> None:
    path = tmp_path / "c.safetensors"
    stop_in_prior(path, preset("fast", **{**SHORT, "prior": "self"}), 2)
    assert path.stat().st_size < 100_000  # the network, its mean and the optimisers' moments; nothing of the stack


KILLED = """
import dataclasses, sys, time
from pathlib import Path
import torch
torch.set_num_threads({threads})
from napari_emgauss.fitting import _fit, _keeper, fit, preset
from napari_emgauss.priors import _registry, _state
from napari_emgauss.priors import SelfPrior, SelfPriorConfig
from napari_emgauss.priors.learned._training_step import TrainingStep
from napari_emgauss.stack import read_stack
_fit._REPORT_INTERVAL_S = _keeper.INTERVAL_S = _state.KEEP_INTERVAL_S = 0.0
_keeper.WRITING_SHARE = 1e9
step = TrainingStep.__call__
TrainingStep.__call__ = lambda *arguments: (time.sleep(0.1), step(*arguments))[1]
def tiny(device="auto"):
    return SelfPrior(SelfPriorConfig(40, (4, 4), (0.0,), mirrored=False, correction=0.0, device=device))
_registry._PRIORS["self"] = dataclasses.replace(_registry.prior_info("self"), factory=tiny)
config = preset("fast", prior="self", device="cpu", teacher_student_iterations=30, pixels_per_gaussian=20.0)
for update in fit(read_stack({stack!r}, voxel_size_nm=(32, 8, 8)), config, checkpoint={path!r}):
    if Path({path!r}).exists():
        print(update.stage, update.iteration, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows ends processes in another way")
def test_a_fit_killed_in_its_prior_goes_on_with_the_same_result(
    tmp_path: Path, tiny_self: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL, which nobody can catch: what lies on the disk is a whole state of a moment before."""
    np.save(tmp_path / "s.npy", np.asarray(wide_stack().slices))
    path = tmp_path / "c.safetensors"
    # With another number of threads, which other tests may have left, some processors sum up in another order.
    code = KILLED.format(stack=str(tmp_path / "s.npy"), path=str(path), threads=torch.get_num_threads())
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            told = [child.stdout.readline() for _ in range(3)]
        finally:
            os.kill(child.pid, signal.SIGKILL)
    assert all(line.startswith("prior 0") for line in told), told
    saved = read_checkpoint(path)
    done = saved.prior["training"].values["iteration"]
    assert 0 < done < 40 and not saved.iterating
    stack = read_stack(tmp_path / "s.npy", voxel_size_nm=(32, 8, 8))
    whole = run_fit(stack, saved.config)
    steps = Steps(monkeypatch)
    *_, last = fit(stack, resume=path, checkpoint=path)
    assert steps.count == 40 - done + OF_ERROR_BARS
    assert same(last.model, whole)
    assert not list(tmp_path.glob(".*"))  # nor does half a file lie about


def test_a_checkpoint_of_an_earlier_form_is_gone_on_from() -> None:
    saved = read_checkpoint(DATA / "checkpoint.safetensors")
    assert saved.state["iteration"] == STOPPED_AT and saved.labels() is not None and not saved.prior
    updates: list[FitUpdate] = list(fit(small_stack(), resume=DATA / "checkpoint.safetensors"))
    assert updates[0].iteration == STOPPED_AT and updates[-1].finished
    model, whole = updates[-1].model, run_fit(small_stack(), small_config())
    assert model is not None
    # On the machine that wrote it all bits are the same; other processors round differently.
    assert np.abs(model.render(60.0).astype(int) - whole.render(60.0)).mean() < 1.0


def test_a_checkpoint_of_a_later_form_is_refused(tmp_path: Path) -> None:
    saved = read_checkpoint(DATA / "checkpoint.safetensors")
    path = tmp_path / "c.safetensors"
    from napari_emgauss.fitting._checkpoint import CHECKPOINT_FORMAT_VERSION, write_checkpoint

    write_checkpoint(path, replace(saved, elapsed_s=3.0))
    assert read_checkpoint(path).elapsed_s == 3.0
    data = path.read_bytes()
    now, later = (f'"format_version\\": {version}'.encode() for version in (CHECKPOINT_FORMAT_VERSION, 9))
    now, later = (text.replace(b'"format', b'\\"format', 1) for text in (now, later))
    assert now in data
    path.write_bytes(data.replace(now, later))
    with pytest.raises(ModelFileError, match="newer napari-emgauss"):
        read_checkpoint(path)
