"""What a running fit tells: one small message per reported iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari_emgauss.render import EmgaussModel

StageName = Literal["prior", "warm-up", "joint", "teacher-student"]


@dataclass(frozen=True)
class FitUpdate:
    """One message of a fit.

    Parameters
    ----------
    stage : str
        ``prior``, ``warm-up``, ``joint`` or ``teacher-student``.
    iteration : int
        Iterations done over all stages (0 during ``prior``).
    total_iterations : int
        Iterations of all stages together.
    loss : float or None
        Smoothed loss of the current stage.
    gaussians : int
        Current number of Gaussians.
    elapsed_s, eta_s : float
        Seconds since the start, and estimated seconds to the end (None while unknown).
    text : str
        A line to show the user, if there is something to say.
    model : EmgaussModel or None
        The model to look at now. Set in every message; it is live: take ``model.snapshot()`` to keep a state.
    stage_fraction : float or None
        Share of the stage that is done, in [0, 1], where it has no iterations of the fit: ``prior``.
    finished : bool
        True in the last message only; ``model`` is then the result (the teacher where there is one).
    """

    stage: StageName
    iteration: int
    total_iterations: int
    loss: float | None
    gaussians: int
    elapsed_s: float
    eta_s: float | None = None
    text: str = ""
    model: EmgaussModel | None = None
    finished: bool = False
    stage_fraction: float | None = None
