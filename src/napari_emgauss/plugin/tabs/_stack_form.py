"""Which stack, and its voxel size: the first rows of the widget."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QWidget,
)

from napari_emgauss.plugin._background import in_background
from napari_emgauss.plugin._door import notify
from napari_emgauss.plugin.process._problem import problem_of
from napari_emgauss.plugin.view._layer_input import (
    FIRST_AXIS,
    asks_for_first_axis,
    first_axis_of,
    hint_at_axes,
    layer_data,
)
from napari_emgauss.plugin.view._layer_voxel_size import (
    TYPED,
    apply_voxel_size,
    needs_voxel_size,
    read_file_voxel_size,
    same_slice,
    voxel_size_of_layer,
)
from napari_emgauss.plugin.widgets._form import NanometreBox, Note, form_layout
from napari_emgauss.plugin.widgets._layer_chooser import LayerChooser
from napari_emgauss.plugin.widgets._remedy import Remedy, RemedyButton
from napari_emgauss.plugin.widgets._theme import theme_colours

LOGGER = logging.getLogger("napari_emgauss.plugin")

UNITS_NM = {"nm": 1.0, "µm": 1000.0}
"""What the fields of the voxel size can be in, and how many nm that is."""

FIRST_AXES = {"choose…": "", "channels": "channels", "time points": "time"}
"""What can be said of a first axis without a name."""


class StackForm(QWidget):
    """Layer chooser, Open button, voxel size with where it is from.

    Whatever reader opened a layer, its file is asked for the voxel size (in a thread) when the layer has none, and the
    layer gets it: napari's own TIFF reader drops it.
    """

    changed = Signal()
    """Another layer, or another voxel size."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._asked: set[int] = set()
        self._origin = "unknown"
        self._watched: Any = None
        self.chooser = LayerChooser(viewer, _is_stack, "open a stack first", follows=True)
        self.chooser.setToolTip("The anisotropic stack: an image layer with axes (z, y, x).")
        self.open_button = QPushButton("Open…")
        self.open_button.setToolTip("Open a stack, or a fitted model, with its voxel size.")
        self.z, self.y, self.x = NanometreBox(), NanometreBox(), NanometreBox()
        tips = ("Distance between slices, nm.", "Height of a pixel, nm.", "Width of a pixel, nm.")
        for box, tip in zip((self.z, self.y, self.x), tips, strict=True):
            box.setToolTip(f"{tip} Typing here also sets the layer's scale.")
            box.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)  # room for three
            box.setStyleSheet("QAbstractSpinBox { min-width: 29px; }")  # against the least width of the theme
            box.setMinimumWidth(35)
            box.valueChanged.connect(self._typed)
        self.note = Note()
        self.file_notes = Note()

        first = QHBoxLayout()
        first.addWidget(self.chooser, 1)
        first.addWidget(self.open_button)
        sizes = QHBoxLayout()
        sizes.setSpacing(3)
        for name, box in (("z", self.z), ("y", self.y), ("x", self.x)):
            sizes.addWidget(QLabel(name))
            sizes.addWidget(box, 1)
        self.unit = QComboBox()
        self.unit.addItems(list(UNITS_NM))
        self.unit.setStyleSheet(  # no wider than the dock has room for
            "QComboBox { min-width: 30px; padding: 1px 0px 1px 4px; } QComboBox::drop-down { width: 14px; }"
        )
        self.unit.setFixedWidth(60)
        self.unit.setToolTip("Unit of the three numbers.")
        self.unit.currentIndexChanged.connect(self._typed)
        sizes.addWidget(self.unit)
        self.first_axis = QComboBox()
        self.first_axis.addItems(list(FIRST_AXES))
        self.first_axis.setToolTip("What the first of the layer's four axes is; its name does not say.")
        self.first_axis.currentTextChanged.connect(self._say_first_axis)
        form = self._form = form_layout()
        form.addRow("Stack", first)
        form.addRow("First axis", self.first_axis)
        form.addRow("Voxel size", sizes)
        form.addRow(self.note)
        form.addRow(self.file_notes)
        self.turn_button = RemedyButton()
        form.addRow(self.turn_button)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
        self.setLayout(form)

        self.chooser.layer_changed.connect(self._on_layer)
        self.open_button.clicked.connect(self._ask_for_file)
        viewer.layers.events.inserted.connect(self._on_inserted)
        for layer in viewer.layers:
            self._look_into_file(layer)
        self._on_layer(self.chooser.layer)

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self.chooser.layer

    @property
    def voxel_size_nm(self) -> tuple[float, float, float]:
        """``(z, y, x)`` in nm; 0 where unknown."""
        nm = UNITS_NM[self.unit.currentText()]
        return self.z.value() * nm, self.y.value() * nm, self.x.value() * nm

    def disconnect_viewer(self) -> None:
        """Stop listening; the widget is about to go."""
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        self._watch(None)
        self.chooser.disconnect_viewer()

    def open_file(self, path: str) -> None:
        """Open a stack, or a model, in the background and add it as a layer."""
        from napari_emgauss.plugin._reader import is_model_file

        if is_model_file(path):
            self._viewer.open(path, plugin="napari-emgauss")
            return
        self.open_button.setEnabled(False)
        self.note.tell(f"Opening {Path(path).name}…")
        in_background(self, lambda: read_for_layer(path), self._add_stack, self._open_failed)

    def _ask_for_file(self) -> None:
        from napari_emgauss.stack import dialog_filter

        kinds = dialog_filter("Stacks and models", "*.safetensors")
        path, _ = QFileDialog.getOpenFileName(self, "Open a stack or a model", "", kinds)
        if path:
            self.open_file(path)

    def _add_stack(self, opened: tuple[Any, dict[str, Any]]) -> None:
        data, keywords = opened
        self.open_button.setEnabled(True)
        layer = self._viewer.add_image(data, **keywords)
        self.chooser.layer = layer
        self._show_size()

    def _open_failed(self, error: Exception) -> None:
        self.open_button.setEnabled(True)
        problem = problem_of(error)
        self.note.tell(problem.sentence, theme_colours(self._viewer).error)
        notify(problem)

    def _on_inserted(self, event: Any) -> None:
        self._look_into_file(event.value)

    def _look_into_file(self, layer: Any) -> None:
        """Ask the layer's file for the voxel size, once, off the window's thread."""
        if not _is_stack(layer) or id(layer) in self._asked or not needs_voxel_size(layer):
            return
        self._asked.add(id(layer))
        path = str(layer.source.path)

        def apply(found: Any) -> None:
            # The user may have set a scale, or removed the layer, while the file was read.
            if found is not None and layer in self._viewer.layers and voxel_size_of_layer(layer).zyx_nm is None:
                layer.metadata["emgauss_voxel_size_doubt"] = found.doubt
                if found.assumed:
                    layer.metadata["emgauss_notes"] = [*layer.metadata.get("emgauss_notes", ()), found.assumed]
                if found.complete:
                    size = (float(found.z_nm), float(found.y_nm), float(found.x_nm))
                    with same_slice(self._viewer, layer):
                        apply_voxel_size(layer, size, f"the file's {found.source}")
                        self._viewer.reset_view()
            if layer is self.layer:
                self._show_size()

        in_background(self, lambda: read_file_voxel_size(path), apply)

    def _on_layer(self, layer: Any) -> None:
        self._watch(layer)
        if layer is not None:
            self._look_into_file(layer)
        self._show_size()
        self.changed.emit()

    def _watch(self, layer: Any) -> None:
        if self._watched is not None:
            self._watched.events.scale.disconnect(self._show_size)
            self._watched.events.units.disconnect(self._show_size)
            self._watched.events.data.disconnect(self._on_data)
        self._watched = layer
        if layer is not None:
            layer.events.scale.connect(self._show_size)
            layer.events.units.connect(self._show_size)
            layer.events.data.connect(self._on_data)

    def _on_data(self, event: Any = None) -> None:
        """Other pixels in the same layer, perhaps another number of them."""
        self.changed.emit()

    def _show_first_axis(self) -> None:
        """Ask for what the first axis is, where only the user knows."""
        asked = asks_for_first_axis(self.layer)
        self._form.setRowVisible(self.first_axis, asked)
        if asked:
            self.first_axis.blockSignals(True)
            told = first_axis_of(self.layer)
            self.first_axis.setCurrentText(next((text for text, kind in FIRST_AXES.items() if kind == told), ""))
            self.first_axis.blockSignals(False)

    def _say_first_axis(self, text: str) -> None:
        if self.layer is not None:
            self.layer.metadata[FIRST_AXIS] = FIRST_AXES[text]
            self.changed.emit()

    def _show_size(self, event: Any = None) -> None:
        self._show_first_axis()
        boxes = (self.z, self.y, self.x)
        for box in boxes:
            box.setEnabled(self.layer is not None)
        if self.layer is None:
            for box in boxes:
                _set_quietly(box, 0.0)
            self.note.tell("")
            self.file_notes.tell("")
            return
        self._tell_file_notes()
        found = voxel_size_of_layer(self.layer)
        nm = UNITS_NM[self.unit.currentText()]
        for box, value in zip(boxes, found.zyx_nm or (0.0, 0.0, 0.0), strict=True):
            _set_quietly(box, value / nm)
        self._origin = found.origin
        self._explain(found.warning)
        self.changed.emit()

    def _explain(self, warning: str) -> None:
        hint = "" if self.layer is None else hint_at_axes(self.layer)
        self.turn_button.offer(Remedy("Take the last axis as z", self._turn) if hint else None)
        if hint:
            self.note.tell("⚠ " + hint, theme_colours(self._viewer).warning)
            return
        if warning:
            self.note.tell("⚠ " + warning, theme_colours(self._viewer).warning)
            return
        z_nm, y_nm, x_nm = self.voxel_size_nm
        factor = z_nm / ((y_nm + x_nm) / 2)
        self.note.tell(f"From {self._origin}; z is {factor:.3g} pixels.", theme_colours(self._viewer).muted_text)

    def _tell_file_notes(self) -> None:
        """What had to be assumed of the layer's file, or was left out of it."""
        notes = [str(note) for note in self.layer.metadata.get("emgauss_notes", ())]
        sentences = " ".join(f"{note[:1].upper()}{note[1:]}." for note in notes)
        self.file_notes.tell(sentences and f"⚠ {sentences}", theme_colours(self._viewer).warning)

    def _turn(self) -> None:
        """The same pixels with z first, as a layer of its own; the old one stays, hidden."""
        layer = self.layer
        size = self.voxel_size_nm
        turned = self._viewer.add_image(
            np.moveaxis(layer_data(layer), -1, 0),
            name=f"{layer.name} (z first)",
            contrast_limits=tuple(layer.contrast_limits),
            colormap=layer.colormap,
        )
        if min(size) > 0:  # they were typed for z, y and x
            apply_voxel_size(turned, size, self._origin)
        layer.visible = False
        self.chooser.layer = turned
        self._viewer.reset_view()

    def _typed(self, *_: Any) -> None:
        if self.layer is None:
            return
        size = self.voxel_size_nm
        if min(size) > 0:
            with same_slice(self._viewer, self.layer):
                apply_voxel_size(self.layer, size, TYPED)
                self._viewer.reset_view()
            self._origin = TYPED
            self._explain(voxel_size_of_layer(self.layer).warning)
        self.changed.emit()


