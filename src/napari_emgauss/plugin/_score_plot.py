"""PSNR of every hidden slice, one line a method."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from ._theme import theme_colours

METHOD_COLOURS = {
    "linear": "#9aa0a6",
    "linear+blur": "#b28bd8",
    "flow+blur": "#35a7a0",
    "ensemble": "#e0a030",
    "emgauss": "#4f8ff7",
}


class ScorePlot(QWidget):
    """PSNR against depth."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._plot: Any = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.setMinimumHeight(190)
        viewer.events.theme.connect(self._paint)

    def disconnect_viewer(self) -> None:
        """Stop listening; the widget is about to go."""
        self._viewer.events.theme.disconnect(self._paint)

    def show_result(self, result: dict[str, Any]) -> None:
        """Draw ``ScoreResult.as_dict()``."""
        import pyqtgraph

        if self._plot is None:
            self._plot = pyqtgraph.PlotWidget()
            self._plot.setMenuEnabled(False)
            self._plot.plotItem.hideButtons()
            self._plot.plotItem.addLegend(offset=(-8, 4), labelTextSize="8pt", verSpacing=-6, colCount=2)
            self._plot.setLabel("bottom", "depth of the hidden slice (nm)")
            self._plot.setLabel("left", "PSNR (dB)")
            # Depths as they are: without this, 5000 nm would be written as 5.
            for side in ("bottom", "left"):
                self._plot.plotItem.getAxis(side).enableAutoSIPrefix(False)
            self.layout().addWidget(self._plot)
        self._plot.clear()
        for name, scores in result["methods"].items():
            points = [
                (z, one["psnr"])
                for z, one in zip(result["hidden_z_nm"], scores["slices"], strict=True)
                if isinstance(one.get("psnr"), int | float) and math.isfinite(one["psnr"])
            ]
            colour = METHOD_COLOURS.get(name, "#888888")
            self._plot.plot(
                [z for z, _ in points],
                [psnr for _, psnr in points],
                pen=pyqtgraph.mkPen(colour, width=3 if name == "emgauss" else 2),
                symbol="o",
                symbolSize=5,
                symbolBrush=colour,
                symbolPen=None,
                name="EMGauss" if name == "emgauss" else name,
            )
        self._paint()

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
