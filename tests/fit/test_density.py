"""Growing and pruning: who stays, who is doubled, never above the cap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_emgauss.fit._density import brightest_opacity, place_children, plan, reindex
from napari_emgauss.fit._optimiser import ModelOptimiser
from napari_emgauss.model import GaussianModel, ModelConfig


def test_plan_by_hand() -> None:
    gradient = torch.tensor([0.0, 9.0, 5.0, 7.0, 8.0])
    opacity = torch.tensor([0.5, 0.001, 0.5, 0.5, 0.5])
    index, is_new = plan(gradient, opacity, grow_gradient=4.0, prune_opacity=0.005, cap=100)
    assert index.tolist() == [0, 2, 2, 3, 3, 4, 4]  # 1 is transparent; children sit beside their parents
    assert is_new.tolist() == [False, False, True, False, True, False, True]
    index, _ = plan(gradient, opacity, grow_gradient=4.0, prune_opacity=0.005, cap=6)
    assert index.tolist() == [0, 2, 3, 3, 4, 4]  # room for two: those with the largest gradients
    index, is_new = plan(gradient, opacity, grow_gradient=4.0, prune_opacity=0.005, cap=2)
    assert index.tolist() == [0, 2, 3, 4] and not is_new.any()


def test_a_cloud_is_never_emptied() -> None:
    index, _ = plan(torch.zeros(3), torch.tensor([1e-4, 3e-4, 2e-4]), grow_gradient=1.0, prune_opacity=0.01, cap=9)
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
