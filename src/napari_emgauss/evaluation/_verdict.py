"""What scores on a stack advise: the method that PSNR, SSIM and FSIM together favour, and how to get its volume."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass

from napari_emgauss._metrics import SSIM_IN_DB, Scores
from napari_emgauss.priors import FIT_ONLY, prior_names

from ._methods import BASELINE, EMGAUSS, method_label

EQUAL_DB = 0.05
"""Below this much merit two methods count as equal: less than hiding other slices would change."""

FSIM_IN_DB = 0.75 * SSIM_IN_DB
"""How many dB of PSNR a unit of FSIM is worth: less than of SSIM, for noise that is merely like the stack's own raises
FSIM and restores nothing (`benchmarks/texture.py`). In a score's gaps, twice as wide, methods that leave noise in are
further ahead by it than in the stack's own."""

_MOST_DB = 120.0  # equal images have infinite PSNR


@dataclass(frozen=True)
class Measure:
    """One of the figures that are weighed.

    Parameters
    ----------
    name : str
        Its field in `Scores`.
    label : str
        For people.
    in_db : float
        How many dB of PSNR a unit of it is worth.
    decimals : int
        Shown after the point.
    unit : str
        Shown after the number, with a space before it.
    """

    name: str
    label: str
    in_db: float
    decimals: int
    unit: str = ""


MEASURES = (
    Measure("psnr", "PSNR", 1.0, 1, " dB"),
    Measure("ssim", "SSIM", SSIM_IN_DB, 3),
    Measure("fsim", "FSIM", FSIM_IN_DB, 3),
)


@dataclass(frozen=True)
class Advice:
    """What to set for a fit, so that its volume is the one that scored best; None where nothing need be set.

    Parameters
    ----------
    prior, preset : str or None
        Values of these settings of a fit.
    """

    prior: str | None = None
    preset: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Both by name."""
        return asdict(self)


def merits(scores: Mapping[str, Scores]) -> dict[str, float]:
    """One number for each method, in dB: PSNR, and SSIM and FSIM at the rate of `MEASURES`.

    A measure that one of the methods lacks counts for none. PSNR alone rewards blur; SSIM and FSIM look at structures.
    """
    measures = _measured(scores)
    return {
        name: sum(one.in_db * min(_value(theirs, one), _MOST_DB) for one in measures) for name, theirs in scores.items()
    }


def best_method(scores: Mapping[str, Scores]) -> str:
    """The method with the highest merit; among equal ones EMGauss, whose volume can be had as it is."""
    merit = merits(scores)
    top = max(merit.values())
    near = [name for name in scores if merit[name] >= top - EQUAL_DB]
    return max(near, key=lambda name: (_is_emgauss(name), merit[name]))


def advice(scores: Mapping[str, Scores], followed: Collection[str] = ()) -> Advice:
    """What to set for a fit: of the methods that a fit can follow, the best one's.

    ``followed`` are the priors with which EMGauss was scored: they need not be set.
    """
    choice = best_method({name: one for name, one in scores.items() if _can_be_fitted(name)} or scores)
    if _is_emgauss(choice):
        return Advice(preset=choice.partition(":")[2] or None)
    return Advice(prior=choice) if _can_be_fitted(choice) and choice not in followed else Advice()


def verdict(scores: Mapping[str, Scores], followed: Collection[str] = ()) -> str:
    """What to choose, and what that was weighed by; ``followed`` as in `advice`."""
    best, measures = best_method(scores), _measured(scores)
    weighed = f"By {_listed([one.label for one in measures])}{' together' if len(measures) > 1 else ''}"
    ours = [name for name in scores if _is_emgauss(name)]
    where = "on this stack" if ours else "of the methods scored on this stack"
    said = f"{weighed}, {method_label(best)} is best {where}"
    if _is_emgauss(best):
        compared = [BASELINE, _runner_up(scores, best)]
        preset = advice(scores).preset
        then = f"; choose EMGauss{f' with the preset {preset}' if preset else ''}."
    else:
        compared = [best_method({name: scores[name] for name in ours})] if ours else [BASELINE]
        then = _way_to_a_volume(advice(scores, followed), best, fitted=bool(ours))
    return said + _differences(scores, best, compared) + then


def _way_to_a_volume(advised: Advice, best: str, *, fitted: bool) -> str:
    """How to get a volume that can be exported where EMGauss, as it was fitted, is not best."""
    own = "" if _can_be_fitted(best) else f" {method_label(best)} itself cannot be exported."
    if advised.prior is not None:
        also = ", or with a more patient preset" if fitted else ""
        return f".{own} For a volume to export, fit EMGauss with the prior {advised.prior}{also}."
    return f".{own} For a volume to export, fit EMGauss{' with a more patient preset' if fitted else ''}."


def _differences(scores: Mapping[str, Scores], best: str, others: Iterable[str | None]) -> str:
    """How far the best is from others in each measure, in brackets; nothing where that cannot be told."""
    told = []
    for other in dict.fromkeys(others):
        if other is None or other == best or other not in scores:
            continue
        apart = [_difference(scores[best], scores[other], one) for one in _measured(scores)]
        if shown := ", ".join(filter(None, apart)):
            told.append(f"against {method_label(other)}: {shown}")
    return f" ({'; '.join(told)})" if told else ""


def _difference(first: Scores, second: Scores, measure: Measure) -> str:
    apart = _value(first, measure) - _value(second, measure)
    if not math.isfinite(apart):
        return ""
    text = f"{apart:+.{measure.decimals}f}"
    return f"{measure.label} {text.replace('-', '−')}{measure.unit}"


def _runner_up(scores: Mapping[str, Scores], best: str) -> str | None:
    merit = merits({name: one for name, one in scores.items() if name != best})
    return max(merit, key=lambda name: merit[name]) if merit else None


def _measured(scores: Mapping[str, Scores]) -> tuple[Measure, ...]:
    """Measures that every method has."""
    return tuple(one for one in MEASURES if all(getattr(theirs, one.name) is not None for theirs in scores.values()))


def _value(scores: Scores, measure: Measure) -> float:
    return float(getattr(scores, measure.name))


def _is_emgauss(method: str) -> bool:
    return method.partition(":")[0] == EMGAUSS


def _can_be_fitted(method: str) -> bool:
    base = method.partition(":")[0]
    return _is_emgauss(method) or (base in prior_names() and base != FIT_ONLY)


def _listed(labels: list[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}" if labels else "no measure"
