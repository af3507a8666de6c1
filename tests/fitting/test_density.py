"""Growing and pruning: who stays, who is doubled, never above the cap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_emgauss.fitting import preset, run_fit
from napari_emgauss.fitting._density import (
    brightest_opacity,
    change_without,
    choose_growth,
    place_children,
    reindex,
    worth_keeping,
)
from napari_emgauss.fitting._optimiser import ModelOptimiser
from napari_emgauss.model import GaussianModel, ModelConfig
from napari_emgauss.render import splat
from napari_emgauss.stack import Normalisation, Stack


def test_plan_by_hand() -> None:
    gradient = torch.tensor([0.0, 9.0, 5.0, 7.0, 8.0])
    opacity = torch.tensor([0.5, 0.001, 0.5, 0.5, 0.5])
    index, is_new = choose_growth(gradient, opacity, grow_gradient=4.0, prune_opacity=0.005, cap=100)
    assert index.tolist() == [0, 2, 2, 3, 3, 4, 4]  # 1 is transparent; children sit beside their parents
    assert is_new.tolist() == [False, False, True, False, True, False, True]
    index, _ = choose_growth(gradient, opacity, grow_gradient=4.0, prune_opacity=0.005, cap=6)
    assert index.tolist() == [0, 2, 3, 3, 4, 4]  # room for two: those with the largest gradients
    index, is_new = choose_growth(gradient, opacity, grow_gradient=4.0, prune_opacity=0.005, cap=2)
    assert index.tolist() == [0, 2, 3, 4] and not is_new.any()


def test_a_cloud_is_never_emptied() -> None:
    index, _ = choose_growth(
        torch.zeros(3), torch.tensor([1e-4, 3e-4, 2e-4]), grow_gradient=1.0, prune_opacity=0.01, cap=9
    )
    assert index.tolist() == [1]


def make_model() -> GaussianModel:
    model = GaussianModel(ModelConfig(field="spline"), np.array([0.0, 0.4, 1.0]), (40, 60), 4)
    with torch.no_grad():
        model.cloud_list[0].means.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]))
    return model


def test_what_appears_at_some_depth_is_kept() -> None:
    model = make_model()
    cloud = model.cloud_list[0]
    with torch.no_grad():
        cloud.opacity_logits.fill_(-9.0)
        list(cloud.field.parameters())[1][2, 4] = 9.0  # Gaussian 2 appears at the middle slice
    found = brightest_opacity(cloud, [0.0, 0.4, 1.0])
    assert (found > 0.005).tolist() == [False, False, True, False]


def test_reindex_carries_field_and_moments() -> None:
    model = make_model()
    cloud = model.cloud_list[0]
    optimiser = ModelOptimiser(model)
    optimiser.set_learning_rates(
        dict.fromkeys(("means", "log_scales", "rotations", "opacity_logits", "values", "field", "knots"), 0.1)
    )
    (cloud.splats([0.4]).means[0, :, 0] * torch.arange(4.0)).sum().backward()
    optimiser.step()
    shifts = list(cloud.field.parameters())[1].detach().clone()
    reindex(cloud, torch.tensor([0, 2, 2]), torch.tensor([False, False, True]), optimiser)
    assert len(cloud) == 3 and cloud.means[1].tolist() == cloud.means[2].tolist()
    assert torch.equal(list(cloud.field.parameters())[1], shifts[[0, 2, 2]])
    moments = optimiser.tensors(model)["clouds.0.means:exp_avg"]
    assert moments[:, 0].tolist() == pytest.approx([0.0, 0.2, 0.0])  # (1 - 0.9) · gradient; a newcomer has none
    (cloud.splats([0.4]).means.sum()).backward()
    optimiser.step()  # shapes fit together


def test_large_ones_are_split_and_small_ones_are_not() -> None:
    model = make_model()
    cloud = model.cloud_list[0]
    with torch.no_grad():
        cloud.log_scales.copy_(torch.tensor([[2.0, 2.0], [2.0, 2.0], [-1.0, -1.0], [-1.0, -1.0]]))
    is_new = torch.tensor([False, True, False, True])
    before = cloud.means.detach().clone()
    place_children(cloud, torch.tensor([0, 0, 1, 1]), is_new, np.random.default_rng(0))
    assert (cloud.means - before).abs().amax(dim=1).gt(0).tolist() == [True, True, False, False]
    assert cloud.log_scales[:, 0].tolist() == pytest.approx([2 - np.log(1.6)] * 2 + [-1.0] * 2)


def test_change_without_a_gaussian_is_that_of_leaving_it_out() -> None:
    """Against images rendered without each one; probes are random, so their mean comes near."""
    torch.manual_seed(4)
    model = GaussianModel(ModelConfig(field="spline"), np.array([0.0, 0.4, 1.0]), (20, 26), 5)
    cloud = model.cloud_list[0]
    with torch.no_grad():
        cloud.means.copy_(torch.rand(5, 2) * torch.tensor([26.0, 20.0]))
        cloud.log_scales.fill_(1.2)
        cloud.opacity_logits.copy_(torch.tensor([1.0, -2.0, 0.5, 2.0, -7.0]))
        cloud.values.copy_(torch.rand(5, 1))
    depths = [0.1, 0.7]

    def images(left_out: int | None) -> torch.Tensor:
        shown = []
        for depth in depths:
            splats = cloud.splats([depth])
            opacities = splats.opacities.clone()
            if left_out is not None:
                opacities[0, left_out] = 0.0
            shown.append(splat(splats.means, splats.conics, opacities, splats.values, (20, 26)))
        return torch.stack(shown)

    with torch.no_grad():
        wanted = torch.stack([((images(k) - images(None)) ** 2).mean() for k in range(5)])
    rng = np.random.default_rng(0)
    found = torch.stack([change_without(cloud, depths, rng) for _ in range(60)]).mean(dim=0)
    torch.testing.assert_close(found, wanted, rtol=0.15, atol=1e-7)
    assert wanted[4] == 0  # too transparent to be drawn


def test_what_changes_least_goes_first() -> None:
    change = torch.tensor([4e-6, 1e-6, 9e-6, 2e-6])
    assert worth_keeping(change, 2e-3).tolist() == [0, 2]  # 1e-6 + 2e-6 is below 4e-6, with 4e-6 more it is not
    assert worth_keeping(change, 0.5e-3).tolist() == [0, 1, 2, 3]
    assert worth_keeping(change, 1.0).tolist() == [2]  # never emptied


def test_a_simpler_stack_keeps_fewer_gaussians() -> None:
    """The same picture with and without noise: what only drew noise is missed in the one, not in the other."""
    z_nm = np.arange(4) * 40.0
    rows, columns = np.mgrid[0:32, 0:36]
    clean = np.stack([120 + 60 * np.sin(columns / 7 + k / 3) * np.cos(rows / 9) for k in range(4)])
    noisy = clean + np.random.default_rng(0).normal(0, 25, clean.shape)
    counts = []
    for values in (clean, noisy):
        data = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        stack = Stack(data, z_nm, (5.0, 5.0), Normalisation(0.0, 255.0, "uint8"))
        config = preset("fast", prior="linear", prune_error=0.004, teacher_student_iterations=240)
        counts.append(run_fit(stack, config).gaussian_count)
    assert counts[0] < 0.8 * counts[1]
    assert counts[1] <= 32 * 36 / 6
