"""Where priors are asked, and how answers are kept."""

from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss import ProgressUpdate
from napari_emgauss._progress import Progress
from napari_emgauss.fitting._labels import Labels, label_depths
from napari_emgauss.priors import PseudoLabel


class Ramp:
    """Answers with the depth itself, and counts how often it is asked."""

    def __init__(self, *, confident: bool) -> None:
        self.asked = 0
        self.confident = confident

    def at(self, z_nm: float) -> PseudoLabel:
        self.asked += 1
        image = np.full((3, 5), z_nm / 100, dtype=np.float32)
        return PseudoLabel(image, np.full((3, 5), 0.25, dtype=np.float32) if self.confident else None)


def test_one_label_per_pixel_size_and_gaps_of_their_own() -> None:
    depths = label_depths(np.array([0.0, 40.0, 120.0]), 10.0, None)
    assert depths.z_nm.tolist() == pytest.approx([10, 20, 30, 50, 60, 70, 80, 90, 100, 110])
    assert depths.from_middle[:3].tolist() == pytest.approx([0.25, 0.0, 0.25])
    assert label_depths(np.array([0.0, 40.0, 120.0]), 10.0, 1).z_nm.tolist() == [20.0, 80.0]
    assert len(label_depths(np.array([0.0, 1e6]), 10.0, None).z_nm) == 15
    assert label_depths(np.array([0.0, 20.0]), 10.0, None).z_nm.tolist() == [5.0, 10.0, 15.0]  # a gap of two pixels


def test_spread_widens_from_the_middle() -> None:
    depths = label_depths(np.array([0.0, 40.0, 90.0]), 10.0, None)  # quarters, then fifths with no middle
    assert depths.allowed(0.0).tolist() == [False, True, False, False, True, True, False]
    assert depths.allowed(0.5).tolist() == [True, True, True, False, True, True, False]
    assert depths.allowed(1.0).all()


@pytest.mark.parametrize("confident", [False, True])
def test_kept_labels_are_asked_once(confident: bool) -> None:
    prior = Ramp(confident=confident)
    depths = label_depths(np.array([0.0, 40.0, 90.0]), 10.0, None)
    seen: list[ProgressUpdate] = []
    labels = Labels.collect(depths, prior, 1, seen.append)
    assert prior.asked == len(labels) == 7 and seen[-1] == ProgressUpdate(1.0, "Pseudo-labels 100%")
    for k in range(7):
        assert labels[k].image == pytest.approx(depths.z_nm[k] / 100, abs=5e-4)
        confidence = labels[k].confidence
        assert (confidence is not None and confidence[0, 0] == 0.25) if confident else confidence is None
    assert prior.asked == 7


def test_labels_that_do_not_fit_are_asked_for_when_needed() -> None:
    class Large(Ramp):
        def at(self, z_nm: float) -> PseudoLabel:
            self.asked += 1
            return PseudoLabel(np.zeros((400, 500), dtype=np.float32))

    prior = Large(confident=False)
    labels = Labels.collect(label_depths(np.array([0.0, 90.0]), 10.0, None), prior, 1, Progress())
    assert prior.asked == 1 and labels.images is None
    assert labels[3].image.shape == (400, 500) and prior.asked == 2
