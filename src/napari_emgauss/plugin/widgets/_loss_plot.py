"""The live loss curve, one colour per stage."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtWidgets import QWidget

from napari_emgauss.plugin.process._fit_state import STAGE_NAMES, LossCurve

from ._plot_widget import ThemedPlot
from ._theme import STAGE_COLOURS

POINTS_DRAWN = 1500


class LossPlot(ThemedPlot):
    """Loss against iteration; the prior's own loss, which has no iterations of the fit, stands left of zero."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(viewer, bottom="iteration", left="loss", height=180, logarithmic=True, parent=parent)
        self._curve: LossCurve | None = None

    def show_curve(self, curve: LossCurve) -> None:
        """Draw a curve as it is now."""
        if curve is not self._curve:
            self.clear()
            self._curve = curve
        for stage, (xs, ys) in curve.stages.items():
            x, y = stage_points(stage, xs, ys)
            self.set_line(STAGE_NAMES.get(stage, stage), x, y, STAGE_COLOURS.get(stage, "#888888"))


def stage_points(stage: str, xs: list[float], ys: list[float]) -> tuple[Any, Any]:
    """At most :data:`POINTS_DRAWN` points; the prior's seconds become numbers below zero."""
    step = max(1, -(-len(xs) // POINTS_DRAWN))
    x, y = np.asarray(xs[::step], dtype=float), np.maximum(np.asarray(ys[::step], dtype=float), 1e-8)
    if stage == "prior" and len(x):
        x = x - xs[-1]
    return x, y
