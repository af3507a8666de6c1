"""Down to which detail a reconstruction agrees with the truth: Fourier ring correlation, as a curve and in nm.

The planes of two images are correlated ring by ring of spatial frequency [1]_. Added over the planes of a volume and
read within a wedge around an axis, the same sums are the correlation along that axis, as sectioned Fourier shell
correlation has it [3]_.

The resolution is where the correlation first falls below a threshold:

* **1/7** (0.143), which [2]_ derives for two maps, each from half of the data;
* **half-bit**, where a ring holds half a bit of information a pixel [1]_; it is stricter where a ring has few pixels.

Both were made for two noisy halves. Here one side is the truth with its noise, so the numbers are of agreement with
what was imaged; compare methods by them on the same data, and do not set them beside a microscope's data sheet.

References
----------
.. [1] M. van Heel, M. Schatz, "Fourier shell correlation threshold criteria", J. Struct. Biol. 151, 250-262, 2005.
.. [2] P. B. Rosenthal, R. Henderson, "Optimal Determination of Particle Orientation, Absolute Hand, and Contrast Loss
   in Single-particle Electron Cryomicroscopy", J. Mol. Biol. 333, 721-745, 2003.
.. [3] S. Koho et al., "Fourier ring correlation simplifies image restoration in fluorescence microscopy", Nature
   Communications 10, 3103, 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ._intervals import MOST_BATCHES

ONE_SEVENTH = 1 / 7
WEDGE_DEGREES = 30.0
"""Half of the angle around an axis that counts as along it."""
_TAPERED = 0.25  # share of an image's side over which its edges fade (half of it at each end)
_LEAST_SIDE = 16  # pixels: fewer rings than eight are no curve

Axis = Literal["rows", "columns"]


@dataclass(frozen=True)
class Criterion:
    """A threshold, one row each.

    Parameters
    ----------
    name : str
        In JSON.
    label : str
        For people.
    threshold : callable
        Of the effective number of independent pixels in each ring.
    """

    name: str
    label: str
    threshold: Callable[[NDArray[np.float64]], NDArray[np.float64]]


def half_bit(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The half-bit threshold (van Heel and Schatz 2005, eq. 17) of rings with so many independent pixels."""
    root = np.sqrt(np.maximum(pixels, 1.0))
    return np.minimum((0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root), 1.0)


CRITERIA = (
    Criterion("one_seventh", "1/7", lambda pixels: np.full(pixels.shape, ONE_SEVENTH)),
    Criterion("half_bit", "half-bit", half_bit),
)


@dataclass(frozen=True)
class Resolution:
    """Correlation by spatial frequency, and where it falls below each threshold.

    Parameters
    ----------
    frequency_per_nm : tuple of float
        Middle of each ring, 1/nm.
    correlation : tuple of float
        -1 to 1.
    half_bit : tuple of float
        Threshold of each ring.
    nm : mapping of str to float or None
        By criterion: the wavelength where the correlation first falls below; the smallest there is where it never does;
        None where it is below from the first ring on.
    limit_nm : float
        Twice the pixel size: nothing finer can be told.
    """

    frequency_per_nm: tuple[float, ...]
    correlation: tuple[float, ...]
    half_bit: tuple[float, ...]
    nm: Mapping[str, float | None]
    limit_nm: float

    def as_dict(self) -> dict[str, Any]:
        """Curve and numbers, as JSON holds them."""
        return {
            "nm": dict(self.nm),
            "limit_nm": self.limit_nm,
            "frequency_per_nm": [round(value, 6) for value in self.frequency_per_nm],
            "correlation": [round(value, 4) for value in self.correlation],
            "half_bit": [round(value, 4) for value in self.half_bit],
        }

    def text(self, criterion: str = "one_seventh") -> str:
        """The number for people; see :func:`resolution_text`."""
        return resolution_text(self.nm[criterion], self.limit_nm)


def resolution_text(nm: float | None, limit_nm: float) -> str:
    """A resolution for people: "≤ 8.0" where the pixels say no more, a dash where nothing agrees."""
    if nm is None:
        return "-"
    return f"≤ {limit_nm:.1f}" if nm <= limit_nm * (1 + 1e-6) else f"{nm:.1f}"


@dataclass(frozen=True)
class RingSums:
    """Sums over the rings of one or more pairs of planes; they add up.

    Parameters
    ----------
    cross, first, second : ndarray
        ``(rings,)`` float64: real part of the cross spectrum, and the power of either.
    pixels : ndarray
        ``(rings,)`` float64: independent Fourier coefficients of one pair.
    frequency_per_nm : ndarray
        ``(rings,)`` middle of each ring.
    limit_nm : float
        Twice the size of a pixel, of the larger one where rows and columns differ.
    planes : int
        Pairs in the sums. As neighbouring planes resemble each other, at most 20 of them count as independent.
    """

    cross: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    pixels: NDArray[np.float64]
    frequency_per_nm: NDArray[np.float64]
    limit_nm: float
    planes: int = 1

    def __add__(self, other: RingSums) -> RingSums:
        return RingSums(
            self.cross + other.cross,
            self.first + other.first,
            self.second + other.second,
            self.pixels,
            self.frequency_per_nm,
            self.limit_nm,
            self.planes + other.planes,
        )

    def resolution(self) -> Resolution:
        """The curve and its crossings."""
        power = np.sqrt(self.first * self.second)
        correlation = np.divide(self.cross, power, out=np.zeros_like(power), where=power > 0)
        pixels = self.pixels * min(self.planes, MOST_BATCHES)
        crossings = {
            one.name: _crossing(self.frequency_per_nm, correlation - one.threshold(pixels)) for one in CRITERIA
        }
        return Resolution(
            tuple(self.frequency_per_nm.tolist()),
            tuple(correlation.tolist()),
            tuple(half_bit(pixels).tolist()),
            {name: _wavelength(where, self.limit_nm) for name, where in crossings.items()},
            self.limit_nm,
        )


