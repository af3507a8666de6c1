"""What the fit does differently on a GPU, run on the CPU: it must come to the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_emgauss._errors import FitError
from napari_emgauss._torch._pending import PendingLosses
from napari_emgauss.fitting import preset
from napari_emgauss.fitting._config import FitConfig
from napari_emgauss.fitting._label_targets import LabelTargets
from napari_emgauss.fitting._labels import Labels, label_depths
from napari_emgauss.fitting._losses import _blur, _blur_by_convolution
from napari_emgauss.fitting._trainer import Trainer
from napari_emgauss.stack import Stack

from .conftest import model_of


def make_trainer(stack: Stack, config: FitConfig, labels: Labels | None = None) -> Trainer:
    model = model_of(stack, config, 60)
    return Trainer(model, stack.unit_slices(), config, labels)


def short_config() -> FitConfig:
    return preset("fast", prior="ema", warm_up_iterations=5, joint_iterations=6, teacher_student_iterations=12)


def read_together(trainer: Trainer, at_once: int) -> None:
    trainer._pending = PendingLosses(torch.device("cpu"), at_once)


def test_losses_read_together_are_those_read_one_by_one(stack: Stack) -> None:
    losses = []
    for at_once in (1, 7):
        trainer = make_trainer(stack, short_config())
        read_together(trainer, at_once)
        first = trainer.step()
        assert math.isnan(first) == (at_once > 1)
        while not trainer.finished:
            trainer.step()
        assert not trainer._pending
        losses.append(trainer.loss)
    assert losses[0] is not None
    assert losses[0] == losses[1]


def test_losses_are_handed_out_when_the_next_ones_are_sent() -> None:
    pending = PendingLosses[str](torch.device("cpu"), 2)
    known = [pending.add(torch.tensor(float(k)), f"loss {k}") for k in range(5)]
    assert known == [[], [], [], [("loss 0", 0.0), ("loss 1", 1.0)], []]
    assert pending
    assert pending.rest() == [("loss 2", 2.0), ("loss 3", 3.0), ("loss 4", 4.0)]
    assert not pending
    assert pending.rest() == []


def test_a_checkpoint_holds_the_losses_not_read_yet(stack: Stack) -> None:
    trainer = make_trainer(stack, short_config())
    read_together(trainer, 100)
    for _ in range(4):
        trainer.step()
    assert trainer.loss is None
    _, state = trainer.state()
    assert state["loss"] == trainer.loss is not None


def test_divergence_is_found_when_the_losses_are_read(stack: Stack) -> None:
    trainer = make_trainer(stack, preset("fast", prior="ema"))
    read_together(trainer, 3)
    trainer.step()
    with torch.no_grad():
        trainer.student.cloud_list[0].values[3] = float("nan")
    with pytest.raises(FitError, match="diverged in iteration 2 "):
        for _ in range(6):
            trainer.step()


@pytest.mark.parametrize("with_confidence", [True, False])
def test_labels_on_the_gpu_are_the_labels(stack: Stack, with_confidence: bool) -> None:
    depths = label_depths(stack.z_nm, 8.0, 3)
    random = np.random.default_rng(1)
    images = random.random((len(depths.z_nm), *stack.shape[1:])).astype(np.float16)
    confidences = random.random(images.shape).astype(np.float16) if with_confidence else None
    labels = Labels(depths, None, images, confidences)
    targets = LabelTargets(labels, torch.device("cpu"), with_confidence=True)
    targets.keep_on_device = True
    picks = [4, 1]
    for _ in range(2):  # the second time from what is there already
        image, confidence = targets.at(picks)
        for k, pick in enumerate(picks):
            wanted = labels[pick]
            assert np.array_equal(image[k, 0].numpy(), wanted.image)
            assert (confidence is None) == (wanted.confidence is None)
            if confidence is not None and wanted.confidence is not None:
                assert np.array_equal(confidence[k, 0].numpy(), wanted.confidence)


def test_the_blur_by_convolution_is_the_blur() -> None:
    x = torch.rand(2, 3, 1, 9, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_blur_by_convolution(x), _blur(x), rtol=0, atol=1e-12)
