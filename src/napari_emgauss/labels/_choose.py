"""Which way carries the labels of a stack better, told by labelled slices that are hidden for it."""

from __future__ import annotations

import numpy as np

from napari_emgauss.volume import VolumeModel

from ._carry import CarriedLabels
from ._methods import CarryChoice, CarryMethod
from ._source import LabelledSlices

MOST_HIDDEN = 3
"""Labelled slices that are hidden, one at a time."""
SIDE = 512
"""Side of the middle of a slice that is compared, pixels."""


def carry_labels(labels: LabelledSlices, model: VolumeModel, method: CarryChoice = "auto") -> CarriedLabels:
    """Labels at every depth of a model, carried by a method or by the one that suits the stack.

    Parameters
    ----------
    labels, model
        As of :class:`CarriedLabels`.
    method : {"auto", "model", "distances", "nearest"}
        ``auto`` is what :func:`choose_method` says.

    Raises
    ------
    ConfigError
        See :class:`CarriedLabels`.
    """
    chosen = choose_method(labels, model) if method == "auto" else method
    return CarriedLabels(labels, model, method=chosen)


def choose_method(labels: LabelledSlices, model: VolumeModel) -> CarryMethod:
    """``model``, or ``distances`` where that restores labelled slices better: where the picture misleads.

    Up to three labelled slices are hidden, one at a time, and carried from the labelled ones around them. With two
    labelled slices there is none to hide, and ``model`` is the answer.
    """
    inner = labels.labelled[1:-1]
    count = min(MOST_HIDDEN, len(inner))
    places = [int(place) for place in np.linspace(0, len(inner) - 1, count).round()] if inner else []
    _, height, width = model.shape
    top, left = max(0, (height - SIDE) // 2), max(0, (width - SIDE) // 2)
    window = slice(top, min(top + SIDE, height)), slice(left, min(left + SIDE, width))
    region = float(window[0].start), float(window[0].stop), float(window[1].start), float(window[1].stop)
    right: dict[CarryMethod, int] = {"model": 0, "distances": 0}
    for place in places:
        around = labels.only((labels.labelled[place], labels.labelled[place + 2]))
        hidden = labels.labelled[place + 1]
        truth = labels.image(hidden)[window]
        known = np.ones(truth.shape, bool) if labels.unlabelled is None else truth != labels.unlabelled
        for method in right:
            carried = CarriedLabels(around, model, method=method)
            guess = carried.render(float(model.z_nm[hidden]), region=region)
            right[method] += int(np.count_nonzero((guess == truth) & known))
    return "model" if right["model"] >= right["distances"] else "distances"
