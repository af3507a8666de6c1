"""What hiding labelled slices tells."""

from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss._errors import StackError
from napari_emgauss.labels import Interval, agreement, label_slices, score_labels

from .conftest import TubeModel


def test_agreement_by_hand() -> None:
    truth = np.array([[1, 1, 2, 2]])
    guess = np.array([[1, 1, 1, 2]])
    found = agreement([guess], [truth])
    assert found.voxels.mean == 0.75
    # Object 1: 2·2/(2 + 3), object 2: 2·1/(2 + 1).
    assert found.dice.mean == pytest.approx((4 / 5 + 2 / 3) / 2)
    # H(guess | truth) + H(truth | guess), bits: half of the pixels lie in an object cut in two, three of four in one
    # that is one third something else.
    split = 0.5 * 1.0
    merge = 0.75 * -(2 / 3 * np.log2(2 / 3) + 1 / 3 * np.log2(1 / 3))
    assert found.voi.mean == pytest.approx(split + merge)


def test_unlabelled_pixels_do_not_count() -> None:
    truth, guess = np.array([[1, 1, 0, 0]]), np.array([[1, 1, 5, 5]])
    assert agreement([guess], [truth], unlabelled=0).voxels.mean == 1.0
    assert agreement([guess], [truth]).voxels.mean == 0.5


def test_an_interval_holds_the_mean_and_is_the_same_every_time() -> None:
    values = [0.9, 0.8, 1.0, 0.7]
    found = Interval.of(values)
    assert found.mean == pytest.approx(0.85) and 0.7 <= found.low < 0.85 < found.high <= 1.0
    assert found == Interval.of(values)
    assert np.isnan(Interval.of([float("nan")]).mean)
    assert Interval.of([0.5, float("nan")]) == Interval(0.5, 0.5, 0.5)


def test_an_interval_leaves_out_a_fortieth_at_each_end() -> None:
    # Of two values a resample has both of one kind with chance 1/4 each, so 95 % reaches from one to the other;
    # of 100 halves of each the standard error of the mean is 0.05, and 1.96 of it the half of the interval.
    assert (Interval.of([0.0, 1.0]).low, Interval.of([0.0, 1.0]).high) == (0.0, 1.0)
    found = Interval.of([0.0] * 50 + [1.0] * 50)
    assert found.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015)
    assert found.high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)


def test_hidden_slices_are_restored_from_the_others(straight: TubeModel) -> None:
    model = TubeModel(straight.centres, depth=7)
    labels = label_slices(model.observed_labels(), model)
    second, third = score_labels(labels, model, methods=["distances", "nearest"], every=[2, 3])
    assert second.hidden == (1, 3, 5) and third.hidden == (1, 2, 4, 5)
    assert second.methods["distances"].voxels.mean == 1.0  # nothing changes along z
    assert second.to_dict()["methods"]["nearest"]["dice"]["mean"] == 1.0


def test_hidden_labels_are_not_looked_at(straight: TubeModel) -> None:
    labels = straight.observed_labels()
    labels[1] = 1234  # would be copied, if it were
    (found,) = score_labels(label_slices(labels, straight), straight, methods=["distances"])
    assert found.methods["distances"].voxels.mean == 0.0


def test_too_few_labelled_slices(straight: TubeModel) -> None:
    with pytest.raises(StackError, match="label at least 5"):
        score_labels(label_slices(straight.observed_labels(), straight), straight, every=[4])
