"""At which iterations the stages of a fit end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stages:
    """Iterations at which stages end, counted from the start of the fit.

    Parameters
    ----------
    warm_up_end : int
        First iteration after the warm-up (2000 in the paper).
    joint_end : int
        First iteration of the teacher-student stage (3000 in the paper).
    total : int
        Iterations of all stages (18000 in the paper), at least 1.
    """

    warm_up_end: int
    joint_end: int
    total: int
