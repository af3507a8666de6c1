"""A pyqtgraph plot that follows napari's theme; what the loss and the score are drawn with."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from ._log_axis import log_ticks
from ._theme import theme_colours


class ThemedPlot(QWidget):
    """An empty plot; lines are added by name.

    pyqtgraph takes 6 ms a redraw where matplotlib takes 100. It is imported when the first line is drawn.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme.
    bottom, left : str
        Titles of the axes.
    height : int
        Pixels.
    logarithmic : bool
        Whether the left axis is.
    """

    def __init__(
        self,
        viewer: Any,
        *,
        bottom: str,
        left: str,
        height: int,
        logarithmic: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._titles, self._logarithmic = viewer, {"bottom": bottom, "left": left}, logarithmic
        self._plot: Any = None
        self._lines: dict[str, Any] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.setFixedHeight(height)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        viewer.events.theme.connect(self._paint)

    @property
    def lines(self) -> tuple[str, ...]:
        """Names of the lines on show."""
        return tuple(self._lines)

    def disconnect_viewer(self) -> None:
        """Stop listening; the widget is about to go."""
        self._viewer.events.theme.disconnect(self._paint)

    def clear(self) -> None:
        """Take all lines away."""
        if self._plot is not None:
            self._plot.clear()
            self._plot.plotItem.legend.clear()
        self._lines.clear()

    def set_line(self, name: str, x: Any, y: Any, colour: str, *, width: int = 2, dots: bool = False) -> None:
        """Draw a line, or move it."""
        import pyqtgraph

        if self._plot is None:
            self._build()
        if name not in self._lines:
            look = {"symbol": "o", "symbolSize": 5, "symbolBrush": colour, "symbolPen": None} if dots else {}
            pen = pyqtgraph.mkPen(colour, width=width)
            self._lines[name] = self._plot.plot([], [], pen=pen, name=name, **look)
        self._lines[name].setData(x, y)

    def _build(self) -> None:
        import pyqtgraph

        self._plot = pyqtgraph.PlotWidget(axisItems={"left": _log_axis()} if self._logarithmic else None)
        self._plot.setMenuEnabled(False)
        self._plot.setMouseEnabled(x=False, y=False)  # the wheel scrolls the page
        self._plot.setLogMode(y=self._logarithmic)
        item = self._plot.plotItem
        item.hideButtons()
        item.layout.setContentsMargins(1, 7, 1, 1)  # half a label above the axis
        # Below the axis, not on the lines.
        legend = pyqtgraph.LegendItem(offset=None, colCount=3, labelTextSize="8pt", verSpacing=-6)
        item.legend = legend
        item.layout.addItem(legend, 4, 1)
        for side, title in self._titles.items():
            axis = item.getAxis(side)
            axis.enableAutoSIPrefix(False)  # 5000 nm, not "5 (x1000)"
            axis.setLabel(title)
        self.layout().addWidget(self._plot)
        self._paint()

    def _paint(self, event: Any = None) -> None:
        if self._plot is None:
            return
        colours = theme_colours(self._viewer)
        self._plot.setBackground(colours.background)
        legend = self._plot.plotItem.legend
        legend.setLabelTextColor(colours.text)
        for _, label in legend.items:
            label.setText(label.text, color=colours.text)
        for side in ("bottom", "left"):
            axis = self._plot.plotItem.getAxis(side)
            axis.setPen(colours.muted_text)
            axis.setTextPen(colours.text)


def _log_axis() -> Any:
    """An axis of few, round labels: those of pyqtgraph lie on top of each other when it is short."""
    import pyqtgraph

    class LogAxis(pyqtgraph.AxisItem):
        def tickValues(self, low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
            most = max(2, min(6, int(size // 24)))
            return [(1.0, [math.log10(tick) for tick in log_ticks(10**low, 10**high, most)])]

        def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
            return [f"{10**value:.3g}" for value in values]

    return LogAxis("left")
