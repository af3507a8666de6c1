"""An iteration on a GPU never waits for it, and one that is recorded is the iteration itself."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from napari_emgauss._torch._graphs import GraphedSteps
from napari_emgauss._torch._pending import PendingLosses
from napari_emgauss.fitting import preset
from napari_emgauss.fitting._config import FitConfig
from napari_emgauss.fitting._labels import Labels, label_depths
from napari_emgauss.fitting._trainer import Trainer
from napari_emgauss.render import _splat as splat_module
from napari_emgauss.render._reference import splat_reference
from napari_emgauss.stack import Stack

from .conftest import model_of

LENGTHS = {"warm_up_iterations": 4, "joint_iterations": 4, "teacher_student_iterations": 60}


@pytest.fixture(autouse=True)
def dense_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every splat for every pixel: plain operations whose sizes depend on no number, as those of the GPU's kernels."""
    monkeypatch.setattr(splat_module, "renderer", lambda name: partial(splat_reference, tile=None))


def kept_labels(stack: Stack) -> Labels:
    depths = label_depths(stack.z_nm, 8.0, 2)
    random = np.random.default_rng(1)
    images = random.random((len(depths.z_nm), *stack.shape[1:])).astype(np.float16)
    return Labels(depths, None, images, random.random(images.shape).astype(np.float16))


def make_trainer(stack: Stack, config: FitConfig, labels: Labels | None, device: str = "cpu") -> Trainer:
    model = model_of(stack, config, 20, device=device)
    trainer = Trainer(model, stack.unit_slices(), config, labels)
    if trainer._targets is not None:
        trainer._targets.keep_on_device = True
    return trainer


CONFIGS: dict[str, dict[str, Any]] = {
    "fast": {"prior": "linear"},
    "default": {"prior": "linear", "depths_per_iteration": 2},
    "paper": {"mlp_width": 8, "mlp_layers": 5, "density_iterations": 0},
    "grid": {"field": "grid", "prior": "linear", "sampling": "slab"},
}


@pytest.mark.parametrize("name", list(CONFIGS))
def test_no_iteration_waits_for_the_device(
    stack: Stack, launches: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    settings = {**LENGTHS, **CONFIGS[name]}
    config = preset("fast" if name == "grid" else name, **settings)
    trainer = make_trainer(stack, config, None if config.prior == "ema" else kept_labels(stack), device="meta")
    # There is nothing to be fetched from this device, so that any attempt fails. Between two stages losses are.
    trainer._pending = PendingLosses(torch.device("meta"), 1000)
    monkeypatch.setattr(trainer, "_read_losses", lambda: None)
    waits = launches.Waits("meta")
    for stage, iterations in (("warm-up", 4), ("joint", 4), ("teacher-student", 8)):
        # Once for each stage constants are made and labels are brought there.
        for k in range(iterations):
            assert trainer.schedule.stage(trainer.iteration) == stage
            if k < 3:
                trainer.step()
            else:
                with waits:
                    trainer.step()
    assert waits.found == {}


def test_waits_are_found(launches: ModuleType) -> None:
    there = torch.zeros(3, device="meta")
    for wait, word in (
        (lambda: there.new_tensor([1.0, 2.0]), "from the host"),
        (lambda: there + torch.ones(3).to("meta"), "from the host"),
        (lambda: torch.zeros(3)[torch.ones(3) > 0].to("meta"), "from the host"),
    ):
        waits = launches.Waits("meta")
        with waits:
            wait()
        assert any(word in name for name in waits.found), waits.found
    for wait in (lambda: float(there.sum()), lambda: bool(there[0] > 0), lambda: there.nonzero()):
        waits = launches.Waits("meta")
        with waits, pytest.raises((RuntimeError, NotImplementedError)):
            wait()
        assert waits.found
    here = torch.arange(4.0)
    for wait in (here.sum().item, here.nonzero, lambda: here[here > 1]):
        waits = launches.Waits("cpu")
        with waits:
            wait()
        assert waits.found


def recorded(trainer: Trainer, launches: ModuleType) -> list[int]:
    """Let the trainer record its iterations; returns a list with an entry for each recording."""
    recordings: list[int] = []

    def keep() -> Any:
        models = [m for m in (trainer.student, trainer.teacher) if m is not None]
        tensors = [p.data for model in models for p in model.parameters()]
        for state in trainer._optimiser._adam.state.values():
            tensors += [v for v in state.values() if isinstance(v, torch.Tensor)]
        kept = [t.clone() for t in tensors]
        recordings.append(trainer.iteration)

        def back() -> None:
            for tensor, value in zip(tensors, kept, strict=True):
                tensor.copy_(value)

        return back

    trainer._graphs = GraphedSteps(launches.tape_recorder(keep), trainer._recording)
    trainer._optimiser = type(trainer._optimiser)(trainer.student, rates_on_device=True)
    return recordings


def test_recorded_iterations_are_the_iterations(stack: Stack, launches: ModuleType) -> None:
    config = preset("fast", prior="linear", **LENGTHS, pseudo_weight_start=0.5, pseudo_weight_end=0.5)
    plain, graphed = (make_trainer(stack, config, kept_labels(stack)) for _ in range(2))
    recordings = recorded(graphed, launches)
    while not plain.finished:
        first, second = plain.step(), graphed.step()
        assert second == pytest.approx(first, rel=1e-4), plain.iteration
    assert len(recordings) > 5
    for name, want in plain.result.named_parameters():
        torch.testing.assert_close(
            dict(graphed.result.named_parameters())[name], want, rtol=1e-3, atol=1e-4, msg=f"{name} differs"
        )


def test_iterations_that_differ_are_not_recorded(stack: Stack, launches: ModuleType) -> None:
    for changes in ({"depth_noise": 0.1, "depth_noise_iterations": 1000}, {"density_iterations": 1000}):
        config = preset("fast", prior="ema", **{**LENGTHS, "warm_up_iterations": 0, **changes})
        trainer = make_trainer(stack, config, None)
        recordings = recorded(trainer, launches)
        for _ in range(30):
            trainer.step()
        assert recordings == []
