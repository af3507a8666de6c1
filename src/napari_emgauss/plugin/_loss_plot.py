"""The live loss curve, one colour per stage."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtWidgets import QVBoxLayout, QWidget

from ._fit_state import STAGE_NAMES, LossCurve
from ._theme import STAGE_COLOURS, theme_colours

POINTS_DRAWN = 1500


class LossPlot(QWidget):
    """Loss against iteration; the prior's own loss, which counts otherwise, stands to the left of zero.

    pyqtgraph takes 6 ms a redraw where matplotlib takes 100. It is imported when the first curve is drawn.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._plot: Any = None
        self._lines: dict[str, Any] = {}
        self._curve: LossCurve | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.setMinimumHeight(150)
        viewer.events.theme.connect(self._paint)

    def disconnect_viewer(self) -> None:
        """Stop listening; the widget is about to go."""
        self._viewer.events.theme.disconnect(self._paint)

    def show_curve(self, curve: LossCurve) -> None:
        """Draw a curve as it is now."""
        if self._plot is None:
            self._build()
        if curve is not self._curve:
            for line in self._lines.values():
                self._plot.removeItem(line)
            self._lines.clear()
            self._plot.plotItem.legend.clear()
            self._curve = curve
        for stage, (xs, ys) in curve.stages.items():
            x, y = _stage_points(stage, xs, ys)
            if stage not in self._lines:
                self._add_line(stage)
            self._lines[stage].setData(x, y)

    @property
    def stages_shown(self) -> tuple[str, ...]:
        """Stages with a line of their own."""
        return tuple(self._lines)

    def _build(self) -> None:
        import pyqtgraph

        self._plot = pyqtgraph.PlotWidget()
        self._plot.setMenuEnabled(False)
        self._plot.setLogMode(y=True)
        self._plot.setLabel("bottom", "iteration")
        self._plot.setLabel("left", "loss")
        self._plot.plotItem.hideButtons()
        self._plot.plotItem.addLegend(offset=(-8, 4), labelTextSize="8pt", verSpacing=-6)
        self._plot.plotItem.getAxis("left").setWidth(54)
        self.layout().addWidget(self._plot)
        self._paint()

    def _add_line(self, stage: str) -> None:
        import pyqtgraph

        pen = pyqtgraph.mkPen(STAGE_COLOURS.get(stage, "#888888"), width=2)
        self._lines[stage] = self._plot.plot([], [], pen=pen, name=STAGE_NAMES.get(stage, stage))

    def _paint(self, event: Any = None) -> None:
        if self._plot is None:
            return
        colours = theme_colours(self._viewer)
        self._plot.setBackground(colours.background)
        self._plot.plotItem.legend.setLabelTextColor(colours.text)
        for side in ("bottom", "left"):
            axis = self._plot.plotItem.getAxis(side)
            axis.setPen(colours.muted_text)
            axis.setTextPen(colours.text)


def _stage_points(stage: str, xs: list[float], ys: list[float]) -> tuple[Any, Any]:
    """At most :data:`POINTS_DRAWN` points; the prior's seconds become numbers below zero."""
    step = max(1, len(xs) // POINTS_DRAWN)
    x, y = np.asarray(xs[::step], dtype=float), np.maximum(np.asarray(ys[::step], dtype=float), 1e-8)
    if stage == "prior" and len(x):
        x = x - xs[-1]
    return x, y
