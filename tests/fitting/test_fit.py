"""The generator: messages, stages, priors in the background, stopping, checkpoints, same seed same result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from napari_emgauss import ProgressUpdate
from napari_emgauss._errors import ConfigError, FitError, ModelFileError, PriorError
from napari_emgauss.fitting import FitConfig, _fit as fit_module, fit, preset, run_fit
from napari_emgauss.priors import Observation, PseudoLabel, get_prior
from napari_emgauss.render import load
from napari_emgauss.stack import Stack

from .conftest import keep_always, small_stack

SMALL: dict[str, Any] = {"pixels_per_gaussian": 8.0}


def quick(**settings: Any) -> FitConfig:
    return preset("fast", **{**SMALL, "prior": "linear", "teacher_student_iterations": 60, **settings})


@pytest.fixture(autouse=True)
def every_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report after each iteration: what is tested must not depend on the machine's speed."""
    monkeypatch.setattr(fit_module, "_REPORT_INTERVAL_S", 0.0)


@pytest.mark.parametrize("switches", [{}, {"dynamic_rotation": True}, {"dynamic_opacity": False}])
def test_paper_walks_all_stages(stack: Stack, switches: dict[str, Any]) -> None:
    config = preset("paper", iterations_scale=0.01, mlp_width=24, **SMALL, **switches)
    updates = list(fit(stack, config))
    stages = list(dict.fromkeys(u.stage for u in updates))
    assert stages == ["warm-up", "joint", "teacher-student"]
    assert [u.iteration for u in updates] == list(range(181))
    assert all(u.total_iterations == 180 and u.model is updates[0].model for u in updates)
    assert [u.finished for u in updates] == [False] * 180 + [True]
    assert updates[-1].loss is not None and updates[1].loss is not None and updates[-1].loss < updates[1].loss
    assert updates[-1].eta_s == 0.0 and updates[60].eta_s is not None
    assert updates[-1].model is not None and updates[-1].model.thickness.gaps == 1.0


@pytest.mark.parametrize("switch", ["warm_up", "joint", "teacher_student"])
def test_stages_can_be_left_out(stack: Stack, switch: str) -> None:
    config = preset("paper", iterations_scale=0.002, mlp_width=16, **SMALL, **{switch: False})
    stages = {u.stage for u in fit(stack, config)}
    assert switch.replace("_", "-") not in stages and len(stages) == 2


def test_the_prior_stage_comes_first_and_the_model_is_live(stack: Stack) -> None:
    versions, images, stages = [], [], []
    for update in fit(stack, quick()):
        assert update.model is not None
        stages.append(update.stage)
        versions.append(update.model.version)
        images.append(update.model.render(100.0))
    assert stages[-1] == "teacher-student" and "warm-up" in stages
    assert versions == sorted(versions) and versions[-1] > versions[0]
    assert not np.array_equal(images[0], images[-1])


def test_result_is_better_than_where_it_started_and_can_be_saved(stack: Stack, tmp_path: Path) -> None:
    model = run_fit(stack, quick(teacher_student_iterations=200))
    seen = stack.normalisation.to_unit(model.render(80.0))
    error = float(np.mean((seen - stack.unit_slice(2)) ** 2))
    assert -10 * np.log10(error) > 25
    assert model.provenance["prior_name"] == "linear" and model.provenance["fit"]["seed"] == 0
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "m.safetensors", device="cpu").render(100.0), model.render(100.0))


@pytest.mark.parametrize("field", ["spline", "grid", "mlp"])
def test_same_seed_same_result(stack: Stack, field: str) -> None:
    config = quick(field=field, teacher_student_iterations=10, mlp_width=16, depth_noise=0.1)
    torch.manual_seed(1)
    one = run_fit(stack, config)
    torch.manual_seed(2)
    two = run_fit(stack, config)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    other = run_fit(stack, quick(field=field, teacher_student_iterations=10, mlp_width=16, seed=1))
    assert not torch.equal(one.cloud_list[0].means, other.cloud_list[0].means)


class SlowPrior:
    """Prepares for ever, but reports; or fails."""

    name = "slow"

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.reports = 0
        self.stopped = threading.Event()

    def prepare(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        on_progress: Callable[[ProgressUpdate], None] | None = None,
    ) -> Any:
        if self.failure is not None:
            raise self.failure
        assert on_progress is not None
        try:
            while True:
                self.reports += 1
                on_progress(ProgressUpdate(0.25, loss=0.5, text="training"))
                time.sleep(0.01)
        finally:
            self.stopped.set()


def test_closing_in_the_middle_of_the_prior(stack: Stack, tmp_path: Path) -> None:
    prior = SlowPrior()
    updates = fit(stack, quick(), prior=prior, checkpoint=tmp_path / "c.safetensors")
    texts = set()
    for update in updates:
        assert (update.stage, update.iteration, update.model is not None) == ("prior", 0, True)
        texts.add((update.text, update.loss))
        if ("training", 0.5) in texts and prior.reports > 3:
            break
    updates.close()  # type: ignore[attr-defined]
    assert prior.stopped.is_set()  # closing waits for the thread
    assert not (tmp_path / "c.safetensors").exists()  # nothing to keep


def test_a_prior_that_fails(stack: Stack) -> None:
    with pytest.raises(PriorError, match="no structure"):
        run_fit(stack, quick(), prior=SlowPrior(PriorError("no structure")))


