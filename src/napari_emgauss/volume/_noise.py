"""Noise that is a function of where it is: the same values whichever part of a volume is asked for, and when."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Multipliers and shifts of SplitMix64's finaliser: G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom
# number generators", OOPSLA 2014, doi:10.1145/2660193.2660195.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_PART = np.uint64(0xFFFF)
# A sum of four evenly distributed 16-bit numbers has this mean and this standard deviation.
_MEAN = 4 * (2**16 - 1) / 2
_DEVIATION = float(np.sqrt(4 * (2.0**32 - 1) / 12))


def white_noise(
    seed: int, plane: int, channel: int, rows: tuple[int, int], columns: tuple[int, int]
) -> NDArray[np.float64]:
    """Noise of mean 0 and variance 1, independent from pixel to pixel, from plane to plane and from seed to seed.

    Whole numbers alone decide: a pixel has the same value on every machine, in every crop, in any order.

    Parameters
    ----------
    seed : int
        Another seed, another noise.
    plane, channel : int
        Which of many independent images.
    rows, columns : tuple of int
        First and one past the last, in pixels of the whole image; they may be negative.

    Returns
    -------
    ndarray
        ``(rows, columns)`` float64; each value is a sum of four evenly distributed numbers, so nearly normal.
    """
    with np.errstate(over="ignore"):  # whole numbers of 64 bits wrap, which is meant
        start = np.uint64(0)
        for number in (seed, plane, channel):
            start = _mixed(start + _STEP + np.asarray([number]).astype(np.int64).astype(np.uint64))[0]
        y, x = (np.arange(*span, dtype=np.int64).astype(np.uint64) for span in (rows, columns))
        by_row = _mixed(start + _STEP * (y + np.uint64(1)))
        bits = _mixed(by_row[:, None] + _STEP * (x + np.uint64(1)))
        total = (bits & _PART).astype(np.float64)
        for shift in (16, 32, 48):
            total += (bits >> np.uint64(shift)) & _PART
    total -= _MEAN
    total /= _DEVIATION
    return total


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers of which every bit depends on every bit of ``values``."""
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return np.asarray(values ^ (values >> np.uint64(31)))
