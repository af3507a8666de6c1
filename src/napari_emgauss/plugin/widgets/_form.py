"""Small pieces that all tabs are built of, so that they look alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QDoubleSpinBox,
    QFormLayout,
    QFrame,
    QHeaderView,
    QLabel,
    QLayout,
    QLayoutItem,
    QProgressBar,
    QScrollArea,
    QSizePolicy,
    QTableWidget,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from ._theme import Colours


def form_layout() -> QFormLayout:
    """Labels left, fields right, fields as wide as there is room."""
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setHorizontalSpacing(8)
    form.setVerticalSpacing(5)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    return form


def stack_up(owner: QWidget, *parts: QWidget | QLayout, spacing: int = 5) -> None:
    """Fill a widget with parts one below the other, without a margin of its own."""
    column = QVBoxLayout(owner)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(spacing)
    for part in parts:
        if isinstance(part, QLayout):
            column.addLayout(part)
        else:
            column.addWidget(part)


def slim_bar() -> QProgressBar:
    """A bar without a number: a line of text beside it says more."""
    bar = QProgressBar()
    bar.setTextVisible(False)
    bar.setMaximumHeight(8)
    return bar


def table_of(titles: Sequence[str], *, stretched: int) -> QTableWidget:
    """A table without rows, as wide as its page: the column ``stretched`` takes the room that is left."""
    table = QTableWidget(0, len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    table.verticalHeader().hide()
    table.setTabKeyNavigation(False)  # the arrow keys go through cells, Tab goes on
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(stretched, QHeaderView.ResizeMode.Stretch)
    return table


class Note(QLabel):
    """A line of small text that wraps, takes no room when empty, and can be a warning or an error."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        self.tell(text)

    def tell(self, text: str, colour: str = "") -> None:
        """Show ``text`` in ``colour`` (the theme's text colour by default)."""
        # A style sheet costs Qt milliseconds even where it is the same, and a fit tells something five times a second.
        if text != self.text():
            self.setText(text)
        style = f"color: {colour};" if colour else ""
        if style != self.styleSheet():
            self.setStyleSheet(style)
        self.setVisible(bool(text))

    def recolour(self, old: Colours, new: Colours) -> None:
        """The theme has changed: the same kind of colour in the new one."""
        for field in dataclasses.fields(old):
            if self.styleSheet() == f"color: {getattr(old, field.name)};":
                self.setStyleSheet(f"color: {getattr(new, field.name)};")
                return


class NanometreBox(QDoubleSpinBox):
    """A positive length in nm; 0 shows as unknown."""

    def __init__(self, *, decimals: int = 3, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setDecimals(decimals)
        self.setRange(0.0, 1e7)
        self.setSpecialValueText("?")
        self.setKeyboardTracking(False)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        # Its own wish is room for its largest number, three times more than a voxel size needs.
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(44)

    def textFromValue(self, value: float) -> str:
        """Without the zeros at the end."""
        return f"{value:.{self.decimals()}f}".rstrip("0").rstrip(".") or "0"


def heading(text: str) -> QLabel:
    """Title of a group of fields."""
    label = QLabel(text)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    label.setContentsMargins(0, 6, 0, 0)
    return label


def rule() -> QFrame:
    """A thin line between groups."""
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFixedHeight(1)
    return line


def fold(title: str, content: QWidget) -> QCollapsible:
    """Fields that are folded away until they are wanted."""
    folded = QCollapsible(title)
    folded.setDuration(0)
    folded.setCollapsedIcon("▸")
    folded.setExpandedIcon("▾")
    folded.layout().setContentsMargins(0, 0, 0, 0)
    folded.addWidget(content)
    # What is folded away has no height, but the Tab key would still go through all of it.
    inner = folded.content()
    inner.setVisible(False)
    folded.toggled.connect(inner.setVisible)
    return folded


def name_for_screen_readers(widget: QWidget) -> None:
    """Give the fields of all forms the names that stand beside them."""
    for form in widget.findChildren(QFormLayout):
        for row in range(form.rowCount()):
            label = form.itemAt(row, QFormLayout.ItemRole.LabelRole)
            field = form.itemAt(row, QFormLayout.ItemRole.FieldRole)
            if label is None or field is None or label.widget() is None:
                continue
            title = label.widget().text()
            fields = _focusable(field)
            for number, one in enumerate(fields, 1):
                if not one.accessibleName():
                    one.setAccessibleName(title if len(fields) == 1 else f"{title}, field {number} of {len(fields)}")
                if not one.accessibleDescription():
                    one.setAccessibleDescription(one.toolTip())


def _focusable(item: QLayoutItem) -> list[QWidget]:
    """The fields in a row of a form; buttons and words name themselves."""
    if item.widget() is not None:
        plain = isinstance(item.widget(), QAbstractButton | QLabel)
        return [] if plain else [item.widget()]
    inner = item.layout()
    if inner is None:
        return []
    return [one for k in range(inner.count()) for one in _focusable(inner.itemAt(k))]


class Page(QScrollArea):
    """A tab's page: scrolls up and down where the window is low, never sideways."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        inner = QWidget()
        self.column = QVBoxLayout(inner)
        self.column.setContentsMargins(8, 8, 8, 8)
        self.column.setSpacing(6)
        self.setWidget(inner)

    def disconnect_viewer(self) -> None:
        """Stop listening to the viewer; the page is about to go."""

    def show_layer(self, layer: Any) -> None:
        """A fit has added a layer: show that one, on pages that show one."""
