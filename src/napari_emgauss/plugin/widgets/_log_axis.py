"""Ticks of a logarithmic axis that people can read: few, round, and never on top of each other."""

from __future__ import annotations

import math

MOST_TICKS = 6


def log_ticks(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """Round values between two positive ones, at most ``most`` and at least two where that can be.

    Over decades they are 1, 2, 5 or powers of ten; within less than a decade they are evenly spaced, as on an ordinary
    axis.
    """
    if not 0 < low < high:
        return [low] if low > 0 else []
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [digit * 10.0**decade for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if 3 <= len(ticks) <= most:
            return ticks
    if high / low > 10:
        powers = [10.0**decade for decade in decades if low <= 10.0**decade <= high]
        return powers[:: -(-len(powers) // most)]
    return _even(low, high, most)


def _even(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / max(1, most - 1)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]