def ring_sums(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    pixel_size_nm: tuple[float, float],
    along: Axis | None = None,
) -> RingSums | None:
    """Correlate two ``(H, W)`` planes ring by ring.

    Both lose their mean and fade at their edges (a Tukey window over an eighth at each end), so that their borders are
    no structure. Rings are as wide as the longer side's frequency step and end at the Nyquist frequency.

    Parameters
    ----------
    first, second : ndarray
        ``(H, W)``.
    pixel_size_nm : tuple of float
        Of rows and columns.
    along : {"rows", "columns"}, optional
        Only frequencies within 30° of this axis: ``rows`` is along the first.

    Returns
    -------
    RingSums or None
        None where a side is shorter than 16 pixels.
    """
    if min(first.shape) < _LEAST_SIDE:
        return None
    rings, where, frequency, limit_nm, pixels = _rings(first.shape, pixel_size_nm, along)
    spectra = [scipy.fft.rfft2(_faded(np.asarray(one, dtype=np.float64))) for one in (first, second)]
    a, b = (spectrum[where] for spectrum in spectra)

    def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(rings, values, minlength=len(frequency)).astype(np.float64)

    return RingSums(
        summed((a * b.conj()).real), summed(np.abs(a) ** 2), summed(np.abs(b) ** 2), pixels, frequency, limit_nm
    )


def resolution_of(pairs: Sequence[RingSums | None]) -> Resolution | None:
    """Of all pairs together; None where there are none."""
    total: RingSums | None = None
    for one in pairs:
        if one is not None:
            total = one if total is None else total + one
    return None if total is None else total.resolution()


def _rings(
    shape: tuple[int, ...], pixel_size_nm: tuple[float, float], along: Axis | None
) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.float64], float, NDArray[np.float64]]:
    """Ring of each coefficient used, which are used, middles of rings, the finest wavelength, pixels in each ring."""
    height, width = shape
    fy = scipy.fft.fftfreq(height, pixel_size_nm[0])[:, None]
    fx = scipy.fft.rfftfreq(width, pixel_size_nm[1])[None, :]
    radius = np.hypot(fy, fx)
    sizes = {"rows": pixel_size_nm[:1], "columns": pixel_size_nm[1:], None: pixel_size_nm}[along]
    limit_nm = 2 * max(sizes)
    step = 1 / max(height * pixel_size_nm[0], width * pixel_size_nm[1])
    if along is not None:  # an axis with few pixels has rings only as fine as it can tell apart
        step = 1 / (height * pixel_size_nm[0] if along == "rows" else width * pixel_size_nm[1])
    number = np.rint(radius / step).astype(np.intp)
    where = (number > 0) & (radius <= 1 / limit_nm + step / 2)
    if along is not None:
        across, ahead = (fx, np.abs(fy)) if along == "rows" else (np.abs(fy), fx)
        where &= across <= np.tan(np.deg2rad(WEDGE_DEGREES)) * ahead
    count = int(number[where].max()) if where.any() else 0
    rings = number[where] - 1
    # Of a real image half of the coefficients repeat the other half, and rfft2 holds that half once; the window makes
    # neighbours alike.
    pixels = np.bincount(rings, minlength=count).astype(np.float64) * _independent_share() ** 2
    return rings, where, np.asarray(np.arange(1, count + 1) * step, dtype=np.float64), limit_nm, pixels


def _independent_share() -> float:
    """Independent samples that a Tukey window leaves of a side: ``mean(w²)² / mean(w⁴)``."""
    square = 1 - _TAPERED + _TAPERED * 3 / 8
    fourth = 1 - _TAPERED + _TAPERED * 35 / 128
    return square**2 / fourth


def _faded(image: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.signal.windows import tukey

    height, width = image.shape
    return np.asarray((image - image.mean()) * tukey(height, _TAPERED)[:, None] * tukey(width, _TAPERED))


def _crossing(frequency: NDArray[np.float64], above: NDArray[np.float64]) -> float | None:
    """The frequency where ``above`` first falls below 0, on straight lines between rings; inf where it never does."""
    below = np.flatnonzero(above < 0)
    if len(below) == 0:
        return float("inf")
    ring = int(below[0])
    if ring == 0:
        return None
    share = above[ring - 1] / (above[ring - 1] - above[ring])
    return float(frequency[ring - 1] + share * (frequency[ring] - frequency[ring - 1]))


def _wavelength(frequency: float | None, limit_nm: float) -> float | None:
    return None if frequency is None else max(limit_nm, 1 / frequency)
