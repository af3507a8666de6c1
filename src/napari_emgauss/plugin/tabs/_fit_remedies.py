"""What can be done about a fit that failed, as the button under its message."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_emgauss.plugin.process._problem import Problem
from napari_emgauss.plugin.process._request import number_list
from napari_emgauss.plugin.widgets._remedy import Remedy

if TYPE_CHECKING:
    from ._fit_tab import FitTab


class FitRemedies:
    """Remedies that change the first tab's fields, and begin again.

    Parameters
    ----------
    tab : FitTab
        Whose fields.
    """

    def __init__(self, tab: FitTab) -> None:
        self._tab = tab

    def of(self, problem: Problem, act: Callable[[], Any] | None = None, verb: str = "fit") -> Remedy | None:
        """The one thing to do about a problem; None where there is none, or more than one.

        Parameters
        ----------
        problem : Problem
            What went wrong.
        act : callable, optional
            What to begin again; by default the fit.
        verb : str
            What that is called on the button.
        """
        again = act or self._tab.start_fit
        method = self._tab.method
        if problem.kind == "slices" and problem.slices:
            which = "slice" if len(problem.slices) == 1 else "slices"
            return Remedy(
                f"Leave out {which} {number_list(problem.slices)} and {verb}",
                lambda: self._without(problem.slices, again),
            )
        if problem.kind == "device" and method.device.currentText() != "cpu":
            return Remedy(f"Use the CPU and {verb}", lambda: self._on_cpu(again))
        if problem.kind == "memory" and verb == "fit" and method.tiles.currentText() != "always":
            return Remedy("Fit in tiles", lambda: self._in_tiles(again))
        if problem.kind in ("ended", "surprise", "disk"):
            return Remedy("Try again", again)
        return None

    def _without(self, slices: tuple[int, ...], again: Callable[[], Any]) -> None:
        self._tab.slices.leave_out(slices)
        again()

    def _on_cpu(self, again: Callable[[], Any]) -> None:
        self._tab.method.device.setCurrentText("cpu")
        again()

    def _in_tiles(self, again: Callable[[], Any]) -> None:
        """The plan of the tiles has to be there before the fit begins."""
        self._tab.method.tiles.setCurrentText("always")
        self._tab.method.when_planned(again)
