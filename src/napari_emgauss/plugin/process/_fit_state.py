"""What a fit is doing: an enum and an evented dataclass that widgets listen to. Knows neither Qt nor napari."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from psygnal import SignalGroupDescriptor


class FitStatus(Enum):
    """Where a fit stands; the value is shown."""

    IDLE = "ready"
    PREPARING = "preparing"
    RUNNING = "fitting"
    PAUSED = "paused"
    STOPPING = "stopping"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def active(self) -> bool:
        """Whether something runs."""
        return self in _ACTIVE


_ACTIVE = (FitStatus.PREPARING, FitStatus.RUNNING, FitStatus.PAUSED, FitStatus.STOPPING)

STAGE_NAMES = {
    "prior": "Learning the prior",
    "warm-up": "Warm-up",
    "joint": "Joint",
    "teacher-student": "Teacher–student",
    "tiles": "Fitting",
}


@dataclass
class FitState:
    """Evented: every field announces its changes through ``events``. Set in the window's thread only.

    Parameters
    ----------
    status : FitStatus
        Where the fit stands.
    stage : str
        As in ``FitUpdate``; empty before the first.
    stage_fraction : float or None
        Share of the stage that is done, where it has no iterations: ``prior``.
    iteration, total_iterations : int
        Over all stages.
    gaussians : int
        Present number.
    elapsed_s, eta_s : float or None
        Seconds.
    text : str
        A line for people.
    device : str
        Where it runs and why.
    error : str
        One sentence after a failure.
    note : str
        What the fit has to say beside its progress, in sentences.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    status: FitStatus = FitStatus.IDLE
    stage: str = ""
    stage_fraction: float | None = None
    iteration: int = 0
    total_iterations: int = 0
    gaussians: int = 0
    elapsed_s: float | None = None
    eta_s: float | None = None
    text: str = ""
    device: str = ""
    error: str = ""
    note: str = ""

    @property
    def fraction(self) -> float | None:
        """Part done, in [0, 1], of the iterations, or of the prior; None while unknown."""
        if self.stage == "prior" and not self.iteration:
            return self.stage_fraction
        return self.iteration / self.total_iterations if self.total_iterations and self.iteration else None

    def sentence(self) -> str:
        """The state in one line, and what else there is to say."""
        return " ".join(filter(None, (self._state(), self.note)))

    def _state(self) -> str:
        if self.status is FitStatus.FAILED:
            return self.error
        if self.status is FitStatus.PREPARING:
            return self.text or "Reading the slices and starting…"
        if self.status is FitStatus.STOPPING:
            return "Stopping and keeping the result so far…"
        if self.status is FitStatus.IDLE:
            return ""
        took = "" if self.elapsed_s is None else f" after {duration(self.elapsed_s)}"
        if self.status is FitStatus.FINISHED:
            return f"Finished{took}: {self.gaussians:,} Gaussians."
        if self.status is FitStatus.STOPPED:
            return (
                f"Stopped{took}; the result so far is kept." if self.iteration else "Stopped before the first result."
            )
        stage = STAGE_NAMES.get(self.stage, self.stage)
        left = "" if self.eta_s is None else f", about {duration(self.eta_s)} left"
        paused = "Paused in " if self.status is FitStatus.PAUSED else ""
        if self.stage == "tiles":
            count = f" {self.text}"
        elif self.stage == "prior":
            count = f" {self.stage_fraction:.0%}" if self.stage_fraction else ""
            if self.text and (self.stage_fraction or 0.0) >= 0.995:  # at 100 % one wants to know what still runs
                stage, count = f"Prior: {self.text}", ""
        else:
            count = f" {self.iteration:,}/{self.total_iterations:,}" if self.iteration else ""
        return f"{paused}{stage}{count}{left}"


@dataclass
class LossCurve:
    """Losses per stage, to plot.

    Parameters
    ----------
    stages : dict
        Stage name to (iterations or seconds, losses).
    """

    stages: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)

    def add(self, stage: str, at: float, loss: float | None) -> None:
        """One more point; points without a loss are left out."""
        if loss is None or not loss < float("inf"):
            return
        xs, ys = self.stages.setdefault(stage, ([], []))
        xs.append(at)
        ys.append(loss)


def duration(seconds: float) -> str:
    """Seconds as people say them: ``45 s``, ``3 min``, ``1 h 05 min``, ``3 days``."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes >= 48 * 60:
        return f"{minutes / 1440:.0f} days"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
