"""What slices teach: masked pixels nothing, slabs their mean, misplaced ones where they belong."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch

from napari_emgauss._errors import ConfigError
from napari_emgauss.evaluation import psnr
from napari_emgauss.fitting import FitConfig, fit, preset, run_fit
from napari_emgauss.fitting._supervision import ShiftLearner, SliceSupervision, shift_report
from napari_emgauss.render import EmgaussModel
from napari_emgauss.stack import (
    DamagedRectangle,
    Normalisation,
    PhantomConfig,
    Stack,
    mask_damage,
    sample_stack,
    sample_truth,
    stack_from_array,
)
from napari_emgauss.stack._alignment import move_slices

from .conftest import model_of


def make_model(stack: Stack, config: FitConfig) -> EmgaussModel:
    _, height, width = stack.shape
    model = model_of(stack, config, 70)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for cloud in model.cloud_list:
            cloud.means.copy_(torch.rand(70, 2, generator=rng) * torch.tensor([float(width), float(height)]))
            cloud.log_scales.fill_(0.9)
            cloud.values.copy_(torch.rand(70, 1, generator=rng))
            for knot in cloud.field.knots:
                knot.copy_(0.3 * torch.randn(knot.shape, generator=rng))
    return model


def test_masked_pixels_teach_nothing(stack: Stack) -> None:
    config = preset("fast")
    model = make_model(stack, config)
    images = stack.unit_slices()
    sound = np.ones(images.shape, bool)
    sound[2, 5:12, 8:15] = False
    sound[2, 16, 3] = False

    def gradient_of(values: np.ndarray) -> torch.Tensor:
        supervision = SliceSupervision(values, config, model, sound)
        image = model.render_unit([float(model.slice_t[2])]).detach().requires_grad_(True)
        supervision.compare(image, [2]).backward()
        assert image.grad is not None
        return image.grad[0, 0]

    gradient = gradient_of(images)
    assert torch.all(gradient[torch.as_tensor(~sound[2])] == 0)
    assert torch.count_nonzero(gradient) > 400
    other = images.copy()
    other[2][~sound[2]] = 7.0
    torch.testing.assert_close(gradient_of(other), gradient, rtol=0, atol=0)


def test_a_fit_does_not_follow_what_lies_under_the_mask(stack: Stack) -> None:
    """The filling that priors see is a guess; put nonsense there, and the fit must not learn it."""
    repaired = mask_damage(stack, [DamagedRectangle(2, 4, 16, 6, 20)])
    values = np.asarray(repaired.slices).copy()
    values[2, 4:16, 6:20] = 255
    nonsense = Stack(values, stack.z_nm, stack.pixel_size_nm, stack.normalisation, damage=repaired.damage)
    seen = Stack(values, stack.z_nm, stack.pixel_size_nm, stack.normalisation)
    config = preset("fast", teacher_student=False, warm_up_iterations=30, joint_iterations=150)
    inside = [
        run_fit(one, config).render(float(stack.z_nm[2]), region=(6, 14, 8, 18)).mean() for one in (nonsense, seen)
    ]
    truth = float(np.asarray(stack.slices)[2, 6:14, 8:18].mean())
    assert abs(inside[0] - truth) < 30
    assert inside[1] > 225


def test_a_slab_is_the_weighted_mean_of_its_depths(stack: Stack) -> None:
    config = preset("fast", sampling="slab", slab_samples=3, slab_fraction=0.5)
    model = make_model(stack, config)
    supervision = SliceSupervision(stack.unit_slices(), config, model)
    # Slice 2 lies at 80 of 0 to 240 nm; the next ones at 40 and 160: half of the way to the middles of its gaps.
    root = 0.6**0.5
    depths = [(80 - 0.25 * 40 * root) / 240, 80 / 240, (80 + 0.25 * 80 * root) / 240]
    images = model.render_unit(depths)
    wanted = (5 * images[0] + 8 * images[1] + 5 * images[2]) / 18
    torch.testing.assert_close(supervision.render(model, [80 / 240])[0], wanted, rtol=0, atol=1e-6)
    # Nothing is known above the first slice: that half counts as its middle.
    first = supervision.render(model, [0.0])[0]
    images = model.render_unit([0.0, 0.25 * 40 * root / 240])
    torch.testing.assert_close(first, (13 * images[0] + 5 * images[1]) / 18, rtol=0, atol=1e-6)
    # Between slices both halves are those of the gap.
    images = model.render_unit([(120 - 0.25 * 80 * root) / 240, 0.5, (120 + 0.25 * 80 * root) / 240])
    wanted = (5 * images[0] + 8 * images[1] + 5 * images[2]) / 18
    torch.testing.assert_close(supervision.render(model, [0.5])[0], wanted, rtol=0, atol=1e-6)


def test_slab_sampling_beats_point_sampling_on_thick_slices() -> None:
    factor, count, size = 4, 8, (72, 80)
    config = PhantomConfig(shape=(factor * count, *size), factor=factor, noise=3.0)
    truth = np.asarray(sample_truth(config).slices, dtype=np.float32)
    thick = truth.reshape(count, factor, *size).mean(axis=1)
    z_nm = (np.arange(count) * factor + (factor - 1) / 2) * 5.0
    stack = stack_from_array(thick, z_nm=z_nm, pixel_size_nm=5.0, normalisation=Normalisation(0.0, 255.0, "float32"))
    inside = [k for k in range(len(truth)) if z_nm[0] <= 5.0 * k <= z_nm[-1]]
    scores = {}
    for sampling in ("point", "slab"):
        settings = preset("fast", prior="linear", sampling=sampling, teacher_student_iterations=500)
        images = run_fit(stack, settings).render(5.0 * np.array(inside))
        scores[sampling] = np.mean([psnr(a / 255, b / 255) for a, b in zip(images, truth[inside], strict=True)])
    assert scores["slab"] > scores["point"] + 0.2


@pytest.fixture(scope="module")
def jittered() -> tuple[Stack, np.ndarray, np.ndarray]:
    """A phantom's stack with slices off by about 1.2 pixels, by how much, and the truth."""
    config = PhantomConfig(shape=(29, 88, 96), factor=4, noise=4.0)
    stack = sample_stack(config)
    shifts = np.random.default_rng(0).normal(0, 1.2, (stack.shape[0], 2))
    shifts -= shifts.mean(axis=0)
    return move_slices(stack, shifts).in_memory(), shifts, np.asarray(sample_truth(config).slices) / 255.0