def test_a_prior_that_gives_nonsense(stack: Stack) -> None:
    class Nonsense(SlowPrior):
        def prepare(self, *args: Any, **kwargs: Any) -> Any:
            return self

        def at(self, z_nm: float) -> PseudoLabel:
            return PseudoLabel(np.full((20, 26), np.nan, dtype=np.float32))

    with pytest.raises(PriorError, match="not numbers"):
        run_fit(stack, quick(), prior=Nonsense())


def test_a_prior_given_as_an_object_is_used(stack: Stack) -> None:
    model = run_fit(stack, quick(prior="nearest", teacher_student_iterations=5), prior=get_prior("cubic"))
    assert model.provenance["prior_name"] == "cubic"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prior": "ema", "field": "mlp", "mlp_width": 16},
        {"field": "grid", "growth": 1.5, "grow_gradient": 0.0, "density_iterations": 50, "density_interval": 7},
        {"window_slices": 3},
    ],
)
@pytest.mark.parametrize("stop_at", [20, 71])  # in warm-up, and in teacher-student
def test_resumed_equals_uninterrupted(stack: Stack, tmp_path: Path, settings: dict[str, Any], stop_at: int) -> None:
    config = quick(
        teacher_student_iterations=40, warm_up_iterations=30, joint_iterations=20, depth_noise=0.1, **settings
    )
    whole = run_fit(stack, config)
    path = tmp_path / "c.safetensors"
    updates = fit(stack, config, checkpoint=path)
    for update in updates:
        if update.iteration == stop_at:
            break
    updates.close()  # type: ignore[attr-defined]
    resumed = list(fit(small_stack(), resume=path))
    first = next(u for u in resumed if u.stage != "prior")
    assert first.iteration == stop_at and first.stage == ("warm-up" if stop_at == 20 else "teacher-student")
    assert resumed[-1].elapsed_s > update.elapsed_s
    model = resumed[-1].model
    assert model is not None and model.provenance["prior_name"] == config.prior
    for (name, a), (_, b) in zip(whole.named_parameters(), model.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_resumed_fit_does_not_train_its_prior_again(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    updates = fit(stack, quick(), checkpoint=path)
    next(u for u in updates if u.iteration == 4)
    updates.close()  # type: ignore[attr-defined]
    assert all(u.stage != "prior" for u in fit(stack, resume=path, prior=SlowPrior()))


def test_resuming_what_does_not_fit(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    updates = fit(stack, quick(), checkpoint=path)
    next(u for u in updates if u.iteration == 4)
    updates.close()  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="seed 0"):
        fit(stack, quick(seed=3), resume=path)
    with pytest.raises(ConfigError, match="another stack"):
        next(iter(fit(small_stack(seed=1), resume=path)))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelFileError, match="cut short"):
        fit(stack, resume=path)
    run_fit(stack, quick(teacher_student_iterations=5)).save(path)
    with pytest.raises(ModelFileError, match="not an EMGauss checkpoint"):
        fit(stack, resume=path)


def test_checkpoints_on_the_way_are_gone_in_the_end(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.safetensors"
    config = quick(teacher_student_iterations=5)
    list(fit(stack, config, checkpoint=path))
    assert not path.exists()
    keep_always(monkeypatch)
    there = [path.exists() for _ in fit(stack, config, checkpoint=path)]
    assert any(there) and not path.exists()


def test_a_checkpoint_is_kept_until_the_result_is_saved(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.safetensors"
    keep_always(monkeypatch)
    updates = fit(stack, quick(teacher_student_iterations=5), checkpoint=path)
    next(update for update in updates if update.finished)
    assert path.exists()
    assert next(updates, None) is None
    assert not path.exists()


def test_a_fit_goes_on_where_its_checkpoint_cannot_be_written(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick(teacher_student_iterations=5)
    keep_always(monkeypatch)
    updates = list(fit(stack, config, checkpoint=tmp_path / "gone" / "c.safetensors"))
    assert updates[-1].finished
    warnings = [update.text for update in updates if update.text.startswith("Warning")]
    assert warnings and "the fit continues" in warnings[0] and "gone' does not exist" in warnings[0]


def test_a_diverged_fit_says_so(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_emgauss.fitting._trainer import Trainer

    before = Trainer.step

    def diverge(self: Trainer) -> float:
        if self.iteration == 5:
            with torch.no_grad():
                self.student.cloud_list[0].values.fill_(float("inf"))
        return before(self)

    monkeypatch.setattr(Trainer, "step", diverge)
    path = tmp_path / "c.safetensors"
    with pytest.raises(FitError, match="diverged"):
        list(fit(stack, quick(), checkpoint=path))
    assert not path.exists()


def test_messages_keep_coming_while_a_prior_is_silent(stack: Stack) -> None:
    class Silent(SlowPrior):
        def prepare(self, *args: Any, **kwargs: Any) -> Any:
            self.stopped.wait(20)
            return get_prior("linear").prepare(args[0])

    prior = Silent()
    count = 0
    for update in fit(stack, quick(teacher_student_iterations=5), prior=prior):
        count += update.stage == "prior"
        if count == 5:
            prior.stopped.set()
    assert count >= 5


def test_what_is_left_is_told_at_the_pace_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module.time, "monotonic", lambda: 120.0)
    trainer = SimpleNamespace(iteration=13, schedule=SimpleNamespace(total=53))
    assert fit_module._Fit._eta(None, trainer, began=100.0, first=3) == 80.0  # ten in 20 s, forty to go
    assert fit_module._Fit._eta(None, trainer, began=100.0, first=11) is None
