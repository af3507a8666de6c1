"""A bar along z: where data is, where it is inferred, and where one is now."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from ._theme import theme_colours

MARGIN = 8


class ZBar(QWidget):
    """Observed slices as marks on a line, the present depth as a pointer. Click or drag to go there."""

    depth_chosen = Signal(float)
    """nm."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._z_nm: NDArray[np.float64] = np.zeros(0)
        self._depth_nm = 0.0
        self.setMinimumHeight(38)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip("Marks are observed slices; between them the image is inferred. Click to go there.")
        viewer.events.theme.connect(self._repaint)

    def disconnect_viewer(self) -> None:
        """Stop listening; the widget is about to go."""
        self._viewer.events.theme.disconnect(self._repaint)

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(260, 38)

    def set_slices(self, z_nm: NDArray[np.float64]) -> None:
        """Depths of the observed slices, nm."""
        self._z_nm = np.asarray(z_nm, dtype=float)
        self.update()

    def set_depth(self, depth_nm: float) -> None:
        """Where the pointer stands, nm."""
        self._depth_nm = depth_nm
        self.update()

    def x_of(self, depth_nm: float) -> float:
        """Place of a depth on the bar, in pixels."""
        first, last = float(self._z_nm[0]), float(self._z_nm[-1])
        return MARGIN + (depth_nm - first) / (last - first) * (self.width() - 2 * MARGIN)

    def depth_of(self, x: float) -> float:
        """Depth at a place on the bar, nm."""
        first, last = float(self._z_nm[0]), float(self._z_nm[-1])
        fraction = (x - MARGIN) / max(1, self.width() - 2 * MARGIN)
        return first + min(max(fraction, 0.0), 1.0) * (last - first)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the line, the marks and the pointer."""
        if len(self._z_nm) < 2:
            return
        colours = theme_colours(self._viewer)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        middle = self.height() / 2 + 4
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colours.line))
        painter.drawRoundedRect(QRectF(MARGIN, middle - 3, self.width() - 2 * MARGIN, 6), 3, 3)
        painter.setBrush(QColor(colours.text))
        for x in sorted({round(2 * self.x_of(float(z))) / 2 for z in self._z_nm}):
            painter.drawRect(QRectF(x - 0.75, middle - 8, 1.5, 16))
        x = self.x_of(self._depth_nm)
        painter.setBrush(QColor(colours.highlight))
        top = middle - 10
        painter.drawPolygon(QPolygonF([QPointF(x - 6, top - 8), QPointF(x + 6, top - 8), QPointF(x, top)]))
        painter.drawRect(QRectF(x - 1, top, 2, 20))
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to the depth under the mouse."""
        self._go(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Go on while the button is held."""
        if event is not None and event.buttons() & Qt.MouseButton.LeftButton:
            self._go(event)

    def _go(self, event: QMouseEvent | None) -> None:
        if event is not None and len(self._z_nm) >= 2:
            self.depth_chosen.emit(self.depth_of(event.position().x()))

    def _repaint(self, event: Any = None) -> None:
        self.update()
