"""What an evaluation tells while it runs, and how its parts share one scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationProgress:
    """Told while an evaluation runs.

    Parameters
    ----------
    fraction : float
        Work done, in [0, 1]; an estimate.
    text : str
        What is being done.
    method : str
        The method at work; empty between methods.
    """

    fraction: float
    text: str
    method: str = ""


ProgressCallback = Callable[[EvaluationProgress], None]


class Shares:
    """Divides one progress bar among methods by their expected work.

    Parameters
    ----------
    weights : dict
        Expected work by method, in any unit.
    callback : callable or None
        Gets the messages. An exception that it raises passes through: so a caller stops an evaluation.
    """

    def __init__(self, weights: dict[str, float], callback: ProgressCallback | None) -> None:
        self._callback = callback
        total = sum(weights.values()) or 1.0
        self._start: dict[str, float] = {}
        self._width: dict[str, float] = {}
        done = 0.0
        for name, weight in weights.items():
            self._start[name], self._width[name] = done / total, weight / total
            done += weight

    def tell(self, method: str, fraction: float, text: str) -> None:
        """``fraction`` of the work of ``method`` is done."""
        if self._callback is not None:
            whole = self._start[method] + self._width[method] * min(max(fraction, 0.0), 1.0)
            self._callback(EvaluationProgress(min(whole, 1.0), text, method))

    def finish(self) -> None:
        """All is done."""
        if self._callback is not None:
            self._callback(EvaluationProgress(1.0, "done"))
