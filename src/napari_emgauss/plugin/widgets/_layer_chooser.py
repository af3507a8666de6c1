"""A combo box of the layers that pass a test; stays up to date by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QWidget


class LayerChooser(QComboBox):
    """Choose one of the viewer's layers.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.
    accepts : callable
        Which layers are offered.
    empty_text : str
        Shown when there is none.
    optional : str
        Name of a first entry that stands for no layer, and is chosen at first.
    follows : bool
        Choose the layer that is selected in napari, which a newly opened one is.
    """

    layer_changed = Signal(object)
    """The chosen layer, or None."""

    def __init__(
        self,
        viewer: Any,
        accepts: Callable[[Any], bool],
        empty_text: str,
        parent: QWidget | None = None,
        *,
        optional: str = "",
        follows: bool = False,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._accepts, self._optional = viewer, accepts, optional
        self._layers: list[Any] = []
        self._told: Any = None
        self.setPlaceholderText(empty_text)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.currentIndexChanged.connect(self._tell)
        self._events = (viewer.layers.events.inserted, viewer.layers.events.removed, viewer.layers.events.reordered)
        for event in self._events:
            event.connect(self.reset_choices)
        self.reset_choices()
        self._follows = follows
        if follows:
            viewer.layers.selection.events.active.connect(self._follow)
            self._follow()

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        index = self.currentIndex() - bool(self._optional)
        return self._layers[index] if 0 <= index < len(self._layers) else None

    @layer.setter
    def layer(self, layer: Any) -> None:
        if layer in self._layers:
            self.setCurrentIndex(self._layers.index(layer) + bool(self._optional))

    def layers(self) -> list[Any]:
        """All layers on offer."""
        return list(self._layers)

    def disconnect_viewer(self) -> None:
        """Stop listening; the widget is about to go."""
        for event in self._events:
            event.disconnect(self.reset_choices)
        if self._follows:
            self._viewer.layers.selection.events.active.disconnect(self._follow)
        for layer in self._layers:
            layer.events.name.disconnect(self._rename)

    def reset_choices(self, event: Any = None) -> None:
        """Look at the viewer's layers again; keeps the choice where it can."""
        chosen = self.layer
        for layer in self._layers:
            layer.events.name.disconnect(self._rename)
        self.blockSignals(True)
        self.clear()
        # Top of napari's list first, as people see it.
        self._layers = [layer for layer in reversed(self._viewer.layers) if self._accepts(layer)]
        if self._optional:
            self.addItem(self._optional)
        for layer in self._layers:
            self.addItem(layer.name)
            layer.events.name.connect(self._rename)
        if chosen in self._layers:
            self.setCurrentIndex(self._layers.index(chosen) + bool(self._optional))
        elif self.count():
            self.setCurrentIndex(0)
        self.blockSignals(False)
        self._tell()

    def _follow(self, event: Any = None) -> None:
        """Another layer was selected; layers that are not on offer leave the choice as it is."""
        active = self._viewer.layers.selection.active
        if active is not None and active not in self._layers and self._accepts(active):
            self.reset_choices()  # it is selected before we have heard of it
        if active is not None:
            self.layer = active

    def _rename(self, event: Any = None) -> None:
        for index, layer in enumerate(self._layers):
            self.setItemText(index + bool(self._optional), layer.name)

    def _tell(self, index: int = -1) -> None:
        if self.layer is not self._told:
            self._told = self.layer
            self.layer_changed.emit(self.layer)
