"""Error bars from the stack itself: how wrong a prior is about slices that were hidden from it.

Hidden slices lie in gaps twice as wide as the stack's, so that the size of errors there is not the size to be expected.
Two things carry over to the real gaps. A prior that predicts its error (it learned to, on rows dropped at the real
distance within the slices) is wrong by about the same factor at either distance: the factor holds what drift,
misalignment and tissue that is not alike in all directions add to what can be seen within a slice, and what the fusion
of several guesses takes away. For priors that predict nothing, linear interpolation of rows dropped within the slices
tells how errors grow with distance (the semivariogram, G. Matheron, "Principles of geostatistics", Economic Geology 58,
1963), and how far two guesses differ tells where they are large: a rising curve (isotonic regression, R. Barlow et al.,
"Statistical Inference under Order Restrictions", 1972).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import PriorError
from napari_emgauss._progress import OnProgress
from napari_emgauss.priors._error_law import (
    NORMAL_BANDS,
    ErrorLaw,
    Knots,
    PredictedError,
    bands_of,
    predicted_error,
)
from napari_emgauss.priors._hidden_slices import HiddenSlices, hide_slices
from napari_emgauss.priors._protocol import Interpolator, Observation, Prior, PseudoLabel
from napari_emgauss.priors._volume_interpolator import resampled
from napari_emgauss.priors.classical._pixelwise import agreement, locate_gap
from napari_emgauss.priors.learned._self import SelfPrior
from napari_emgauss.priors.learned._self_config import trial_config

TRIAL_SLICES, TRIAL_PIXELS = 41, 256
_STEPS_OF_DOUBT = 12
_ROWS_OF_SLICES = 16
_MIDDLES = 6
_OUTLIER = 4.0
"""A hidden slice that is wrong by more than so many times the median is one that nobody could have restored."""


def error_laws(
    prior: Prior,
    images: NDArray[np.float32],
    z_nm: NDArray[np.float64],
    pixel_size_nm: tuple[float, float],
    interpolator: Interpolator,
    *,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> tuple[ErrorLaw, ...] | None:
    """The laws of a prior's errors on a stack, one for each channel; None where they cannot be told.

    Parameters
    ----------
    prior : Prior
        What ``interpolator`` was prepared by.
    images : ndarray
        ``(K, H, W)`` or ``(K, C, H, W)``, unit range.
    z_nm, pixel_size_nm
        As of `Observation`.
    interpolator : Interpolator
        Prepared on all of them; a prior that tried itself on hidden slices while it was prepared has a law already.
    seed, on_progress
        As of `Prior.prepare`.
    """
    several = images.ndim == 4
    parts = list(getattr(interpolator, "parts", [])) if several else [interpolator]
    laws = []
    for channel, part in enumerate(parts):
        alone = np.ascontiguousarray(images[:, channel]) if several else images
        law = _law(prior, Observation(alone, z_nm, pixel_size_nm), part, seed, on_progress)
        if law is None:
            return None
        laws.append(law)
    return tuple(laws) or None


def _law(
    prior: Prior, observation: Observation, interpolator: Interpolator, seed: int, on_progress: OnProgress | None
) -> ErrorLaw | None:
    own = getattr(interpolator, "error_law", None)
    if isinstance(own, ErrorLaw):
        return own
    law = hidden_law(prior, observation, seed=seed, on_progress=on_progress)
    return None if law is None else law.settled(predicted_error(interpolator))


def hidden_law(
    prior: Prior, where: Observation | HiddenSlices, *, seed: int = 0, on_progress: OnProgress | None = None
) -> ErrorLaw | None:
    """The law of a prior's errors as hidden slices tell it, not settled yet; None where there are none to hide."""
    hidden = where if isinstance(where, HiddenSlices) else hide_slices(where, TRIAL_SLICES, TRIAL_PIXELS)
    if hidden is None:
        return None
    if isinstance(prior, SelfPrior):
        prior = SelfPrior(trial_config(prior.config))
    try:
        restored = prior.prepare(hidden.thinned, seed=seed, on_progress=on_progress)
        labels = [restored.at(float(depth)) for depth in hidden.z_nm]
        if (predicted := predicted_error(restored)) is not None:
            return predicted_law(labels, hidden.truth, predicted)
        return _residual_law(prior, hidden, labels, seed)
    except PriorError:
        return None  # half of the slices are too few for it


def predicted_law(labels: list[PseudoLabel], truth: NDArray[np.float32], said: PredictedError) -> ErrorLaw | None:
    """The law of a prior that predicts its error: by what factor it was wrong about hidden slices.

    Parameters
    ----------
    labels : list of PseudoLabel
        What it guessed.
    truth : ndarray
        ``(n, h, w)`` what there was.
    said : PredictedError
        What it predicts where its confidence is 1.
    """
    error = np.stack([label.image for label in labels]) - truth
    law = ErrorLaw(said.least, surest=said.surest)
    predicted = np.stack([law.squared_error(_told(label), 0.5) for label in labels])
    each = (error**2).mean(axis=(1, 2)) / predicted.mean(axis=(1, 2))
    usual = np.minimum(each, _OUTLIER * np.median(each))
    factor = float(np.mean(usual))
    if not (np.isfinite(factor) and factor > 0):
        return None
    sound = each <= _OUTLIER * np.median(each)
    found = dict(bands_of(error[sound], factor * predicted[sound]))
    # Noise, which is normal, is a larger share of the errors in gaps half as wide: half way there.
    bands = tuple((band, (found[band] + normal) / 2) for band, normal in NORMAL_BANDS)
    return ErrorLaw(factor, bands=bands)


