"""Estimate uneven section thickness from how fast slices change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._progress import OnProgress, Progress

from ._channels import geometry_of
from ._stack import Stack

_WINDOW = 512
# In-plane distances tried, in pixels: half-pixel steps would need interpolation, which is itself a blur.
_FURTHEST = 48
# Steps are told apart only where dissimilarity still grows with distance: below this part of its final value.
_SATURATED = 0.9


@dataclass(frozen=True)
class ThicknessEstimate:
    """Estimated distance of each slice from the next.

    Parameters
    ----------
    step_nm : ndarray
        ``(K-1,)`` estimate from each pair alone, nm; NaN where slices are too unlike to tell.
    nominal_nm : ndarray
        ``(K-1,)`` the steps so far.
    z_nm : ndarray
        ``(K,)`` depths to use: estimated steps (nominal ones where there is none), scaled to the nominal total depth.
    """

    step_nm: NDArray[np.float64]
    nominal_nm: NDArray[np.float64]
    z_nm: NDArray[np.float64]

    @property
    def reliable(self) -> bool:
        """True when at least three quarters of the steps could be told."""
        return bool(np.isfinite(self.step_nm).mean() >= 0.75)

    @property
    def spread(self) -> float:
        """Standard deviation of the steps over their mean: how uneven the sections are; NaN when none was told."""
        known = self.step_nm[np.isfinite(self.step_nm)]
        return float(known.std() / known.mean()) if len(known) > 1 else float("nan")


def estimate_thickness(stack: Stack, *, on_progress: OnProgress | None = None) -> ThicknessEstimate:
    """Estimate the distances between slices from the images.

    After Sporring et al., "Estimating the thickness of ultra thin sections for electron microscopy by image
    statistics", ISBI 2014: within a slice, the standard deviation of the difference of two copies shifted against each
    other grows with the shift; a pair of slices is as far apart as the shift within slices that makes them as
    different. It assumes that the tissue looks alike along z and in plane, that slices are aligned and equally sharp,
    and it can tell steps only up to about the size of the structures: see ``reliable``. It is never used by itself:
    pass its ``z_nm`` on.

    Parameters
    ----------
    stack : Stack
    on_progress : callable, optional
        Called with each :class:`ProgressUpdate`; may raise to stop.
    """
    stack, progress = geometry_of(stack), Progress(on_progress)
    count, height, width = stack.shape
    top, left = max(0, (height - _WINDOW) // 2), max(0, (width - _WINDOW) // 2)
    rows, columns = slice(top, top + _WINDOW), slice(left, left + _WINDOW)
    furthest = min(_FURTHEST, min(height, width, _WINDOW) // 3)
    within = np.zeros((count, furthest))
    between = np.zeros(count - 1)
    before: NDArray[np.float32] | None = None
    for index in range(count):
        image = stack.normalisation.to_unit(np.asarray(stack.slices[index, rows, columns]))
        spread = float(image.std())
        # Brightness and contrast of a section are no thickness.
        image = ((image - image.mean()) / (spread if spread > 0 else 1.0)).astype(np.float32)
        for distance in range(1, furthest + 1):
            along_y = image[distance:] - image[:-distance]
            along_x = image[:, distance:] - image[:, :-distance]
            within[index, distance - 1] = (along_y.std() + along_x.std()) / 2
        if before is not None:
            between[index - 1] = (image - before).std()
        before = image
        progress.tell((index + 1) / count)
    pixel = float(np.mean(stack.pixel_size_nm))
    curve = np.maximum.accumulate(np.median(within, axis=0))
    distances = np.arange(1, furthest + 1, dtype=np.float64)
    # The curve flattens out at the size of the structures; beyond that, distance cannot be read from it.
    useful = curve <= _SATURATED * curve[-1]
    steps = np.full(count - 1, np.nan)
    if useful.sum() >= 2:
        # Steps shorter than a pixel are read from the line through the first two points.
        known_values, known_distances = curve[useful], distances[useful]
        slope = (known_distances[1] - known_distances[0]) / max(known_values[1] - known_values[0], 1e-9)
        inside = between <= known_values[-1]
        short = between < known_values[0]
        steps[inside] = np.interp(between[inside], known_values, known_distances)
        steps[short] = np.maximum(known_distances[0] - (known_values[0] - between[short]) * slope, 0.1)
    steps *= pixel
    nominal = np.diff(stack.z_nm)
    known = np.isfinite(steps)
    used = nominal.copy()
    if known.any():
        # The images tell how steps compare; their total is better known from the microtome.
        used[known] = steps[known] * nominal[known].sum() / steps[known].sum()
    z_nm = stack.z_nm[0] + np.concatenate([[0.0], np.cumsum(used)])
    return ThicknessEstimate(steps, nominal, z_nm)
