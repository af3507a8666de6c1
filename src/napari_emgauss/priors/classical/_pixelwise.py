"""Interpolation along z that looks at each pixel alone: nearest, linear, cubic spline, and the blur that denoises.

Every function takes ``images`` ``(K, H, W)`` float32 at strictly increasing ``z_nm`` ``(K,)`` and depths ``at_nm``
``(n,)`` in nm, and returns ``(n, H, W)`` float32. Spacing may be uneven.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_emgauss._errors import DepthError

BLUR_SIGMA_PIXELS = 0.8
"""Gaussian blur of "blurred" methods; removes shot noise without widening membranes much."""
AGREEMENT_SCALE = 0.08
"""Difference between two guesses (unit range) at which confidence falls to a half: about the noise of EM slices."""
AGREEMENT_SIGMA_PIXELS = 1.5
"""Blur of squared differences before they are looked at."""


def locate_gap(z_nm: NDArray[np.float64], depth_nm: float) -> tuple[int, float]:
    """Index of the gap that holds a depth, and the position within it.

    Parameters
    ----------
    z_nm : ndarray
        ``(K,)`` strictly increasing depths, K >= 2.
    depth_nm : float
        Depth between the first and the last of them.

    Returns
    -------
    int, float
        ``k`` in 0 ... K-2 and ``u`` in [0, 1] with ``depth = (1 - u) z_k + u z_{k+1}``.

    Raises
    ------
    DepthError
        If the depth lies outside the slices (beyond rounding).
    """
    first, last = float(z_nm[0]), float(z_nm[-1])
    slack = 1e-6 * (last - first)
    if not first - slack <= depth_nm <= last + slack:
        raise DepthError(
            f"Depth {depth_nm:g} nm lies outside the observed slices: choose one between {first:g} and {last:g} nm."
        )
    gap = int(np.clip(np.searchsorted(z_nm, depth_nm, side="right") - 1, 0, len(z_nm) - 2))
    position = (depth_nm - z_nm[gap]) / (z_nm[gap + 1] - z_nm[gap])
    return gap, float(np.clip(position, 0.0, 1.0))


def agreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far two guesses ``(H, W)`` agree: 1 where they are alike, a half where they differ as much as noise."""
    from scipy.ndimage import gaussian_filter

    squared = gaussian_filter((one - other) ** 2, AGREEMENT_SIGMA_PIXELS)
    return np.asarray(AGREEMENT_SCALE**2 / (AGREEMENT_SCALE**2 + squared), dtype=np.float32)


def blur_slices(
    images: NDArray[np.float32], sigma_pixels: float | Sequence[float] = BLUR_SIGMA_PIXELS
) -> NDArray[np.float32]:
    """Blur each slice in its own plane with a Gaussian of ``sigma_pixels`` (one number, or y and x)."""
    from scipy.ndimage import gaussian_filter

    in_plane = np.broadcast_to(np.asarray(sigma_pixels, dtype=np.float64), (2,))
    out = np.empty(images.shape, dtype=np.float32)
    for index, image in enumerate(images):
        gaussian_filter(image, tuple(in_plane), output=out[index])
    return out


def interpolate_nearest(
    images: NDArray[np.float32], z_nm: NDArray[np.float64], at_nm: ArrayLike
) -> NDArray[np.float32]:
    """The nearest observed slice; at mid-gap the lower one (larger z)."""
    chosen = []
    for depth in np.atleast_1d(np.asarray(at_nm, dtype=np.float64)):
        gap, position = locate_gap(z_nm, float(depth))
        chosen.append(gap + int(position > 0.5 - 1e-9))
    return np.ascontiguousarray(images[chosen], dtype=np.float32)


def interpolate_linear(images: NDArray[np.float32], z_nm: NDArray[np.float64], at_nm: ArrayLike) -> NDArray[np.float32]:
    """Straight line between the two slices around each depth."""
    depths = np.atleast_1d(np.asarray(at_nm, dtype=np.float64))
    out = np.empty((len(depths), *images.shape[1:]), dtype=np.float32)
    for row, depth in enumerate(depths):
        gap, position = locate_gap(z_nm, float(depth))
        out[row] = images[gap] * np.float32(1 - position) + images[gap + 1] * np.float32(position)
    return out


def interpolate_cubic(images: NDArray[np.float32], z_nm: NDArray[np.float64], at_nm: ArrayLike) -> NDArray[np.float32]:
    """Cubic spline along z through all slices (not-a-knot ends; a parabola or line for 3 or 2 slices).

    A spline is linear in the values it passes through, so the spline of unit vectors gives the weight of every slice
    and no ``(K, H, W)`` coefficient array is needed.
    """
    depths = np.atleast_1d(np.asarray(at_nm, dtype=np.float64))
    weights = cubic_weights(z_nm, depths)
    out = np.empty((len(depths), *images.shape[1:]), dtype=np.float32)
    for row, weight in enumerate(weights):
        out[row] = np.tensordot(weight, images, axes=(0, 0))
    return out


def cubic_weights(z_nm: NDArray[np.float64], at_nm: ArrayLike) -> NDArray[np.float32]:
    """Weight ``(n, K)`` of every slice in the cubic spline at each depth; rows sum to one."""
    from scipy.interpolate import CubicSpline

    depths = np.array([_inside(z_nm, float(depth)) for depth in np.atleast_1d(np.asarray(at_nm, dtype=np.float64))])
    return CubicSpline(z_nm, np.eye(len(z_nm)))(depths).astype(np.float32)


def _inside(z_nm: NDArray[np.float64], depth_nm: float) -> float:
    """The depth itself once it is known to lie within the slices; rounding beyond an end is removed."""
    gap, position = locate_gap(z_nm, depth_nm)
    return float(z_nm[gap] + position * (z_nm[gap + 1] - z_nm[gap]))
