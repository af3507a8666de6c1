"""Every setting of a fit as a field with a tooltip, made of the settings' own class and documentation."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any, Literal, get_args, get_origin, get_type_hints

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_emgauss.plugin.widgets._form import form_layout

HIDDEN = ("device",)
"""Settings with a place of their own in the widget."""


def parameter_notes(documented: type) -> dict[str, str]:
    """Explanations of the parameters in a numpy docstring, by name; shared entries (``a, b : int``) count for each."""
    notes: dict[str, list[str]] = {}
    names: list[str] = []
    lines = (inspect.getdoc(documented) or "").replace("\\\n", "").splitlines()
    inside = False
    for at, line in enumerate(lines):
        if re.fullmatch(r"-+", line.strip()) and at:
            inside, names = lines[at - 1].strip() == "Parameters", []
        elif inside and line and not line.startswith(" "):
            names = [name.strip() for name in line.partition(":")[0].split(",")]
        elif inside and line.strip():
            for name in names:
                notes.setdefault(name, []).append(line.strip())
    return {name: re.sub(r"`+|:class:|~", "", " ".join(text)) for name, text in notes.items()}


class SettingsForm(QWidget):
    """All settings of a preset; tells which differ from it."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._preset: Any = None
        self._fields: dict[str, QWidget] = {}
        self._form = form_layout()
        self._reset = QPushButton("Back to the preset")
        self._reset.setToolTip("Undo every change made here.")
        self._reset.clicked.connect(lambda: self.set_preset(self._preset))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self._form)
        column.addWidget(self._reset)

    @property
    def fields(self) -> dict[str, QWidget]:
        """The widget of every setting."""
        return dict(self._fields)

    def set_preset(self, config: Any) -> None:
        """Show the values of a ``FitConfig``."""
        self._preset = config
        if not self._fields:
            self._build(type(config))
        for name, widget in self._fields.items():
            widget.blockSignals(True)
            _set_value(widget, getattr(config, name))
            widget.blockSignals(False)
        self._tell()

    def set_value(self, name: str, value: Any) -> None:
        """Change one setting, as if it had been chosen here."""
        _set_value(self._fields[name], value)

    def overrides(self) -> dict[str, Any]:
        """Settings that differ from the preset."""
        if self._preset is None:
            return {}
        values = {name: _value(widget) for name, widget in self._fields.items()}
        return {name: value for name, value in values.items() if value != getattr(self._preset, name)}

    def _build(self, config_class: type) -> None:
        notes, hints = parameter_notes(config_class), get_type_hints(config_class)
        for item in dataclasses.fields(config_class):
            if item.name in HIDDEN:
                continue
            widget = _field_widget(item.name, hints[item.name])
            if widget is None:
                continue
            widget.setToolTip(f"<qt>{notes.get(item.name, item.name.replace('_', ' '))}</qt>")
            self._fields[item.name] = widget
            _on_change(widget, self._tell)
            # Narrow, or these fields would decide the width of the whole dock.
            widget.setMinimumWidth(70)
            widget.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            self._form.addRow(item.name.replace("_", " "), widget)
            self._form.labelForField(widget).setToolTip(widget.toolTip())

    def _tell(self, *_: Any) -> None:
        self._reset.setEnabled(bool(self.overrides()))
        self.changed.emit()


def _field_widget(name: str, kind: Any) -> QWidget | None:
    choices = _choices(name, kind)
    if choices:
        box = QComboBox()
        box.addItems(choices)
        return box
    options = [option for option in get_args(kind) if option is not type(None)] or [kind]
    optional = type(None) in get_args(kind)
    if options[0] is bool:
        return QCheckBox()
    if options[0] is int:
        spin = QSpinBox()
        spin.setRange(-1 if optional else 0, 2_000_000_000)
        if optional:
            spin.setSpecialValueText("automatic")
            spin.setProperty("optional", True)
        spin.setKeyboardTracking(False)
        return spin
    if options[0] is float:
        decimal = _ShortDoubleBox()
        decimal.setRange(0.0, 1e6)
        decimal.setDecimals(8)
        decimal.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        decimal.setKeyboardTracking(False)
        return decimal
    return QLineEdit() if options[0] is str else None


class _ShortDoubleBox(QDoubleSpinBox):
    def textFromValue(self, value: float) -> str:
        return f"{value:.6g}"

    def valueFromText(self, text: str) -> float:
        return float(text)

    def validate(self, text: str, position: int) -> Any:
        from qtpy.QtGui import QValidator

        try:
            float(text)
        except ValueError:
            return QValidator.State.Intermediate, text, position
        return QValidator.State.Acceptable, text, position


def _choices(name: str, kind: Any) -> tuple[str, ...]:
    if name == "prior":
        from napari_emgauss.priors import prior_choices

        return prior_choices()
    return tuple(get_args(kind)) if get_origin(kind) is Literal else ()


def _value(widget: QWidget) -> Any:
    if isinstance(widget, QCheckBox):
        return widget.isChecked()
    if isinstance(widget, QComboBox):
        return widget.currentText()
    if isinstance(widget, QLineEdit):
        return widget.text()
    if isinstance(widget, QSpinBox):
        return None if widget.property("optional") and widget.value() < 0 else widget.value()
    # What the box shows: 1.6e-6 must not come back as 1.60000000001e-6.
    return float(f"{widget.value():.6g}")


def _set_value(widget: QWidget, value: Any) -> None:
    if isinstance(widget, QCheckBox):
        widget.setChecked(bool(value))
    elif isinstance(widget, QComboBox):
        if widget.findText(str(value), Qt.MatchFlag.MatchExactly) < 0:
            widget.addItem(str(value))
        widget.setCurrentText(str(value))
    elif isinstance(widget, QLineEdit):
        widget.setText(str(value))
    else:
        widget.setValue(-1 if value is None else value)


def _on_change(widget: QWidget, slot: Any) -> None:
    if isinstance(widget, QCheckBox):
        widget.toggled.connect(slot)
    elif isinstance(widget, QComboBox):
        widget.currentIndexChanged.connect(slot)
    elif isinstance(widget, QLineEdit):
        widget.editingFinished.connect(slot)
    else:
        widget.valueChanged.connect(slot)
