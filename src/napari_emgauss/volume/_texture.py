"""What a stack's texture is made of: which power its slices have, which power rendered slices lack, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude

REACH = 16
"""Pixels around a pixel that its texture depends on."""

_GREY_SIGMA, _EDGE_SIGMA = 1.5, 2.0  # pixels; four of each lie within REACH
_GRID = 128  # samples of the frequencies that filters are made on


@dataclass(frozen=True)
class Texture:
    """The texture of one channel, in units of the unit range.

    Parameters
    ----------
    frequencies : sequence of float
        ``(B,)`` cycles a pixel, increasing.
    distances_nm : sequence of float
        ``(D,)`` distances from the nearest observed slice, increasing from 0.
    contrast : sequence of sequence of float
        ``(D, B)`` factors by which the contrast of what is rendered so far from an observed slice is raised.
    noise : sequence of sequence of float
        ``(D, B)`` power of the noise that is added there; white noise of variance v has v at each frequency.
    greys, by_grey : sequence of float
        How large the noise of observed slices is at some grey values (unit range), beside the mean: 1.
    edges, by_edge : sequence of float
        The same by how fast the grey value changes there, a pixel.
    """

    frequencies: Sequence[float]
    distances_nm: Sequence[float]
    contrast: Sequence[Sequence[float]]
    noise: Sequence[Sequence[float]]
    greys: Sequence[float]
    by_grey: Sequence[float]
    edges: Sequence[float]
    by_edge: Sequence[float]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers of six digits."""
        return {item.name: _rounded(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_json(cls, values: object) -> Texture | None:
        """What :meth:`to_json` gave; None of anything else."""
        if not isinstance(values, Mapping):
            return None
        try:
            arrays = {item.name: np.asarray(values[item.name], dtype=np.float64) for item in fields(cls)}
        except (KeyError, TypeError, ValueError):
            return None
        pairs = [("greys", "by_grey"), ("edges", "by_edge"), ("contrast", "noise")]
        lines = [arrays[name] for name in ("frequencies", "distances_nm", "greys", "edges")]
        fits = (
            all(line.ndim == 1 and line.size for line in lines)
            and all(arrays[a].shape == arrays[b].shape for a, b in pairs)
            and arrays["noise"].shape == (arrays["distances_nm"].size, arrays["frequencies"].size)
            and all(np.isfinite(array).all() for array in arrays.values())
            and all((np.diff(arrays[name]) > 0).all() for name in ("frequencies", "distances_nm"))
            and all((arrays[name] >= 0).all() for name in ("contrast", "noise", "by_grey", "by_edge"))
        )
        return cls(**{name: _rounded(array) for name, array in arrays.items()}) if fits else None

    @property
    def noise_deviation(self) -> float:
        """Standard deviation, in the unit range, of the noise that is added farthest from observed slices."""
        power = np.asarray(self.noise[-1], dtype=np.float64)
        return float(np.sqrt(_spread(np.asarray(self.frequencies), power, _radii(1.0, 1.0)).mean()))

    def filters(
        self, distance_nm: float, cells: tuple[float, float]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What rendered slices, and white noise, are convolved with at a distance from the nearest observed slice.

        Parameters
        ----------
        distance_nm : float
            The distance; beyond the largest that was measured as there.
        cells : tuple of float
            Rows and columns of pixels that one sample of the rendered slice stands for. Noise has one a pixel.

        Returns
        -------
        contrast, noise : ndarray
            ``(2 REACH + 1, 2 REACH + 1)`` each.
        """
        gain, power = (
            np.array([np.interp(distance_nm, self.distances_nm, column) for column in np.transpose(table)])
            for table in (self.contrast, self.noise)
        )
        return contrast_kernel(self.frequencies, gain, cells), noise_kernel(self.frequencies, power)

    def strength(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        """How large the noise is at each pixel of a rendered slice (unit range), beside the mean: 1."""
        grey = gaussian_filter(image, _GREY_SIGMA)
        edge = gaussian_gradient_magnitude(image, _EDGE_SIGMA)
        return np.asarray(np.interp(grey, self.greys, self.by_grey) * np.interp(edge, self.edges, self.by_edge))


def smoothed(image: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grey value and edge, as :meth:`Texture.strength` looks at them."""
    return (
        np.asarray(gaussian_filter(image, _GREY_SIGMA)),
        np.asarray(gaussian_gradient_magnitude(image, _EDGE_SIGMA)),
    )


def contrast_kernel(
    frequencies: Sequence[float], gain: NDArray[np.float64], cells: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.float64]:
    """The filter that raises contrast by a factor at each frequency, and leaves the mean as it is."""
    kernel = _kernel(_spread(np.asarray(frequencies), gain, _radii(*cells), outside=1.0))
    kernel[REACH, REACH] += 1.0 - kernel.sum()
    return kernel


def noise_kernel(frequencies: Sequence[float], power: NDArray[np.float64]) -> NDArray[np.float64]:
    """The filter that gives white noise of variance 1 some power at each frequency."""
    return _kernel(np.sqrt(_spread(np.asarray(frequencies), power, _radii(1.0, 1.0))))


def response_of(frequencies: Sequence[float], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power at some frequencies of white noise of variance 1 that was convolved with a kernel."""
    power = np.abs(scipy.fft.rfft2(kernel, (_GRID, _GRID))) ** 2
    radii = _radii(1.0, 1.0)
    between = np.convolve(frequencies, [0.5, 0.5], mode="valid")
    ring = np.digitize(radii, between).ravel()
    count = np.maximum(np.bincount(ring, minlength=len(frequencies)), 1)
    return np.asarray(np.bincount(ring, power.ravel(), len(frequencies)) / count)


def convolved(image: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """The image convolved with a kernel, without the ``REACH`` pixels at each side that lack neighbours.

    In double precision, so that a pixel comes out the same whatever lies beyond its reach.
    """
    shape = [scipy.fft.next_fast_len(n, real=True) for n in image.shape]
    product = scipy.fft.rfft2(image, shape) * scipy.fft.rfft2(kernel, shape)
    inner = tuple(slice(2 * REACH, n) for n in image.shape)
    return np.asarray(scipy.fft.irfft2(product, shape)[inner])


@lru_cache(maxsize=8)
def _radii(cell_y: float, cell_x: float) -> NDArray[np.float64]:
    """Cycles a pixel at each sample of the frequencies of images with such cells."""
    y, x = np.fft.fftfreq(_GRID) / cell_y, np.fft.rfftfreq(_GRID) / cell_x
    return np.asarray(np.hypot(y[:, None], x))


def _spread(
    frequencies: NDArray[np.float64], values: NDArray[np.float64], radii: NDArray[np.float64], outside: float = 0.0
) -> NDArray[np.float64]:
    """Values at some frequencies, at all: a straight line between two, ``outside`` down at frequency 0."""
    return np.asarray(np.interp(radii, np.concatenate([[0.0], frequencies]), np.concatenate([[outside], values])))


def _kernel(response: NDArray[np.float64]) -> NDArray[np.float64]:
    """The filter of ``2 REACH + 1`` pixels a side that comes near to a response."""
    whole = np.fft.fftshift(scipy.fft.irfft2(response, (_GRID, _GRID)))
    middle = slice(_GRID // 2 - REACH, _GRID // 2 + REACH + 1)
    fade = np.cos(0.5 * np.pi * np.arange(-REACH, REACH + 1) / (REACH + 1)) ** 2
    return np.asarray(whole[middle, middle] * fade[:, None] * fade)


def _rounded(values: Any) -> Any:
    if np.ndim(values):
        return [_rounded(value) for value in values]
    return float(f"{float(values):.6g}")
