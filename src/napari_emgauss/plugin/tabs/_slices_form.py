"""Slices one by one: depth, what is wrong with them, and whether they are fitted; and a mask of damaged pixels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_emgauss._errors import EmgaussError, StackError
from napari_emgauss.plugin._background import in_background
from napari_emgauss.plugin.process._problem import problem_of
from napari_emgauss.plugin.process._request import StackView
from napari_emgauss.plugin.view._layer_input import is_stack_like, layer_data, stack_shape
from napari_emgauss.plugin.widgets._form import Note, form_layout, stack_up, table_of
from napari_emgauss.plugin.widgets._layer_chooser import LayerChooser
from napari_emgauss.plugin.widgets._theme import theme_colours

LOGGER = logging.getLogger("napari_emgauss.plugin")

ROWS_SHOWN = 7
NO_MASK = "no mask"


class SlicesForm(QWidget):
    """A table of the slices, a check for damage, and the Labels layer that marks damaged pixels."""

    changed = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Any = None
        self._z_step_nm = 1.0
        self._voxel_size_nm: tuple[float, float, float] | None = None
        self._states: dict[int, tuple[str, str]] = {}
        self.table = _new_table()
        self.check_button = QPushButton("Check slices")
        self.check_button.setToolTip("Look for black, duplicated, blurred or outlying slices; nothing is left out.")
        self.skip_button = QPushButton("Leave out bad ones")
        self.skip_button.setToolTip("Untick every slice that the check calls bad. The model fills in what is left out.")
        self.skip_button.setEnabled(False)
        self.masks = LayerChooser(viewer, _is_labels, NO_MASK, optional=NO_MASK)
        self.masks.setToolTip(
            "A Labels layer on the stack: painted pixels (folds, tears, dirt) are not fitted, but filled in."
        )
        self.note = Note()
        buttons = QHBoxLayout()
        buttons.addWidget(self.check_button, 1)
        buttons.addWidget(self.skip_button, 1)
        form = form_layout()
        form.addRow("Damage", self.masks)
        self.mask_note = Note()
        stack_up(self, buttons, self.note, self.table, form, self.mask_note)
        self.check_button.clicked.connect(self.check)
        self.skip_button.clicked.connect(self.skip_bad)
        self.table.itemChanged.connect(self._on_item)
        self.table.cellClicked.connect(self._jump)
        self.masks.layer_changed.connect(self._check_mask)
        self.masks.layer_changed.connect(lambda layer: self.changed.emit())

    def disconnect_viewer(self) -> None:
        """Stop listening; the widget is about to go."""
        self.masks.disconnect_viewer()

    def set_layer(self, layer: Any, voxel_size_nm: tuple[float, float, float]) -> None:
        """The stack whose slices are listed."""
        count = stack_shape(layer)[0] if is_stack_like(layer) else 0
        if layer is not self._layer or count != self.table.rowCount():
            self._layer, self._states = layer, {}
            self.note.tell("")
            self._fill(count)
        if voxel_size_nm != self._voxel_size_nm:
            self._voxel_size_nm = voxel_size_nm
            self._show_depths()

    def skip(self) -> tuple[int, ...]:
        """Slices that are not ticked."""
        rows = range(self.table.rowCount())
        return tuple(k for k in rows if self.table.item(k, 0).checkState() != Qt.CheckState.Checked)

    def leave_out(self, slices: Sequence[int]) -> None:
        """Untick slices that cannot be fitted."""
        self.table.blockSignals(True)
        for k in slices:
            if 0 <= k < self.table.rowCount():
                self.table.item(k, 0).setCheckState(Qt.CheckState.Unchecked)
        self.table.blockSignals(False)
        self._show_states()
        self.changed.emit()

    def damage(self) -> Any:
        """Data of the chosen Labels layer, None without.

        Raises
        ------
        StackError
            It does not lie on the stack.
        """
        mask = self.masks.layer
        if mask is None:
            return None
        if tuple(mask.data.shape) != stack_shape(self._layer):
            wanted = " × ".join(str(n) for n in stack_shape(self._layer))
            raise StackError(
                f"The mask “{mask.name}” has the shape {tuple(mask.data.shape)}: make a Labels layer of {wanted} "
                "on the stack (the tag button above the layer list does)."
            )
        if not _lies_on(mask, self._layer):
            raise StackError(
                f"The mask “{mask.name}” lies elsewhere than “{self._layer.name}”: its scale or position differs. Make "
                "a Labels layer on the stack (the tag button above the layer list does), or give it the stack's scale."
            )
        return mask.data

    def _check_mask(self, layer: Any = None) -> None:
        """Say at once what is wrong with a mask."""
        try:
            self.damage()
            self.mask_note.tell("")
        except EmgaussError as error:
            self.mask_note.tell(problem_of(error).sentence, theme_colours(self._viewer).error)

    def check(self) -> None:
        """Look at every slice, in the background."""
        layer, size = self._layer, self._voxel_size_nm
        if layer is None or size is None:
            return
        values = StackView(layer_data(layer))
        self.check_button.setEnabled(False)
        self.note.tell("Checking the slices…")

        def look() -> Any:
            from napari_emgauss.stack import find_damage, stack_from_array

            known = size if min(size) > 0 else (2.0, 1.0, 1.0)
            return find_damage(stack_from_array(values, known, allow_isotropic=True, allow_damaged=True))

        def failed(error: Exception) -> None:
            LOGGER.error("Checking the slices failed: %s", error)
            self.check_button.setEnabled(True)
            self.note.tell(problem_of(error).sentence, theme_colours(self._viewer).error)

        in_background(self, look, lambda reports: self._show_reports(layer, reports), failed)

    def skip_bad(self) -> None:
        """Untick what the check calls bad."""
        for index, (state, _) in self._states.items():
            if state == "bad":
                self.table.item(index, 0).setCheckState(Qt.CheckState.Unchecked)

    def _show_reports(self, layer: Any, reports: Any) -> None:
        self.check_button.setEnabled(True)
        if layer is not self._layer:
            return
        self._states = {one.index: (one.state, "; ".join(one.reasons)) for one in reports}
        bad = [one.index for one in reports if one.state == "bad"]
        suspect = [one.index for one in reports if one.state == "suspect"]
        self.skip_button.setEnabled(bool(bad))
        if bad or suspect:
            self.note.tell(f"{len(bad)} bad, {len(suspect)} suspect; click a row to look at it.")
            self.table.scrollToItem(self.table.item((bad or suspect)[0], 0))
        else:
            self.note.tell("Nothing is wrong with any slice.")
        self._show_states()

    def _fill(self, count: int) -> None:
        self.table.blockSignals(True)
        self.table.setRowCount(count)
        for k in range(count):
            tick = QTableWidgetItem(str(k))
            tick.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
            tick.setCheckState(Qt.CheckState.Checked)
            self.table.setItem(k, 0, tick)
            for column in (1, 2):
                item = QTableWidgetItem("")
                item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
                self.table.setItem(k, column, item)
        self.table.blockSignals(False)
        self._show_depths()
        self._show_states()
        header = self.table.horizontalHeader().sizeHint().height()
        row = self.table.verticalHeader().defaultSectionSize()
        self.table.setFixedHeight(header + row * max(2, min(count, ROWS_SHOWN)) + 4)

    def _show_depths(self) -> None:
        step = 0.0 if self._voxel_size_nm is None else self._voxel_size_nm[0]
        self.table.blockSignals(True)
        for k in range(self.table.rowCount()):
            self.table.item(k, 1).setText(f"{k * step:g}" if step > 0 else "?")
        self.table.blockSignals(False)

    def show_states(self) -> None:
        """Draw the states of all slices anew, in the colours of the present theme."""
        self._show_states()

    def _show_states(self) -> None:
        from qtpy.QtGui import QBrush, QColor

        colours = theme_colours(self._viewer)
        colour = {"bad": colours.error, "suspect": colours.warning}
        self.table.blockSignals(True)
        for k in range(self.table.rowCount()):
            state, reason = self._states.get(k, ("", ""))
            used = self.table.item(k, 0).checkState() == Qt.CheckState.Checked
            text = reason or state
            item = self.table.item(k, 2)
            item.setText(text if used else f"left out{': ' if reason else ''}{reason}")
            item.setToolTip(text)
            item.setForeground(QBrush(QColor(colour.get(state, colours.text))))
        self.table.blockSignals(False)

    def _on_item(self, item: Any) -> None:
        if item.column() == 0:
            self._show_states()
            self.changed.emit()

    def _jump(self, row: int, column: int) -> None:
        if self._layer is None or self._layer not in self._viewer.layers:
            return
        point = np.array(self._layer.world_to_data(self._viewer.dims.point), dtype=float)
        point[-3] = row
        self._viewer.dims.set_point(self._viewer.dims.ndim - 3, float(self._layer.data_to_world(point)[-3]))


def _new_table() -> QTableWidget:
    table = table_of(("Fit", "z (nm)", "State"), stretched=2)
    table.verticalHeader().setDefaultSectionSize(22)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    table.setToolTip("Click a row to go there; untick a slice to leave it out: the model fills it in.")
    return table


def _lies_on(mask: Any, layer: Any) -> bool:
    """Whether the pixels of a mask are where those of the layer are, to a tenth of a pixel.

    A mask that was opened from a file without a scale lies nowhere in particular: its pixels are the stack's.
    """
    placed = not (np.allclose(mask.scale, 1) and np.allclose(mask.translate, 0))
    if not placed and not mask.rotate[np.triu_indices(len(mask.rotate), 1)].any():
        return True
    last = np.asarray(stack_shape(layer), dtype=float) - 1
    pixel = np.abs(np.asarray(layer.scale[-3:], dtype=float))
    for corner in (np.zeros(3), last):
        theirs = np.asarray(mask.data_to_world(corner))[-3:]
        ours = np.asarray(layer.data_to_world(np.concatenate([np.zeros(layer.ndim - 3), corner])))[-3:]
        if (np.abs(theirs - ours) > 0.1 * pixel).any():
            return False
    return True


def _is_labels(layer: Any) -> bool:
    from napari.layers import Labels

    return isinstance(layer, Labels)
