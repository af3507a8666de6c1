"""Priors: ways to guess the slice at any depth of a stack, and the pure functions under them.

A prior makes the pseudo-labels of the teacher-student stage; the same objects are the baselines of ``evaluate``.
Names are resolved lazily: importing this package imports neither torch nor SciPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "AutoPrior": "_auto",
    "AutoPriorConfig": "_auto",
    "Interpolator": "_protocol",
    "Observation": "_protocol",
    "Prior": "_protocol",
    "PriorProgress": "_protocol",
    "PseudoLabel": "_protocol",
    "SelfPrior": "_self",
    "SelfPriorConfig": "_self",
    "blur_slices": "_interpolation",
    "interpolate_cubic": "_interpolation",
    "interpolate_ensemble": "_flow",
    "interpolate_flow": "_flow",
    "interpolate_linear": "_interpolation",
    "interpolate_nearest": "_interpolation",
    "optical_flow": "_flow",
    "get_prior": "_registry",
    "prior_names": "_registry",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
