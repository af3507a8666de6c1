"""How to fit: preset, device with the reason for it, what it will cost, and everything else folded away."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_emgauss._errors import EmgaussError

from ._background import in_background
from ._estimate import available_bytes, estimate
from ._form import Note, form_layout
from ._preferences import preferences
from ._render_child import DeviceInfo
from ._render_service import RenderService
from ._settings_form import SettingsForm
from ._theme import theme_colours

PRESET_NOTES = {
    "fast": "A first look in a minute or two.",
    "default": "What most people want.",
    "best": "More patience, a little more quality.",
    "paper": "As published; meant for a GPU, slow without one.",
}


class MethodForm(QWidget):
    """Preset, device, estimate, advanced settings."""

    changed = Signal()

    def __init__(self, viewer: Any, service: RenderService, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        from napari_emgauss.fit import preset, preset_names

        self._viewer, self._service, self._make_preset = viewer, service, preset
        self._shape: tuple[int, int, int] | None = None
        self.device_info: DeviceInfo | None = None
        chosen = preferences()
        self.preset = QComboBox()
        self.preset.addItems(preset_names())
        for index in range(self.preset.count()):
            self.preset.setItemData(index, PRESET_NOTES.get(self.preset.itemText(index), ""), 3)  # Qt.ToolTipRole
        self.preset.setCurrentText(chosen.preset)
        self.preset.setToolTip("A named set of settings. " + " ".join(f"{k}: {v}" for k, v in PRESET_NOTES.items()))
        self.device = QComboBox()
        self.device.setEditable(True)
        self.device.addItems(["auto", "cpu", "cuda:0", "mps"])
        self.device.setCurrentText(chosen.device)
        self.device.setToolTip("Where to fit. “auto” takes a graphics card when one can be used.")
        self.device_note, self.cost = Note("Looking for a graphics card…"), Note()
        self.settings = SettingsForm()
        self.advanced = QCollapsible("Advanced settings")
        self.advanced.setDuration(0)
        self.advanced.setCollapsedIcon("▸")
        self.advanced.setExpandedIcon("▾")
        self.advanced.layout().setContentsMargins(0, 0, 0, 0)
        self.advanced.addWidget(self.settings)

        form = form_layout()
        form.addRow("Preset", self.preset)
        form.addRow("Device", self.device)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        column.addLayout(form)
        column.addWidget(self.device_note)
        column.addWidget(self.cost)
        column.addWidget(self.advanced)
        self.preset.currentTextChanged.connect(self._on_preset)
        self.device.currentTextChanged.connect(self._on_device)
        self.settings.changed.connect(self._on_settings)
        self._on_preset(self.preset.currentText())
        self._on_device(self.device.currentText())

    def set_shape(self, shape: tuple[int, int, int] | None) -> None:
        """Slices, rows and columns that would be fitted; None while there is nothing to fit."""
        self._shape = shape
        self._show_cost()

    def config(self) -> Any:
        """The settings as a ``FitConfig``.

        Raises
        ------
        ConfigError
            They cannot work; the message says which.
        """
        return self._make_preset(
            self.preset.currentText(), device=self.device.currentText(), **self.settings.overrides()
        )

    def _on_preset(self, name: str) -> None:
        self.settings.set_preset(self._make_preset(name))

    def _on_settings(self) -> None:
        changed = len(self.settings.overrides())
        self.advanced.setText("Advanced settings" + (f" ({changed} changed)" if changed else ""))
        self._show_cost()
        self.changed.emit()

    def _on_device(self, device: str) -> None:
        def show(info: DeviceInfo) -> None:
            if device == self.device.currentText():
                self.device_info = info
                self.device_note.tell(f"{info.device}: {info.reason}", theme_colours(self._viewer).muted_text)
                self._show_cost()

        def refuse(error: Exception) -> None:
            if device == self.device.currentText():
                self.device_info = None
                self.device_note.tell(str(error), theme_colours(self._viewer).error)
                self._show_cost()

        in_background(self, lambda: self._service.describe_device(device), show, refuse)

    def _show_cost(self) -> None:
        if self._shape is None or self.device_info is None:
            self.cost.tell("")
            return
        try:
            cost = estimate(self.config(), self._shape, self.device_info.device)
        except EmgaussError as error:
            self.cost.tell(str(error), theme_colours(self._viewer).error)
            return
        free = available_bytes() if self.device_info.device.startswith("cpu") else None
        short = free is not None and cost.bytes_needed > free
        colours = theme_colours(self._viewer)
        self.cost.tell(f"Estimate: {cost.sentence(free)}", colours.warning if short else colours.muted_text)
