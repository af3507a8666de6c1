"""What an iteration does, stage by stage, seen from outside on the parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_emgauss._errors import FitError
from napari_emgauss.fitting import preset
from napari_emgauss.fitting._config import FitConfig
from napari_emgauss.fitting._labels import Labels, label_depths
from napari_emgauss.fitting._trainer import Trainer
from napari_emgauss.priors import PseudoLabel
from napari_emgauss.render import EmgaussModel
from napari_emgauss.stack import Stack

from .conftest import model_of

SMALL: dict[str, Any] = {"mlp_width": 16, "mlp_layers": 5, "pixels_per_gaussian": 8.0}


def make_trainer(stack: Stack, config: FitConfig, labels: Labels | None = None) -> Trainer:
    model = model_of(stack, config, 60)
    return Trainer(model, stack.unit_slices(), config, labels)


def parameters_of(model: EmgaussModel, part: str) -> list[torch.Tensor]:
    return [p.detach().clone() for name, p in model.named_parameters() if (".field." in name) == (part == "field")]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def run_to(trainer: Trainer, iteration: int) -> None:
    while trainer.iteration < iteration:
        trainer.step()


def test_the_network_is_frozen_in_warm_up(stack: Stack) -> None:
    trainer = make_trainer(stack, preset("paper", iterations_scale=0.004, **SMALL))  # 8, 4 and 60 iterations
    field, canonical = parameters_of(trainer.student, "field"), parameters_of(trainer.student, "canonical")
    run_to(trainer, trainer.schedule.warm_up_end)
    assert same(parameters_of(trainer.student, "field"), field)
    assert not same(parameters_of(trainer.student, "canonical"), canonical)
    run_to(trainer, trainer.schedule.joint_end)
    assert not same(parameters_of(trainer.student, "field"), field)


def test_no_teacher_before_its_stage_and_its_decay_after(stack: Stack) -> None:
    trainer = make_trainer(stack, preset("paper", iterations_scale=0.004, density_iterations=0, **SMALL))
    run_to(trainer, trainer.schedule.joint_end)
    assert trainer.teacher is None
    before = [p.detach().clone() for p in trainer.student.parameters()]
    trainer.step()
    assert trainer.teacher is not None
    for old, new, taught in zip(before, trainer.student.parameters(), trainer.teacher.parameters(), strict=True):
        torch.testing.assert_close(taught, 0.995 * old + 0.005 * new.detach(), atol=1e-6, rtol=1e-5)
    assert trainer.result is trainer.teacher


def test_pseudo_depths_start_at_mid_gap_and_cover_the_gap(stack: Stack) -> None:
    config = preset("paper", iterations_scale=0.01, **SMALL)
    trainer = make_trainer(stack, config)
    run_to(trainer, trainer.schedule.joint_end + 1)
    t = stack.t

    def shares(iteration: int) -> np.ndarray:
        found = []
        for _ in range(200):
            (depth,) = trainer._depths_in_gaps(trainer.schedule.pseudo_spread(iteration))
            assert trainer._teacher_images([depth]).shape == (1, 1, *stack.shape[1:])
            gap = int(np.searchsorted(t, depth, side="right")) - 1
            found.append((depth - t[gap]) / (t[gap + 1] - t[gap]))
        return np.array(found)

    assert shares(trainer.schedule.joint_end) == pytest.approx(0.5)
    half = shares((trainer.schedule.joint_end + trainer.schedule.ramp_end) // 2)
    assert 0.25 <= half.min() < 0.3 and 0.7 < half.max() <= 0.75
    whole = shares(trainer.schedule.ramp_end)
    assert whole.min() < 0.05 and whole.max() > 0.95


def test_real_and_pseudo_iterations_alternate(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(stack, preset("paper", iterations_scale=0.002, **SMALL))
    order: list[str] = []
    for kind in ("real", "pseudo"):
        method = getattr(trainer, f"_{kind}_job")

        def spy(*args: Any, kind: str = kind, method: Any = method, **kwargs: Any) -> Any:
            order.append(kind)
            return method(*args, **kwargs)

        monkeypatch.setattr(trainer, f"_{kind}_job", spy)
    run_to(trainer, trainer.schedule.joint_end + 6)
    assert order == ["real"] * trainer.schedule.joint_end + ["real", "pseudo"] * 3


class Black:
    """A prior that guesses black with the confidence it is given."""

    def __init__(self, confidence: float | None) -> None:
        self.confidence = confidence

    def at(self, z_nm: float) -> PseudoLabel:
        image = np.zeros((20, 26), dtype=np.float32)
        return PseudoLabel(image, None if self.confidence is None else np.full_like(image, self.confidence))


def test_confidence_weights_the_pseudo_loss(stack: Stack) -> None:
    losses = []
    depths = label_depths(stack.z_nm, 8.0, None)
    for confidence in (None, 1.0, 0.25):
        config = preset("fast", warm_up=False, joint=False, real_per_pseudo=0.1, **SMALL)
        trainer = make_trainer(stack, config, Labels(depths, Black(confidence)))
        losses.append(float(trainer._pseudo_job(trainer.schedule.ramp_end).loss().detach()))
    assert losses[0] == pytest.approx(losses[1]) and losses[2] == pytest.approx(losses[0] / 4)


def test_labels_decide_what_is_seen_in_the_gap(stack: Stack) -> None:
    config = preset("fast", teacher_student_iterations=150, prior="linear", **SMALL)
    trainer = make_trainer(stack, config, Labels(label_depths(stack.z_nm, 8.0, None), Black(None)))
    run_to(trainer, trainer.schedule.total)
    middle = float(trainer.student.render_unit((stack.t[2] + stack.t[3]) / 2).mean().detach())
    slice_mean = float(trainer.student.render_unit(float(stack.t[2])).mean().detach())
    assert middle < 0.5 * slice_mean


def test_the_cap_is_hard(stack: Stack) -> None:
    growing = {"grow_gradient": 0.0, "growth": 1.5, "density_interval": 500, "density_iterations": 10_000}
    config = preset("paper", iterations_scale=0.004, field="spline", **growing, **SMALL)
    trainer = make_trainer(stack, config)
    run_to(trainer, trainer.schedule.total)
    assert trainer.student.gaussian_count == 90
    assert trainer.teacher is not None and trainer.teacher.gaussian_count == 90


def test_a_loss_that_is_no_number_ends_the_fit(stack: Stack) -> None:
    trainer = make_trainer(stack, preset("fast", **SMALL))
    trainer.step()
    with torch.no_grad():
        trainer.student.cloud_list[0].values[3] = float("nan")
    with pytest.raises(FitError, match="diverged in iteration 2"):
        run_to(trainer, 20)


def test_it_learns(stack: Stack) -> None:
    trainer = make_trainer(stack, preset("fast", teacher_student=True, prior="ema", **SMALL))
    first = trainer.step()
    run_to(trainer, 250)
    assert trainer.loss is not None and trainer.loss < 0.4 * first


@pytest.mark.parametrize(("field", "torchs"), [("spline", 1), ("mlp", 2)])
def test_torch_takes_a_thread_for_small_pictures_and_all_for_networks(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, field: str, torchs: int
) -> None:
    before, seen = torch.get_num_threads(), []
    trainer = make_trainer(stack, preset("fast", field=field, prior="ema", **SMALL))
    monkeypatch.setattr(trainer, "_step", lambda: seen.append(torch.get_num_threads()) or 0.0)
    try:
        torch.set_num_threads(2)
        trainer.step()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [torchs]
