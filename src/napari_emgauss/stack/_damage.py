"""Find missing and damaged slices: black, duplicated, saturated, blurred, or unlike their neighbours.

Nothing is left out here: a report suggests, the user decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._progress import OnProgress, Progress

from ._channels import geometry_of
from ._stack import Stack

# Slices are looked at in at most this many pixels a side; damage is large, and 1000 slices should take seconds.
_LOOK = 384
# How far from its stack's median, in robust standard deviations, a slice is suspect, and how far it is bad.
_SUSPECT, _BAD = 6.0, 12.0
# A stack differs from slice to slice by nature: below these, a deviation is not worth a word however even the rest is.
_LEAST_SHARPNESS = 0.7  # natural logarithm: half as sharp
_LEAST_CORRELATION = 0.08
_LEAST_BRIGHTNESS = 0.12  # of the unit range
_LEAST_CONTRAST = 0.5  # natural logarithm

State = Literal["good", "suspect", "bad"]


@dataclass(frozen=True)
class SliceReport:
    """What was found about one slice.

    Parameters
    ----------
    index : int
        In the stack.
    z_nm : float
    state : str
        ``good``, ``suspect`` (worth a look) or ``bad`` (better left out).
    reasons : tuple of str
        For people, worst first; empty when good.
    measures : dict
        ``brightness``, ``contrast`` (unit range), ``sharpness``, ``flat`` (part of the pixels that share one value),
        ``saturated`` (part at the top), ``similarity`` (correlation with the more similar neighbour).
    """

    index: int
    z_nm: float
    state: State
    reasons: tuple[str, ...] = ()
    measures: dict[str, float] = field(default_factory=dict)


class _Looks:
    """Measures of all slices, one value each; of pairs of neighbours one less."""

    def __init__(self, count: int) -> None:
        self.finite = np.ones(count, dtype=bool)
        self.flat = np.full(count, np.nan)
        self.saturated = np.full(count, np.nan)
        self.brightness = np.full(count, np.nan)
        self.contrast = np.full(count, np.nan)
        self.sharpness = np.full(count, np.nan)
        self.to_next = np.full(count - 1, np.nan)
        self.same_as_next = np.zeros(count - 1, dtype=bool)


def find_damage(stack: Stack, *, on_progress: OnProgress | None = None) -> list[SliceReport]:
    """Look at every slice once and tell which look damaged, and why.

    A slice is compared with the running median of its own stack, in units of the robust spread (1.48 times the median
    absolute deviation). Open the stack with ``allow_damaged=True`` to get empty and NaN slices as far as here.

    Parameters
    ----------
    stack : Stack
    on_progress : callable, optional
        Called with each :class:`ProgressUpdate`; may raise to stop.

    Returns
    -------
    list of SliceReport
        One for each slice, in order.
    """
    stack = geometry_of(stack)
    numbers = stack.numbers_in_file
    looks = _look(stack, Progress(on_progress))
    reports = []
    usable = looks.finite & (looks.flat < 0.98)
    similarity = _similarity(looks)
    reference = usable & np.isfinite(similarity)
    for index in range(stack.shape[0]):
        found = _reasons(index, looks, usable, similarity, reference, numbers)
        state: State = "good"
        if found:
            state = "bad" if max(severity for severity, _ in found) >= _BAD else "suspect"
        found.sort(key=lambda item: -item[0])
        measures = {
            "brightness": float(looks.brightness[index]),
            "contrast": float(looks.contrast[index]),
            "sharpness": float(looks.sharpness[index]),
            "flat": float(looks.flat[index]),
            "saturated": float(looks.saturated[index]),
            "similarity": float(similarity[index]),
        }
        reports.append(
            SliceReport(index, float(stack.z_nm[index]), state, tuple(reason for _, reason in found), measures)
        )
    return reports


def suggested_skip(reports: Sequence[SliceReport]) -> list[int]:
    """Slices that are better left out: those found bad."""
    return [report.index for report in reports if report.state == "bad"]


def _reasons(
    index: int,
    looks: _Looks,
    usable: NDArray[np.bool_],
    similarity: NDArray[np.float64],
    reference: NDArray[np.bool_],
    numbers: Sequence[int],
) -> list[tuple[float, str]]:
    """Severity (robust standard deviations) and sentence of everything that is wrong with a slice."""
    if not looks.finite[index]:
        return [(np.inf, "holds NaN or infinite values")]
    flat = float(looks.flat[index])
    if flat >= 0.98:
        what = "black" if looks.brightness[index] <= 0.02 else "white" if looks.brightness[index] >= 0.98 else "empty"
        return [(np.inf, f"is {what}: {flat:.0%} of its pixels have the same value")]
    if index and looks.same_as_next[index - 1]:
        return [(np.inf, f"is a copy of slice {numbers[index - 1]}")]
    found = []
    for part, what in ((looks.saturated, "saturated"), (looks.flat, "empty")):
        excess = float(part[index] - _running_median(part, usable)[index])
        if excess > 0.1:
            found.append((_BAD if excess > 0.4 else _SUSPECT, f"is partly {what}: {part[index]:.0%} of its pixels"))
            break  # saturated pixels share one value, too
    log_sharpness = np.log(looks.sharpness + 1e-12)
    blur = -_deviation(log_sharpness, index, usable, _LEAST_SHARPNESS)
    if blur > _SUSPECT:
        factor = np.exp(np.median(log_sharpness[usable]) - log_sharpness[index])
        found.append((blur, f"is blurred: {factor:.1f} times less sharp than the others"))
    unlike = -_deviation(similarity, index, reference, _LEAST_CORRELATION)
    if unlike > _SUSPECT:
        # With one neighbour only, it may be that one that is bad.
        if index in (0, len(similarity) - 1) or not np.isfinite(looks.to_next[index - 1 : index + 1]).all():
            unlike = min(unlike, _BAD - 1)
        found.append((unlike, f"is unlike its neighbours: correlation {similarity[index]:.2f}"))
    brightness = _deviation(looks.brightness, index, usable, _LEAST_BRIGHTNESS)
    if abs(brightness) > _SUSPECT:
        found.append(
            (min(abs(brightness), _BAD - 1), f"is {'brighter' if brightness > 0 else 'darker'} than the others")
        )
    contrast = _deviation(np.log(looks.contrast + 1e-6), index, usable, _LEAST_CONTRAST)
    if abs(contrast) > _SUSPECT:
        found.append(
            (min(abs(contrast), _BAD - 1), f"has {'more' if contrast > 0 else 'less'} contrast than the others")
        )
    return found


def _deviation(values: NDArray[np.float64], index: int, reference: NDArray[np.bool_], least: float) -> float:
    """Distance of one value from the median, in robust standard deviations; 0 below ``least``.

    The spread is measured around a running median, so that a slow drift along z is no spread.
    """
    known = values[reference]
    if len(known) < 4 or not np.isfinite(values[index]):
        return 0.0
    drift = _running_median(values, reference)
    difference = float(values[index] - drift[index])
    if abs(difference) < least:
        return 0.0
    spread = 1.4826 * float(np.median(np.abs((values - drift)[reference])))
    return difference / max(spread, least / _BAD)


def _running_median(values: NDArray[np.float64], reference: NDArray[np.bool_], half: int = 7) -> NDArray[np.float64]:
    out = np.empty_like(values)
    for k in range(len(values)):
        low, high = max(0, k - half), min(len(values), k + half + 1)
        window = values[low:high][reference[low:high]]
        out[k] = np.median(window) if len(window) else np.median(values[reference])
    return out


def _similarity(looks: _Looks) -> NDArray[np.float64]:
    """Correlation of each slice with the more similar of its two neighbours.

    A good slice beside a bad one still has one good neighbour; a bad one has none.
    """
    padded = np.concatenate([[np.nan], looks.to_next, [np.nan]])
    both = np.stack([padded[:-1], padded[1:]])
    out = np.full(both.shape[1], np.nan)
    known = np.isfinite(both).any(axis=0)
    out[known] = np.nanmax(both[:, known], axis=0)
    return out


def _look(stack: Stack, progress: Progress) -> _Looks:
    count = stack.shape[0]
    looks = _Looks(count)
    before: tuple[NDArray[np.float32], bytes] | None = None
    for index in range(count):
        values = np.asarray(stack.slices[index])
        finite = values.dtype.kind != "f" or bool(np.isfinite(values).all())
        looks.finite[index] = finite
        if not finite:
            before = None
        else:
            small = _measure(values, stack, looks, index)
            key = _fingerprint(values)
            if before is not None:
                looks.to_next[index - 1] = _correlation(before[0], small)
                looks.same_as_next[index - 1] = before[1] == key
            before = (small, key)
        progress.tell((index + 1) / count)
    return looks


def _measure(values: NDArray[Any], stack: Stack, looks: _Looks, index: int) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter, laplace

    height, width = values.shape
    # Sharpness needs neighbouring pixels: the middle at full resolution, everything else thinned out.
    top, left = max(0, (height - _LOOK) // 2), max(0, (width - _LOOK) // 2)
    middle = stack.normalisation.to_unit(values[top : top + _LOOK, left : left + _LOOK])
    step = max(1, round(max(height, width) / _LOOK))
    thin = values[::step, ::step]
    small = stack.normalisation.to_unit(thin)
    lowest, highest = float(small.min()), float(small.max())
    top_value = 1.0 if np.dtype(values.dtype).itemsize == 1 else highest
    _, counts = np.unique(thin, return_counts=True)
    looks.flat[index] = counts.max() / thin.size
    looks.saturated[index] = float((small >= top_value).mean()) if highest > lowest else float(highest >= 1.0)
    looks.brightness[index] = float(np.median(small))
    looks.contrast[index] = float(np.subtract(*np.percentile(small, (95, 5))))
    smooth = gaussian_filter(middle, 1.0)
    looks.sharpness[index] = float(laplace(smooth).std() / (smooth.std() + 1e-6))
    return np.asarray(gaussian_filter(small, 1.5), dtype=np.float32)


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    a, b = first - first.mean(), second - second.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else float("nan")


def _fingerprint(values: NDArray[Any]) -> bytes:
    from hashlib import blake2b

    return blake2b(np.ascontiguousarray(values).tobytes(), digest_size=16).digest()
