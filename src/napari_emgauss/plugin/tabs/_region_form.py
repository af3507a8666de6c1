"""Which part of the stack to fit."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QHBoxLayout, QLabel, QSizePolicy, QSpinBox, QWidget

from napari_emgauss._errors import StackError
from napari_emgauss.plugin.process._request import PixelRegion
from napari_emgauss.plugin.process._wording import sentence
from napari_emgauss.plugin.view._layer_input import is_stack_like, stack_shape
from napari_emgauss.plugin.view._region import RegionKind, region_of
from napari_emgauss.plugin.widgets._form import Note, form_layout
from napari_emgauss.plugin.widgets._layer_chooser import LayerChooser
from napari_emgauss.plugin.widgets._theme import theme_colours


class RegionForm(QWidget):
    """Rectangle and z range."""

    changed = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Any = None
        self._shape: tuple[int, int, int] | None = None
        self.kind = QComboBox()
        for kind in RegionKind:
            self.kind.addItem(kind.value, kind)
        self.kind.setToolTip(
            "What to fit: whole slices, what is on screen now, or a rectangle drawn in a Shapes layer. "
            "A small region is a quick way to see whether it works."
        )
        self.shapes = LayerChooser(viewer, _is_shapes, "draw in a Shapes layer")
        self.shapes.setToolTip("The Shapes layer with the rectangle; the selected shape is used, or else the last one.")
        self.first, self.last = QSpinBox(), QSpinBox()
        for box, tip in ((self.first, "First slice to fit."), (self.last, "Last slice to fit (included).")):
            box.setToolTip(tip)
            box.setKeyboardTracking(False)
            box.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)  # room for the size beside them
            box.setStyleSheet("QAbstractSpinBox { min-width: 30px; }")
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            box.valueChanged.connect(self._on_change)
        self.size = QLabel()
        self.size.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.size.setToolTip("Slices, rows and columns that are fitted.")
        self.note = Note()

        region = QHBoxLayout()
        region.addWidget(self.kind, 1)
        region.addWidget(self.shapes, 1)
        slices = QHBoxLayout()
        slices.setSpacing(4)
        slices.addWidget(self.first, 1)
        slices.addWidget(QLabel("to"))
        slices.addWidget(self.last, 1)
        slices.addSpacing(6)
        slices.addWidget(self.size)
        form = form_layout()
        form.addRow("Region", region)
        form.addRow("Slices", slices)
        form.addRow(self.note)
        self.setLayout(form)
        self.kind.currentIndexChanged.connect(self._on_change)
        self.shapes.layer_changed.connect(self._on_change)
        viewer.scene.camera.events.zoom.connect(self._on_camera)
        viewer.scene.camera.events.center.connect(self._on_camera)
        self._show()

    def disconnect_viewer(self) -> None:
        """Stop listening; the widget is about to go."""
        self._viewer.scene.camera.events.zoom.disconnect(self._on_camera)
        self._viewer.scene.camera.events.center.disconnect(self._on_camera)
        self.shapes.disconnect_viewer()

    def set_layer(self, layer: Any) -> None:
        """The stack that the region is of."""
        shape = stack_shape(layer) if is_stack_like(layer) else None
        if layer is self._layer and shape == self._shape:
            return
        self._layer, self._shape = layer, shape
        last = 0 if shape is None else shape[0] - 1
        for box, value in ((self.first, 0), (self.last, last)):
            box.blockSignals(True)
            box.setRange(0, max(last, 0))
            box.setValue(value)
            box.blockSignals(False)
        self._show()

    @property
    def slices(self) -> tuple[int, int]:
        """First and last slice."""
        return self.first.value(), self.last.value()

    def region(self) -> PixelRegion:
        """The rectangle, as it is now.

        Raises
        ------
        StackError
            There is none; the message says what to do.
        """
        if self._layer is None:
            raise StackError("Open a stack first.")
        return region_of(self.kind.currentData(), self._layer, self._viewer, self.shapes.layer)

    def _on_camera(self, event: Any = None) -> None:
        if self.kind.currentData() is RegionKind.VIEW:
            self._on_change()

    def _on_change(self, *_: Any) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        self.shapes.setVisible(self.kind.currentData() is RegionKind.SHAPE)
        usable = is_stack_like(self._layer)
        for widget in (self.kind, self.first, self.last):
            widget.setEnabled(usable)
        if not usable:
            self.size.setText("")
            self.note.tell("")
            return
        try:
            y0, y1, x0, x1 = self.region()
            self.size.setText(f"{self.last.value() - self.first.value() + 1} × {y1 - y0} × {x1 - x0}")
            self.note.tell("")
        except StackError as error:
            self.size.setText("")
            self.note.tell(sentence(error), theme_colours(self._viewer).warning)


def _is_shapes(layer: Any) -> bool:
    from napari.layers import Shapes

    return isinstance(layer, Shapes)
