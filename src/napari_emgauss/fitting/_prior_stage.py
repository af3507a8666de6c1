"""The stage before the Gaussians learn from guesses: a prior is prepared and asked for its pseudo-labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import PriorError
from napari_emgauss._progress import OnProgress, Progress, ProgressUpdate
from napari_emgauss.fitting._config import FitConfig
from napari_emgauss.fitting._error_bars import label_error_bars
from napari_emgauss.fitting._labels import LabelDepths, Labels, label_depths
from napari_emgauss.model import PLANES_PER_GAP, Confidence, ErrorBars, chosen_depths, coarse_confidence
from napari_emgauss.priors import ErrorLaw, Interpolator, Prior, PriorState, error_laws, prepare_channels
from napari_emgauss.stack import Stack

_LAWS = "error_laws"
"""Under what name a prior's report holds the laws of its errors, one a channel."""


@dataclass
class PriorStage:
    """A prior for one stack, and what it has come to.

    Parameters
    ----------
    stack : Stack
    config : FitConfig
    prior : Prior
    state : PriorState
        Of an earlier preparation; what is learned is left there.
    follows : bool
        Whether the prior follows from the settings, so that its labels can be made again from them and its state.

    Attributes
    ----------
    fraction : float
        Share of the preparation that is done.
    """

    stack: Stack
    config: FitConfig
    prior: Prior
    state: PriorState
    follows: bool
    fraction: float = field(default=0.0, init=False)

    @property
    def depths(self) -> LabelDepths:
        """Where the prior is asked."""
        return depths_of_labels(self.stack, self.config)

    def work(self, images: NDArray[np.float32]) -> Callable[[OnProgress], tuple[Labels, dict[str, Any]]]:
        """What prepares the prior on ``images``, or goes on with it, and collects its labels; its report with them."""
        prior, config, stack = self.prior, self.config, self.stack

        def work(report: OnProgress) -> tuple[Labels, dict[str, Any]]:
            def tell(update: ProgressUpdate) -> None:
                self.fraction = self.fraction if update.fraction is None else update.fraction
                report(update)

            interpolator = prepare_channels(
                prior,
                images,
                stack.z_nm,
                stack.pixel_size_nm,
                seed=config.seed,
                on_progress=tell,
                state=self.state,
            )
            labels = Labels.collect(
                self.depths,
                interpolator,
                config.label_memory_mb,
                Progress(tell, start=1.0),  # the prior is ready; the rest is quick
            )
            if labels.images is not None and not np.isfinite(labels.images).all():
                raise PriorError(
                    f"The prior {prior.name!r} gave pseudo-labels that are not numbers: choose another prior."
                )
            report_of = getattr(interpolator, "report", None)
            about = dict(report_of) if isinstance(report_of, dict) else {"name": prior.name}
            about[_LAWS] = self._error_laws(images, interpolator)
            return labels, about

        return work

    def _error_laws(self, images: NDArray[np.float32], interpolator: Interpolator) -> list[dict[str, Any]]:
        """How wrong the prior is, as JSON holds it, for each channel; found once, as it may train on hidden slices."""
        kept = self.state.get(_LAWS)
        if kept is not None:
            with self.state.checked():
                return [ErrorLaw.from_json(one).to_json() for one in kept.values["laws"]]
        where = (self.stack.z_nm, self.stack.pixel_size_nm)
        laws = error_laws(self.prior, images, *where, interpolator, seed=self.config.seed) or ()
        found = [law.to_json() for law in laws]
        self.state.put(_LAWS, {"laws": found})
        return found

    def confidence(self, labels: Labels) -> Confidence | None:
        """The prior's confidence at a few depths of every gap; None where it has no opinion of itself."""
        depths = labels.depths.z_nm
        # Where labels are not kept, each is computed anew.
        per_gap = 1 if labels.images is None else PLANES_PER_GAP
        chosen = chosen_depths(self.stack.z_nm, depths, per_gap)
        # Of several channels the mean: there is one map of where to believe the model.
        planes = [
            label.confidence if label.confidence.ndim == 2 else label.confidence.mean(axis=0)
            for label in (labels[k] for k in chosen)
            if label.confidence is not None
        ]
        if not planes or len(planes) < len(chosen):
            return None
        _, height, width = self.stack.shape
        return coarse_confidence(planes, depths[chosen], self.stack.z_nm, self.stack.pixel_size_nm, (height, width))

    def error_bars(self, labels: Labels, about: dict[str, Any], images: NDArray[np.float32]) -> ErrorBars | None:
        """Error bars of what the labels teach; None where nothing is known of the prior's errors.

        Parameters
        ----------
        labels : Labels
        about : dict
            The prior's report, as `work` made it.
        images : ndarray
            ``(K, H, W)`` or ``(K, C, H, W)``, unit range.
        """
        told = about.get(_LAWS)
        if not told:
            return None
        laws = tuple(ErrorLaw.from_json(one) for one in told)
        return label_error_bars(labels, laws, images, self.stack.z_nm, self.stack.pixel_size_nm)


def depths_of_labels(stack: Stack, config: FitConfig) -> LabelDepths:
    """Depths at which a prior is asked for a stack."""
    pixel = float(np.mean(stack.pixel_size_nm))
    return label_depths(stack.z_nm, pixel, config.labels_per_gap)


def put_in_place(images: NDArray[np.float32], shifts_px: NDArray[np.float64] | None) -> NDArray[np.float32]:
    """Slices moved back by shifts ``(K, 2)``, y and x in pixels; as they are without shifts."""
    from scipy.ndimage import shift

    if shifts_px is None:
        return images
    lead = (0.0,) * (images.ndim - 3)
    moved = [
        shift(image, (*lead, -dy, -dx), order=3, mode="nearest")
        for image, (dy, dx) in zip(images, shifts_px, strict=True)
    ]
    return np.asarray(moved, dtype=np.float32)
