"""Evenly spaced depths between the first and the last observed slice."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_emgauss._errors import DepthError


def isotropic_depths(
    z_nm: ArrayLike, spacing_nm: float, z_range: tuple[float, float] | None = None
) -> NDArray[np.float64]:
    """Depths of the slices of an isotropic volume.

    Both ends are included, so ``n = round(range / spacing) + 1``; where the range is no whole multiple of the spacing,
    the true distance between slices is the nearest that is.

    Parameters
    ----------
    z_nm : array-like
        ``(K,)`` depths of the observed slices, nm, increasing.
    spacing_nm : float
        Wanted distance between slices.
    z_range : tuple of float, optional
        First and last depth in nm, within the observed slices; all of them by default.

    Returns
    -------
    ndarray
        ``(n,)`` float64, nm.

    Raises
    ------
    DepthError
        The spacing is not positive or larger than the range, or the range lies outside the observed slices.
    """
    z = np.asarray(z_nm, dtype=np.float64)
    first, last = float(z[0]), float(z[-1])
    if not (math.isfinite(spacing_nm) and spacing_nm > 0):
        raise DepthError(f"The spacing must be a positive number of nm, not {spacing_nm}.")
    low, high = (first, last) if z_range is None else (float(z_range[0]), float(z_range[1]))
    # Depths typed by hand are rounded: a billionth of the range beyond the end is the end.
    slack = 1e-9 * (last - first)
    if not (first - slack <= low < high <= last + slack):
        raise DepthError(
            f"The z range {low:g} to {high:g} nm does not lie within the observed slices, {first:g} to {last:g} nm."
        )
    low, high = max(low, first), min(high, last)
    steps = round((high - low) / spacing_nm)
    if steps < 1:
        raise DepthError(f"The spacing of {spacing_nm:g} nm is larger than the z range of {high - low:g} nm.")
    if steps >= 10_000_000:
        raise DepthError(f"A spacing of {spacing_nm:g} nm gives {steps + 1} slices: choose a larger one.")
    return np.linspace(low, high, steps + 1)


def aligned_spacing(z_nm: ArrayLike, spacing_nm: float) -> float:
    """The spacing nearest to ``spacing_nm`` on whose grid every observed slice lies, where there is one.

    For evenly spaced slices that is the z step divided by a whole number; for uneven ones ``spacing_nm`` as it is.
    """
    steps = np.diff(np.asarray(z_nm, dtype=np.float64))
    step = float(steps.mean())
    if np.abs(steps - step).max() > 1e-6 * step:
        return float(spacing_nm)
    return step / max(1, round(step / spacing_nm))
