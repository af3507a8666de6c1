"""Parts of a whole, and who is told of them."""

from __future__ import annotations

import pytest

from napari_emgauss._progress import Progress, ProgressUpdate


def test_a_part_of_a_part_lies_within_both() -> None:
    told: list[ProgressUpdate] = []
    second_half = Progress(told.append).part(0.5, 1.0, "second half")
    second_half.part(0.0, 0.5, "its first half").tell(0.5, "step 3", loss=0.25)
    assert told == [ProgressUpdate(0.625, "second half: its first half: step 3", 0.25)]


def test_a_part_can_be_somebody_elses_on_progress() -> None:
    told: list[ProgressUpdate] = []
    Progress(told.append).part(0.2, 0.4)(ProgressUpdate(1.0, "done", method="linear"))
    assert told == [ProgressUpdate(0.4, "done", method="linear")]


def test_unknown_stays_unknown_and_too_much_is_all() -> None:
    told: list[ProgressUpdate] = []
    part = Progress(told.append).part(0.0, 0.5)
    part.tell(None)
    part.tell(1.5)
    part.tell(-1.0)
    assert [update.fraction for update in told] == [None, 0.5, 0.0]


def test_shares_follow_each_other_by_their_work() -> None:
    told: list[ProgressUpdate] = []
    shares = Progress(told.append).shares({"linear": 1.0, "flow": 3.0})
    for name in ("linear", "flow"):
        shares[name].tell(1.0)
    assert told == [ProgressUpdate(0.25, "linear", method="linear"), ProgressUpdate(1.0, "flow", method="flow")]


def test_nobody_needs_to_listen() -> None:
    Progress().part(0.0, 0.5).shares({"all": 0.0})["all"].tell(0.5, "unheard")


def test_whoever_is_told_may_stop_the_work() -> None:
    def stop(update: ProgressUpdate) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Progress(stop).part(0.0, 0.5).tell(0.5)
