"""A box of looks, made of their registry."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QWidget

from napari_emgauss.volume import LOOK_ROWS


def look_chooser(parent: QWidget | None = None) -> QComboBox:
    """All looks, the default first; the data of each is its name."""
    box = QComboBox(parent)
    for k, row in enumerate(LOOK_ROWS):
        box.addItem(row.label, row.name)
        box.setItemData(k, _sentence(row.summary), Qt.ItemDataRole.ToolTipRole)
    box.setToolTip("\n".join(f"{row.label}: {row.summary}." for row in LOOK_ROWS))
    return box


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."
