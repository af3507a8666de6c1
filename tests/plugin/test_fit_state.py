import math

import pytest

from napari_emgauss.plugin.process._fit_state import FitState, FitStatus, LossCurve, duration


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0 s"), (45.4, "45 s"), (200, "3 min"), (5390, "1 h 30 min")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sentence_of_a_running_fit() -> None:
    state = FitState(
        status=FitStatus.RUNNING, stage="joint", iteration=1500, total_iterations=6000, elapsed_s=10.0, eta_s=240.0
    )
    assert state.sentence() == "Joint 1,500/6,000, about 4 min left"
    assert state.fraction == 0.25
    state.status = FitStatus.PAUSED
    assert state.sentence().startswith("Paused in Joint")


def test_fields_announce_their_changes() -> None:
    state, heard = FitState(), []
    state.events.status.connect(heard.append)
    state.status = FitStatus.PREPARING
    assert heard == [FitStatus.PREPARING]


def test_only_working_states_are_active() -> None:
    assert [status.name for status in FitStatus if status.active] == ["PREPARING", "RUNNING", "PAUSED", "STOPPING"]


def test_curve_leaves_out_what_cannot_be_drawn() -> None:
    curve = LossCurve()
    curve.add("joint", 1, 0.5)
    curve.add("joint", 2, None)
    curve.add("joint", 3, math.nan)
    curve.add("joint", 4, math.inf)
    curve.add("prior", 1, 0.25)
    assert curve.stages == {"joint": ([1], [0.5]), "prior": ([1], [0.25])}
