"""The paper's constraints on what may change over z, and the arithmetic of a cloud."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_emgauss._errors import ConfigError
from napari_emgauss.model import GaussianCloud, GaussianModel, ModelConfig
from napari_emgauss.model._gaussians import conics_of

SIZE = (11, 17)
SLICE_T = np.array([0.0, 0.2, 0.5, 1.0])
COUNT = 23


def make_cloud(**settings: object) -> GaussianCloud:
    """A cloud whose field is not zero any more, as after some training."""
    torch.manual_seed(5)
    config = ModelConfig(**{"mlp_width": 16, "mlp_layers": 6, **settings})  # type: ignore[arg-type]
    model = GaussianModel(config, SLICE_T, SIZE, COUNT)
    cloud = model.cloud_list[0]
    with torch.no_grad():
        cloud.means.copy_(torch.rand(COUNT, 2) * torch.tensor([17.0, 11.0]))
        cloud.rotations.copy_(torch.rand(COUNT))
        cloud.values.copy_(torch.rand(COUNT, config.channels))
        for parameter in cloud.field.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return cloud


FIELDS = ["mlp", "grid", "spline"]


@pytest.mark.parametrize("field", FIELDS)
def test_a_fresh_model_shows_its_canonical_image_at_every_depth(field: str) -> None:
    model = GaussianModel(ModelConfig(field=field), SLICE_T, SIZE, COUNT)  # type: ignore[arg-type]
    cloud = model.cloud_list[0]
    canonical, deformed = cloud.splats([0.0, 0.37, 1.0], deform=False), cloud.splats([0.0, 0.37, 1.0])
    assert torch.equal(canonical.means, deformed.means)
    assert torch.allclose(canonical.conics, deformed.conics)
    assert torch.equal(canonical.opacities, deformed.opacities)


@pytest.mark.parametrize("field", FIELDS)
def test_grey_is_constant_and_motion_stays_in_the_plane(field: str) -> None:
    cloud = make_cloud(field=field)
    splats = cloud.splats([0.0, 0.37, 1.0])
    assert splats.means.shape == (3, COUNT, 2)  # x and y: there is no z that could move
    assert splats.values is cloud.values  # the very same numbers at every depth
    assert (splats.means[0] - splats.means[1]).abs().max() > 1e-3
    assert (splats.opacities[0] - splats.opacities[1]).abs().max() > 1e-3


@pytest.mark.parametrize("field", FIELDS)
def test_rotation_does_not_change_over_z_by_default(field: str) -> None:
    cloud = make_cloud(field=field)
    # The angle of Σ⁻¹'s axes is that of the canonical Gaussian, up to a swap of the axes, at every depth.
    a, b, c = cloud.splats([0.1, 0.6]).conics.unbind(-1)
    angle = 0.5 * torch.atan2(2 * b, a - c)
    difference = torch.sin(2 * (angle - cloud.rotations))
    assert difference.abs().max() < 1e-3


@pytest.mark.parametrize("field", FIELDS)
def test_dynamic_rotation_and_static_opacity_are_settings(field: str) -> None:
    cloud = make_cloud(field=field, dynamic_rotation=True, dynamic_opacity=False)
    splats = cloud.splats([0.1, 0.6])
    assert torch.equal(splats.opacities[0], splats.opacities[1])
    a, b, c = splats.conics.unbind(-1)
    angle = 0.5 * torch.atan2(2 * b, a - c)
    assert torch.sin(2 * (angle[0] - angle[1])).abs().max() > 0.05


@pytest.mark.parametrize("field", FIELDS)
def test_positions_enter_the_field_detached(field: str) -> None:
    cloud = make_cloud(field=field)
    cloud.splats([0.37]).means[..., 0].sum().backward()
    # Only the direct way, x_t = x + dx: a gradient through the field would differ from 1.
    assert cloud.means.grad is not None
    assert torch.equal(cloud.means.grad, torch.tensor([[1.0, 0.0]]).expand(COUNT, 2))
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in cloud.field.parameters())


def test_deltas_are_added_before_exp_and_sigmoid() -> None:
    cloud = make_cloud(field="spline")
    with torch.no_grad():
        for knot in cloud.field.get_submodule("knots").parameters():
            knot.zero_()
        cloud.log_scales.fill_(math.log(2.0))
        cloud.rotations.zero_()
        cloud.opacity_logits.fill_(1.0)
        third = list(cloud.field.get_submodule("knots").parameters())[2]
        third[:, 2] = math.log(3.0)  # ds_x
        third[:, 4] = -2.0  # do
    splats = cloud.splats([float(SLICE_T[2])])
    assert torch.allclose(splats.conics[0, 0], torch.tensor([1 / 36.0, 0.0, 1 / 4.0]))
    assert splats.opacities[0, 0].item() == pytest.approx(1 / (1 + math.exp(1.0)))


def test_knots_sit_at_physical_depths_and_are_linear_between() -> None:
    cloud = make_cloud(field="spline", knots_per_gap=2)
    knots = list(cloud.field.get_submodule("knots").parameters())
    assert len(knots) == 7  # 4 slices, and one in the middle of each gap
    with torch.no_grad():
        for k, knot in enumerate(knots):
            knot.zero_()
            knot[:, 0] = float(k)
    # t = 0.425 is half-way between the knots 3 (middle of 0.2 … 0.5 at 0.35) and 4 (slice at 0.5).
    shift = cloud.splats([0.425]).means[0] - cloud.means
    assert shift[:, 0].detach().numpy() == pytest.approx(3.5 * cloud.config.displacement_pixels, abs=1e-4)


def test_conics_of_a_quarter_turn() -> None:
    conic = conics_of(torch.tensor([[math.log(2.0), math.log(5.0)]]), torch.tensor([math.pi / 2]))
    assert conic[0].numpy() == pytest.approx([1 / 25, 0.0, 1 / 4], abs=1e-6)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("field", "cube"), ("channels", 5), ("channels", 0), ("window_slices", 2), ("knots_per_gap", 0)],
)
def test_impossible_settings_are_refused(setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=setting):
        ModelConfig(**{setting: value})  # type: ignore[arg-type]


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="depth_of_field"):
        ModelConfig.from_dict({"depth_of_field": 1})
    assert ModelConfig.from_dict(ModelConfig(channels=3).to_dict()) == ModelConfig(channels=3)
