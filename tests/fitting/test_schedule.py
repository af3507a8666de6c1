"""The paper's timetable, number by number."""

from __future__ import annotations

import pytest

from napari_emgauss.fitting import preset
from napari_emgauss.fitting._schedule import Schedule

PAPER = Schedule(preset("paper"), slices=7)


def test_stages_of_the_paper() -> None:
    assert [PAPER.stage(k) for k in (0, 1_999, 2_000, 2_999, 3_000, 17_999)] == [
        "warm-up",
        "warm-up",
        "joint",
        "joint",
        "teacher-student",
        "teacher-student",
    ]
    assert PAPER.total == 18_000


def test_ramp_of_the_paper() -> None:
    assert PAPER.pseudo_weight(3_000) == pytest.approx(0.1)
    assert PAPER.pseudo_weight(6_500) == pytest.approx(0.55)
    assert PAPER.pseudo_weight(10_000) == pytest.approx(1.0)
    assert PAPER.pseudo_weight(17_999) == pytest.approx(1.0)


def test_pseudo_depths_spread_from_mid_gap() -> None:
    assert PAPER.pseudo_spread(3_000) == 0.0
    assert PAPER.pseudo_spread(6_500) == pytest.approx(0.5)
    assert PAPER.pseudo_spread(10_000) == 1.0


def test_real_and_pseudo_alternate() -> None:
    assert not any(PAPER.is_pseudo(k) for k in range(3_000))
    assert [PAPER.is_pseudo(k) for k in range(3_000, 3_006)] == [False, True, False, True, False, True]


def test_real_per_pseudo() -> None:
    schedule = Schedule(preset("paper", real_per_pseudo=0.25), slices=7)
    kinds = [schedule.is_pseudo(k) for k in range(3_000, 3_100)]
    assert sum(kinds) == 80 and not kinds[0]


@pytest.mark.parametrize(
    ("switch", "stages"),
    [
        ("warm_up", ["joint"] * 1_000 + ["teacher-student"] * 15_000),
        ("joint", ["warm-up"] * 2_000 + ["teacher-student"] * 15_000),
        ("teacher_student", ["warm-up"] * 2_000 + ["joint"] * 16_000),
    ],
)
def test_each_stage_is_a_switch(switch: str, stages: list[str]) -> None:
    schedule = Schedule(preset("paper", **{switch: False}), slices=7)
    assert [schedule.stage(k) for k in range(schedule.total)] == stages


def test_scale_shortens_everything() -> None:
    schedule = Schedule(preset("paper", iterations_scale=0.01), slices=7)
    assert (schedule.warm_up_end, schedule.joint_end, schedule.ramp_end, schedule.total) == (20, 30, 100, 180)
    assert schedule.pseudo_weight(65) == pytest.approx(0.55)


def test_depth_noise_anneals() -> None:
    schedule = Schedule(preset("paper", depth_noise=0.2, depth_noise_iterations=5_000), slices=7)
    assert schedule.depth_noise(1_999) == 0.0
    assert schedule.depth_noise(2_000) == pytest.approx(0.2)
    assert schedule.depth_noise(4_500) == pytest.approx(0.1)
    assert schedule.depth_noise(7_000) == 0.0
    # The preset: nearly to the end.
    assert [PAPER.depth_noise(k) for k in (1_999, 2_000, 11_000)] == pytest.approx([0.0, 0.3, 0.15])
    assert PAPER.depth_noise(17_999) == pytest.approx(0.3 * 2_001 / 18_000)


def test_learning_rates_of_the_base_method() -> None:
    first, last = PAPER.learning_rates(0, extent=250.0), PAPER.learning_rates(17_999, extent=250.0)
    assert first["means"] == pytest.approx(250 * 1.6e-4) and last["means"] == pytest.approx(250 * 1.6e-6)
    assert first["field"] == pytest.approx(8e-4) and last["field"] == pytest.approx(1.6e-6)
    assert first["values"] == last["values"] == 2.5e-3
    assert PAPER.learning_rates(2_000, 250.0)["field"] == pytest.approx(8e-4)  # no decay while it rests


def test_iterations_for_every_slice() -> None:
    config = preset("fast", warm_up=False, joint=False, iterations_per_slice=60.0, iterations_scale=0.5)
    assert Schedule(config, slices=7).total == config.total_iterations(7) == 210
    assert preset("fast", teacher_student_iterations=9, warm_up=False, joint=False).total_iterations(7) == 9
