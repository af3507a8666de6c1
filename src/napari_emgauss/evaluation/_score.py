"""Score methods on a stack that has no ground truth, by hiding slices that it has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss._metrics import Scores, mean_scores
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.stack import Stack, stack_from_array

from ._coverage import Coverage, coverage_of, coverage_table
from ._intervals import psnr_over_slices
from ._lpips import Lpips
from ._methods import BASELINE, EMGAUSS, SCORED, check_methods, expected_work, reconstruct, reconstruction
from ._metric_rows import Estimates, ImageMetric, estimates, measure_image, scores_in
from ._resolution import CRITERIA, Resolution, resolution_of, ring_sums
from ._result import estimates_as_dict, estimates_table, score_cells, write_json
from ._text_table import number_cell, text_table
from ._thin import check_one_channel
from ._verdict import Advice, advice, best_method, verdict
from ._worst import TRUTH, WorstSlice, as_grey, most_different, worst_of

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig

MIN_SLICES = 5


@dataclass(frozen=True)
class HiddenScores:
    """Scores of one method on the hidden slices.

    Parameters
    ----------
    method : str
        Its name.
    mean : Scores
        Mean over the hidden slices.
    slices : tuple of Scores
        Each hidden slice, in order.
    seconds : float
        Wall-clock time to reconstruct them.
    about : dict
        What the method says of itself, such as the prior that a fit chose.
    coverage : Coverage or None
        Whether the method's error bars hold on the hidden slices; distances in nm. None where it has none.
    metrics : mapping
        Every metric as a mean over hidden slices with its 95 % interval: by ``xy`` and ``volume``, then by the metric's
        name.
    resolution : Resolution, optional
        Fourier ring correlation of inferred with hidden slices, all together, in plane. Along z nothing can be told:
        between slices there is no truth.
    """

    method: str
    mean: Scores
    slices: tuple[Scores, ...]
    seconds: float
    about: dict[str, Any]
    coverage: Coverage | None = None
    metrics: Estimates = field(default_factory=dict, repr=False)
    resolution: Resolution | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return {
            **self.mean.as_dict(),
            "seconds": self.seconds,
            "metrics": estimates_as_dict(self.metrics),
            **({} if self.resolution is None else {"resolution": {"xy": self.resolution.as_dict()}}),
            "slices": [scores.as_dict() for scores in self.slices],
            **({"coverage": self.coverage.as_dict()} if self.coverage is not None else {}),
            **({"about": self.about} if self.about else {}),
        }


@dataclass(frozen=True)
class ScoreResult:
    """What hiding every second slice says of each method.

    Parameters
    ----------
    stack : str
        Name of the stack.
    hidden : tuple of int
        Numbers of the hidden slices.
    hidden_z_nm : tuple of float
        Their depths.
    gap_nm, real_gap_nm : float
        Median distance between shown slices here, and in the stack as it is.
    methods : dict
        Scores by method, in the order in which they ran.
    worst : tuple of WorstSlice
        Parts of the hidden slices that came out worst, of EMGauss or else of the best method.
    """

    stack: str
    hidden: tuple[int, ...]
    hidden_z_nm: tuple[float, ...]
    gap_nm: float
    real_gap_nm: float
    methods: dict[str, HiddenScores]
    worst: tuple[WorstSlice, ...] = field(default=(), repr=False)

    @property
    def best(self) -> str:
        """The method that PSNR, SSIM and FSIM together favour; see :func:`best_method`."""
        return best_method(self._means)

    @property
    def advice(self) -> Advice:
        """What to set for a fit, so that its volume is like what scored best."""
        return advice(self._means, self._followed)

    def verdict(self) -> str:
        """What to choose, what that was weighed by, and how to get a volume of it."""
        return verdict(self._means, self._followed)

    def caution(self) -> str:
        """One sentence on how the figures are to be read."""
        return (
            f"A harder task than the real one: shown slices were {self.gap_nm:g} nm apart here instead of "
            f"{self.real_gap_nm:g} nm, so every method does better on the stack itself; compare methods, not decibels."
        )

    def table(self) -> str:
        """The scores as text, one method a line, and how to read them."""
        rows = [
            [name, *score_cells(one.mean), _signed(self._gain(name, BASELINE)), number_cell(one.seconds, 1)]
            for name, one in self.methods.items()
        ]
        head = ["method", "PSNR", "SSIM", "FSIM", "vs linear", "seconds"]
        title = f"{self.stack}: {len(self.hidden)} hidden slices, reconstructed from their neighbours"
        held = coverage_table({name: one.coverage for name, one in self.methods.items()})
        return "\n".join([title, text_table(head, rows), self.caution(), *(["", held] if held else [])])

    def details(self) -> str:
        """Every metric with its interval, and the resolution, as text."""
        results = {name: one.metrics for name, one in self.methods.items()}
        metrics = estimates_table("hidden slices: mean ± half of its 95 % interval", results, "xy")
        head = ["resolution in plane (nm)", *[one.label for one in CRITERIA]]
        rows = [
            [name, *[one.resolution.text(criterion.name) for criterion in CRITERIA]]
            for name, one in self.methods.items()
            if one.resolution is not None
        ]
        return "\n\n".join(filter(None, [metrics, text_table(head, rows) if rows else ""]))

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return {
            "stack": self.stack,
            "hidden": list(self.hidden),
            "hidden_z_nm": list(self.hidden_z_nm),
            "gap_nm": self.gap_nm,
            "real_gap_nm": self.real_gap_nm,
            "best": self.best,
            "advice": self.advice.as_dict(),
            "verdict": self.verdict(),
            "caution": self.caution(),
            "methods": {name: one.as_dict() for name, one in self.methods.items()},
            **({"worst": [one.as_dict() for one in self.worst]} if self.worst else {}),
        }

    def write_json(self, path: str | Path) -> None:
        """Write :meth:`as_dict`, whole or not at all; infinity becomes the text ``"inf"``."""
        write_json(path, self.as_dict())

    def _gain(self, method: str, over: str) -> float | None:
        """PSNR of one method above that of another, dB; None where it is not a finite number."""
        if method not in self.methods or over not in self.methods:
            return None
        first, second = _decibels(self.methods[method]), _decibels(self.methods[over])
        return first - second if np.isfinite(first) and np.isfinite(second) else None

    @property
    def _means(self) -> dict[str, Scores]:
        return {name: one.mean for name, one in self.methods.items()}

    @property
    def _followed(self) -> set[str]:
        """Priors of the settings with which EMGauss was fitted."""
        return {str(one.about["settings"]["prior"]) for one in self.methods.values() if "settings" in one.about}


def score(
    stack: Stack,
    *,
    methods: Sequence[str] | None = None,
    config: FitConfig | str | None = None,
    lpips_weights: str | Path | None = None,
    on_progress: OnProgress | None = None,
    on_result: Callable[[HiddenScores], None] | None = None,
) -> ScoreResult:
    """Hide every second slice of a stack, reconstruct it from the others, and score each method.

    Needs no ground truth. Gaps are twice as wide as in the stack, so this is a harder task than the real one: use the
    scores to compare methods, not as a promise of quality.

    Parameters
    ----------
    stack : Stack
        At least 5 slices.
    methods : sequence of str, optional
        Names of :func:`method_names`; by default linear, linear+blur, flow+blur, ensemble and ``emgauss``.
    config : FitConfig or str, optional
        Settings or preset of ``emgauss``; preset ``fast`` by default.
    lpips_weights : str or Path, optional
        Weights with which LPIPS is measured, too; see :class:`Lpips`.
    on_progress : callable, optional
        Gets :class:`~napari_emgauss.ProgressUpdate`; may raise to stop.
    on_result : callable, optional
        Gets the scores of each method as soon as there are any.

    Returns
    -------
    ScoreResult

    Raises
    ------
    ConfigError
        Too few slices, or a method that does not exist.
    """
    names = check_methods(SCORED if methods is None else methods)
    check_one_channel(stack)
    count = stack.shape[0]
    if count < MIN_SLICES:
        raise ConfigError(
            f"The stack has {count} slices, but at least {MIN_SLICES} are needed: every second one is hidden, "
            "and 3 must remain to work from."
        )
    lpips = None if lpips_weights is None else Lpips(lpips_weights)
    settings = config
    if settings is None or isinstance(settings, str):
        from napari_emgauss.fitting import preset

        settings = preset(settings or "fast") if EMGAUSS in names or isinstance(settings, str) else None
    shown = list(range(0, count, 2))
    hidden = list(range(1, shown[-1], 2))
    kept = _shown_stack(stack, shown)
    truth = [kept.normalisation.to_unit(np.asarray(stack.slices[k])) for k in hidden]
    hidden_z_nm = stack.z_nm[hidden]

    progress = Progress(on_progress)
    shares = progress.shares({name: expected_work(name) for name in names})
    scores: dict[str, HiddenScores] = {}
    kept_images: dict[str, dict[int, NDArray[np.float32]]] = {}
    for name in names:
        started = time.perf_counter()
        made = reconstruction(name, kept, hidden_z_nm, settings, shares[name])
        seconds = time.perf_counter() - started
        distances = np.abs(hidden_z_nm[:, None] - kept.z_nm).min(axis=1)
        coverage = coverage_of(made, truth, made.images, hidden_z_nm, distances, kept.normalisation.ranges[0])
        scores[name] = _compared(
            name, made.images, truth, stack.pixel_size_nm, lpips, seconds=seconds, about=made.about, coverage=coverage
        )
        kept_images[name] = {k: made.images[k].copy() for k in worst_of([one.psnr for one in scores[name].slices])}
        if on_result is not None:
            on_result(scores[name])
    ours = [name for name in names if name.partition(":")[0] == EMGAUSS]
    shown_method = ours[0] if ours else best_method({name: one.mean for name, one in scores.items()})
    worst = tuple(
        _worst_slice(shown_method, hidden[k], k, image, truth[k], kept, hidden_z_nm, scores[shown_method])
        for k, image in kept_images[shown_method].items()
    )
    progress.tell(1.0, "done")
    return ScoreResult(
        stack=stack.name,
        hidden=tuple(hidden),
        hidden_z_nm=tuple(float(z) for z in hidden_z_nm),
        gap_nm=float(np.median(np.diff(kept.z_nm))),
        real_gap_nm=float(np.median(np.diff(stack.z_nm))),
        methods=scores,
        worst=worst,
    )


def _worst_slice(
    method: str,
    index: int,
    hidden: int,
    image: NDArray[np.float32],
    truth: NDArray[np.float32],
    kept: Stack,
    z_nm: NDArray[np.float64],
    scores: HiddenScores,
) -> WorstSlice:
    """The part of a hidden slice where a method is worst, beside the truth and linear interpolation."""
    y0, y1, x0, x1 = most_different(image, truth)
    images = {TRUTH: truth, method: image}
    if method != BASELINE:
        linear, _ = reconstruct(BASELINE, kept, z_nm[hidden : hidden + 1], None, Progress(None))
        images = {TRUTH: truth, BASELINE: linear[0], method: image}
    shown = {name: as_grey(one[y0:y1, x0:x1]) for name, one in images.items()}
    return WorstSlice(
        index, float(z_nm[hidden]), method, float(scores.slices[hidden].psnr or 0), (y0, y1, x0, x1), shown
    )


def _compared(
    name: str,
    images: NDArray[np.float32],
    truth: list[NDArray[np.float32]],
    pixel_size_nm: tuple[float, float],
    lpips: ImageMetric | None,
    **more: Any,
) -> HiddenScores:
    """All that is measured of one method's hidden slices; ``more`` is what else is known of the method."""
    pairs = list(zip(images, truth, strict=True))
    each = [measure_image(image, there, lpips=lpips) for image, there in pairs]
    slices = tuple(scores_in(one) for one in each)
    errors = [float(np.mean(np.square(image - there, dtype=np.float64))) for image, there in pairs]
    metrics = {"xy": estimates(each), "volume": {"psnr_3d_dropped": psnr_over_slices(errors)}}
    resolution = resolution_of([ring_sums(image, there, pixel_size_nm) for image, there in pairs])
    return HiddenScores(name, mean_scores(slices), slices, metrics=metrics, resolution=resolution, **more)


def _shown_stack(stack: Stack, shown: list[int]) -> Stack:
    """The slices that methods see, with grey-value limits that come from them alone."""
    selected = stack.select(shown)
    if np.dtype(stack.normalisation.dtype).itemsize == 1:
        return selected
    measured = stack_from_array(
        selected.slices, z_nm=selected.z_nm, pixel_size_nm=selected.pixel_size_nm, allow_isotropic=True
    )
    return replace(selected, normalisation=measured.normalisation)


def _decibels(scores: HiddenScores) -> float:
    return -np.inf if scores.mean.psnr is None else scores.mean.psnr


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"
