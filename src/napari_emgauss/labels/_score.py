"""How many slices must be labelled: hide labelled slices, carry the others there, and compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.volume import VolumeModel

from ._carry import CarriedLabels
from ._methods import CARRY_METHODS, CarryMethod
from ._source import BACKGROUND, LabelledSlices

_RESAMPLINGS = 2000


@dataclass(frozen=True)
class Interval:
    """A mean over slices with its 95 % interval by the bootstrap over slices (Efron 1979, percentiles).

    Parameters
    ----------
    mean, low, high : float
        NaN where there is nothing to take a mean of.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], seed: int = 0) -> Interval:
        """Of one value a slice."""
        known = np.asarray([v for v in values if np.isfinite(v)], dtype=np.float64)
        if not len(known):
            return cls(float("nan"), float("nan"), float("nan"))
        drawn = np.random.default_rng(seed).integers(0, len(known), (_RESAMPLINGS, len(known)))
        low, high = np.percentile(known[drawn].mean(axis=1), (2.5, 97.5))
        return cls(float(known.mean()), float(low), float(high))

    def __str__(self) -> str:
        return f"{self.mean:.4f} ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True)
class LabelAgreement:
    """How well labels agree with the true ones of the same slices.

    Parameters
    ----------
    voxels : Interval
        Share of voxels with the right label, of those that are labelled.
    dice : Interval
        Mean over the objects of a slice (background, 0, left out) of ``2 |A and B| / (|A| + |B|)`` (Dice 1945).
    voi : Interval
        Variation of information, bits, split and merge errors together (Meila 2007); less is better.
    adapted_rand_error : Interval
        ``1 - F`` of pairs of pixels in the same object (Arganda-Carreras et al. 2015); less is better.
    """

    voxels: Interval
    dice: Interval
    voi: Interval
    adapted_rand_error: Interval


@dataclass(frozen=True)
class LabelScore:
    """What hiding labelled slices gave.

    Parameters
    ----------
    every : int
        One in so many labelled slices was kept.
    hidden : tuple of int
        Slices that were hidden.
    methods : dict
        Agreement by method.
    """

    every: int
    hidden: tuple[int, ...]
    methods: dict[str, LabelAgreement]

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible."""
        from dataclasses import asdict

        return asdict(self)


def score_labels(
    labels: LabelledSlices,
    model: VolumeModel,
    *,
    methods: Sequence[CarryMethod] = tuple(CARRY_METHODS),
    every: Sequence[int] = (2,),
    on_progress: OnProgress | None = None,
) -> list[LabelScore]:
    """Hide labelled slices and see how well each method restores them.

    The model has seen the grey values of the hidden slices, as it has those of any observed slice that is not
    labelled; their labels are used by nobody.

    Parameters
    ----------
    labels : LabelledSlices
        Three labelled slices at least.
    model : VolumeModel
        Of the same stack.
    methods : sequence of str
        Of :data:`CARRY_METHODS`.
    every : sequence of int
        Keep every second labelled slice, every third, ...: one score each. The last labelled slice is kept, too.
    on_progress : callable, optional
        May raise to stop.

    Raises
    ------
    StackError
        Too few labelled slices for that.
    """
    scores = []
    progress = Progress(on_progress)
    for number, step in enumerate(every):
        part = progress.part(number / len(every), (number + 1) / len(every))
        kept = sorted({*labels.labelled[::step], labels.labelled[-1]})
        hidden = [k for k in labels.labelled if k not in kept]
        if step < 2 or len(labels.labelled) <= step:
            raise StackError(
                f"{labels.name} has {len(labels.labelled)} labelled slices: to keep one in {step} of them, label at "
                f"least {step + 1}."
            )
        found: dict[str, LabelAgreement] = {}
        for at, method in enumerate(methods):
            carried = CarriedLabels(labels.only(kept), model, method=method)
            compared = []
            for done, k in enumerate(hidden):
                part.tell((at + done / len(hidden)) / len(methods), f"{method}, slice {k}")
                guess = carried.render(float(carried.z_nm[k]))
                compared.append(_compare(guess, labels.image(k), labels.unlabelled))
            found[method] = LabelAgreement(*(Interval.of(column) for column in zip(*compared, strict=True)))
        scores.append(LabelScore(step, tuple(hidden), found))
    progress.tell(1.0, "done")
    return scores


def agreement(
    guesses: Sequence[NDArray[Any]], truths: Sequence[NDArray[Any]], unlabelled: int | None = None
) -> LabelAgreement:
    """How well some slices' labels agree with the true ones, ``(H, W)`` each."""
    compared = [_compare(guess, truth, unlabelled) for guess, truth in zip(guesses, truths, strict=True)]
    return LabelAgreement(*(Interval.of(column) for column in zip(*compared, strict=True)))


def _compare(guess: NDArray[Any], truth: NDArray[Any], unlabelled: int | None) -> tuple[float, float, float, float]:
    from skimage.metrics import adapted_rand_error, variation_of_information

    known = np.ones(truth.shape, bool) if unlabelled is None else truth != unlabelled
    if not known.any():
        return (float("nan"),) * 4
    _, numbers = np.unique(np.stack([truth[known], guess[known]]), return_inverse=True)
    true, made = numbers.reshape(2, -1)
    count = int(numbers.max()) + 1
    both = np.bincount(true[true == made], minlength=count)
    sizes = np.bincount(true, minlength=count) + np.bincount(made, minlength=count)
    background = true[truth[known] == BACKGROUND][:1]
    objects = np.setdiff1d(np.arange(count), background)
    dice = float(np.mean(2 * both[objects] / sizes[objects])) if len(objects) else float("nan")
    # Nothing is left out: background is a place like any other.
    error = float(adapted_rand_error(true[None] + 1, made[None] + 1, ignore_labels=())[0])
    voi = float(np.sum(variation_of_information(true[None] + 1, made[None] + 1)))
    return float(np.mean(true == made)), dice, voi, error