def _is_stack(layer: Any) -> bool:
    from napari.layers import Image

    return isinstance(layer, Image) and "emgauss" not in layer.metadata


def _set_quietly(box: NanometreBox, value: float) -> None:
    box.blockSignals(True)
    box.setValue(value)
    box.blockSignals(False)


def _notes_of(stack: Any) -> list[str]:
    """Notes of the reader, and what a layer cannot hold: its slices are evenly apart."""
    steps = np.diff(stack.z_nm)
    notes = [str(note) for note in stack.metadata.get("notes", ())]
    if not np.allclose(steps, steps[0], rtol=1e-3):
        apart = (
            f"{steps.max() / steps.min():.3g} times"
            if stack.metadata["voxel_size_source"] == "argument"
            else (f"by {steps.min():.4g} to {steps.max():.4g} nm")
        )
        notes.append(
            f"its slices are unevenly spaced ({apart}), but a layer shows and fits them evenly: "
            "'emgauss fit' keeps their true depths"
        )
    return notes


def read_for_layer(path: str) -> tuple[Any, dict[str, Any]]:
    """Read a stack for a layer: in memory where it is small, else lazily. In a worker thread."""
    import psutil
    from napari.layers.utils.layer_utils import calc_data_range

    from napari_emgauss._errors import UnknownVoxelSizeError
    from napari_emgauss.stack import read_stack

    keywords: dict[str, Any] = {"metadata": {}}
    try:
        stack = read_stack(path, allow_isotropic=True, allow_damaged=True)
        step = float(np.median(np.diff(stack.z_nm)))
        origin = stack.record.voxel_size_source or "metadata"
        keywords["scale"] = (step, *stack.pixel_size_nm)
        keywords["units"] = ("nm", "nm", "nm")
        keywords["metadata"]["emgauss_voxel_size_origin"] = f"the file's {origin}"
    except UnknownVoxelSizeError as error:
        # Unknown is unknown: the widget asks for it.
        stack = read_stack(path, voxel_size_nm=(2.0, 1.0, 1.0), allow_damaged=True)
        keywords["metadata"]["emgauss_voxel_size_doubt"] = error.doubt
    keywords["metadata"]["emgauss_notes"] = _notes_of(stack)
    data: Any = stack.slices
    if np.prod(stack.shape) * np.dtype(data.dtype).itemsize < psutil.virtual_memory().available / 4:
        data = stack.in_memory().slices
        first = data[len(data) // 2]
        keywords["contrast_limits"] = calc_data_range(first) if data.dtype != np.uint8 else (0, 255)
    else:
        import dask.array

        data = dask.array.from_array(data, chunks=(1, *stack.shape[1:]), asarray=True)
    if stack.channels > 1:
        # napari puts layers together by their last axes, so channels come first.
        data = data.swapaxes(0, 1)
    for name in ("scale", "units"):
        if name in keywords and stack.channels > 1:
            keywords[name] = ((1.0,) if name == "scale" else ("pixel",)) + tuple(keywords[name])
    keywords["axis_labels"] = ("z", "y", "x") if stack.channels == 1 else ("c", "z", "y", "x")
    keywords["name"] = stack.name
    return data, keywords
