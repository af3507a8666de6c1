"""Settings and presets: wrong ones are refused with the name of the setting."""

from __future__ import annotations

import pytest

from napari_emgauss._errors import ConfigError
from napari_emgauss.fitting import FitConfig, preset, preset_names


def test_presets() -> None:
    assert set(preset_names()) == {"paper", "fast", "default", "best"}
    paper = preset("paper")
    assert (paper.prior, paper.field, paper.mlp_width, paper.mlp_layers) == ("ema", "mlp", 256, 8)
    assert (paper.warm_up_iterations, paper.joint_iterations, paper.teacher_student_iterations) == (2000, 1000, 15000)
    assert paper.ema_decay == 0.995 and paper.dssim_weight == 0.2 and paper.charbonnier_epsilon == 0.0
    assert not paper.dynamic_rotation and paper.dynamic_opacity
    assert (paper.growth, paper.density_iterations, paper.pixels_per_gaussian) == (1.0, 0, 16.0)  # left silent there
    assert (paper.sampling, paper.slab_fraction, paper.shown_thickness) == ("slab", 1.0, 1.0)  # so is this
    assert paper.for_stack(9, 8.0).model_config().thickness_gaps == 1.0
    assert [preset(name).shown_thickness for name in ("fast", "default", "best")] == [0.0, 0.0, 0.0]
    lengths = [preset(name).total_iterations(32) for name in ("fast", "default", "best")]
    assert lengths == sorted(set(lengths))


def test_overrides_and_round_trip() -> None:
    config = preset("fast", seed=7, window_slices=9)
    assert (config.seed, config.window_slices) == (7, 9)
    assert FitConfig.from_dict(config.to_dict()) == config


def test_slices_are_planes_unless_they_are_said_to_be_thick() -> None:
    assert preset("fast").slice_thickness.is_plane
    thick = preset("fast", sampling="slab", slab_fraction=0.5, slab_samples=4)
    assert (thick.slice_thickness.gaps, len(thick.slice_thickness.weights)) == (0.5, 4)
    assert thick.for_stack(9, 8.0).model_config().thickness_gaps == 0.0  # the model is finer than they are
    with pytest.raises(ConfigError, match=r"shown_thickness is 1\.5, but must be between 0 and 1"):
        preset("fast", shown_thickness=1.5)


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="paper"):
        preset("papre")
    with pytest.raises(ConfigError, match="did you mean ema_decay"):
        preset("fast", ema_decya=0.9)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ema_decay", 1.0),
        ("ema_decay", "much"),
        ("iterations_scale", 0),
        ("iterations_scale", float("nan")),
        ("seed", -1),
        ("seed", 1.5),
        ("warm_up", 1),
        ("joint_iterations", -1),
        ("dssim_weight", 1.5),
        ("growth", 0.5),
        ("labels_per_gap", 0),
        ("window_slices", 2),
        ("field", "cube"),
        ("field", 3),
        ("pixels_per_gaussian", 0.0),
    ],
)
def test_impossible_values(setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=setting):
        preset("fast", **{setting: value})


def test_a_fit_needs_a_stage() -> None:
    with pytest.raises(ConfigError, match="warm_up, joint and teacher_student"):
        preset("paper", warm_up=False, joint=False, teacher_student=False)


def test_knots_follow_the_length_of_gaps_where_they_are_left_open() -> None:
    config = preset("default")
    assert [config.for_stack(9, gap).knots_per_gap for gap in (2.0, 8.0, 10.0, 22.0, 44.0, 900.0)] == [2, 2, 2, 4, 8, 8]
    assert config.for_stack(9, 22.0) == preset("default", knots_per_gap=4)
    assert preset("paper").for_stack(9, 22.0) == preset("paper", mlp_depth_frequencies=2)
    with pytest.raises(ConfigError, match="call for_stack first"):
        config.model_config()


def test_depth_has_the_frequencies_that_the_slices_can_carry() -> None:
    """K slices lie 2/(K-1) apart in [-1, 1]; sin(2^k pi x) has its samples more than twice a period below that."""
    config = preset("paper")
    slices = (3, 5, 9, 10, 17, 18, 33, 129)
    assert [config.for_stack(n, 8.0).mlp_depth_frequencies for n in slices] == [1, 1, 2, 3, 3, 4, 4, 6]
    for n in slices[1:]:
        fastest = 2 ** (config.for_stack(n, 8.0).mlp_depth_frequencies - 1) / 2  # periods in a unit of depth
        assert fastest < (n - 1) / 4 <= 2 * fastest
    assert preset("paper", mlp_depth_frequencies=10).for_stack(9, 8.0).mlp_depth_frequencies == 10
    with pytest.raises(ConfigError, match="call for_stack first"):
        config.model_config()