def test_learned_shifts_approach_the_truth_and_mend_the_volume(jittered: Any) -> None:
    stack, truth_px, truth = jittered
    hidden = [k for k in range(len(truth)) if k % 4]
    scores: list[float] = []
    common: dict[str, Any] = {"prior": "linear+blur", "pixels_per_gaussian": 8.0, "teacher_student_iterations": 250}
    for learned in (False, True):
        model = run_fit(stack, preset("fast", slice_shifts=learned, **common))
        images = model.render(5.0 * np.array(hidden)) / 255.0
        scores.append(float(np.mean([psnr(a, b) for a, b in zip(images, truth[hidden], strict=True)])))
        assert ("slice_shifts_px" in model.provenance) == learned
    found = np.array(model.provenance["slice_shifts_px"])
    assert np.corrcoef(found.ravel(), truth_px.ravel())[0, 1] > 0.55
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=2e-3)
    assert model.provenance["slice_shift_largest_px"] == pytest.approx(np.hypot(*found.T).max(), abs=2e-3)
    assert scores[1] > scores[0] + 0.3


def test_a_fit_with_shifts_resumes_on_either_side_of_its_prior(stack: Stack, tmp_path: Any) -> None:
    config = preset("fast", prior="linear", slice_shifts=True, slice_shift_iterations=6.0, iterations_per_slice=8.0)
    whole = run_fit(stack, config)
    total = config.total_iterations(stack.shape[0])
    for stop in (60, 100):  # the joint stage ends at 86
        updates = fit(stack, config, checkpoint=tmp_path / "c")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys.modules["napari_emgauss.fitting._fit"], "_REPORT_INTERVAL_S", 0.0)
            for update in updates:
                if update.iteration >= stop:
                    break
            updates.close()
        last = list(fit(stack, resume=tmp_path / "c"))[-1]
        assert last.model is not None
        assert last.iteration == total
        np.testing.assert_array_equal(last.model.render(100.0), whole.render(100.0))
        assert last.model.provenance["slice_shifts_px"] == whole.provenance["slice_shifts_px"]


def test_shifts_that_explain_nothing_are_dropped(stack: Stack) -> None:
    """Noise is like its neighbours wherever it is moved."""
    noise = np.random.default_rng(3).random(stack.shape, dtype=np.float32)
    config = preset("fast", slice_shifts=True)
    model = make_model(stack, config)
    supervision = SliceSupervision(noise, config, model)
    learner = ShiftLearner(supervision, model, config)
    for k in range(30):
        learner.step(k % 6, 0.2)
    assert supervision.shifts is not None
    assert torch.count_nonzero(supervision.shifts) > 0
    learner.settle()
    assert torch.count_nonzero(supervision.shifts) == 0
    assert shift_report(supervision.shifts_px())["slice_shift_largest_px"] == 0.0


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="sampling is 'thick'"):
        preset("fast", sampling="thick")
    with pytest.raises(ConfigError, match="slab_samples"):
        preset("fast", sampling="slab", slab_samples=1)
    with pytest.raises(ConfigError, match="joint stage, which is off"):
        preset("fast", slice_shifts=True, joint=False)
    with pytest.raises(ConfigError, match="slab_fraction"):
        preset("fast", slab_fraction=0.0)