def confidence_at(label: PseudoLabel, observation: Observation, depth_nm: float) -> NDArray[np.float32]:
    """Confidence of a guess; of a prior that has no opinion of itself, how far the slices around it agree."""
    if label.confidence is not None:
        return label.confidence
    gap, _ = locate_gap(observation.z_nm, depth_nm)
    return agreement(observation.images[gap], observation.images[gap + 1])


def place_in_gap(z_nm: NDArray[np.float64], depth_nm: float) -> float:
    """Distance of a depth from the nearer slice, in gaps: 0 to 0.5."""
    _, position = locate_gap(z_nm, depth_nm)
    return min(position, 1 - position)


def _told(label: PseudoLabel) -> NDArray[np.float32]:
    return np.ones(label.image.shape, np.float32) if label.confidence is None else label.confidence


def _residual_law(prior: Prior, hidden: HiddenSlices, labels: list[PseudoLabel], seed: int) -> ErrorLaw | None:
    """The law of a prior that predicts nothing."""
    levels = _levels(hidden.piece)
    error = np.stack([label.image for label in labels]) - hidden.truth
    each = (error**2).mean(axis=(1, 2))
    sound = each <= _OUTLIER * np.median(each)
    if levels is None or not np.median(each) > 0:
        return None
    pairs = zip(labels, hidden.z_nm, strict=True)
    doubt = np.stack([1 / confidence_at(label, hidden.thinned, float(depth)) for label, depth in pairs])
    shape = _rising(doubt[sound].ravel(), (error[sound] ** 2).ravel())
    law = ErrorLaw(1.0, ((0.5, 1.0),), shape)
    law = replace(law, bands=bands_of(error[sound], law.squared_error(1 / doubt[sound], 0.5)))
    # Slices nearer to each other differ less: it is how much one differs from the usual that tells.
    shrunk = (_usual_doubt(prior, hidden.piece, seed) - 1) / max(float(doubt[sound].mean()) - 1, 1e-6)
    knots = {1 + (place - 1) * max(shrunk, 1e-3): value for place, value in shape}
    return replace(law, levels=levels, shape=tuple(sorted(knots.items())))


def _rising(doubt: NDArray[np.float32], squared: NDArray[np.float32]) -> Knots:
    """Mean squared error by doubt, rising: of as many voxels at each knot."""
    from scipy.optimize import isotonic_regression

    order = np.array_split(np.argsort(doubt, kind="stable"), _STEPS_OF_DOUBT)
    parts = [part for part in order if len(part)]
    places = [float(doubt[part].mean(dtype=np.float64)) for part in parts]
    means = isotonic_regression([float(squared[part].mean(dtype=np.float64)) for part in parts]).x
    knots = dict(zip(places, (float(mean) for mean in means), strict=True))
    return tuple(sorted(knots.items()))


def _usual_doubt(prior: Prior, piece: Observation, seed: int) -> float:
    """Mean doubt in the middle of the gaps of a stack."""
    ready = prior.prepare(piece, seed=seed)
    middles = (piece.z_nm[:-1] + piece.z_nm[1:]) / 2
    chosen = middles[np.unique(np.linspace(0, len(middles) - 1, _MIDDLES).astype(int))]
    return float(np.mean([1 / confidence_at(ready.at(float(z)), piece, float(z)) for z in chosen]))


def _levels(piece: Observation) -> Knots | None:
    """Squared error of linear interpolation by place in a real gap, over that in the middle of one twice as wide.

    Measured on rows dropped within the slices, along both axes; None where slices are too small for it.
    """
    step = max(1, len(piece.images) // _ROWS_OF_SLICES)
    images = piece.images[::step]
    finest = min(piece.pixel_size_nm)
    shape = tuple(
        max(1, round(n * size / finest)) for n, size in zip(images.shape[1:], piece.pixel_size_nm, strict=True)
    )
    images = np.stack([resampled(image, shape) for image in images])
    gap = max(2, round(float(np.median(np.diff(piece.z_nm))) / finest))
    if 2 * gap >= min(shape):
        return None
    middle = _linear_error(images, 2 * gap, gap)
    if not middle > 0:
        return None
    return tuple((row / gap, _linear_error(images, gap, row) / middle) for row in range(1, gap // 2 + 1))


def _linear_error(images: NDArray[np.float32], gap: int, row: int) -> float:
    """Mean squared error of linear interpolation of the row ``row`` of ``gap`` between two kept ones."""
    part = np.float32(row / gap)
    errors = []
    for turned in (images, images.swapaxes(1, 2)):
        above, below = turned[:, :-gap], turned[:, gap:]
        error = turned[:, row : row - gap or None] - (1 - part) * above - part * below
        errors.append(float(np.mean(error**2, dtype=np.float64)))
    return float(np.mean(errors))
