"""The second tab: any depth of a continuous layer, and what to compare it with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QSlider

from napari_emgauss.plugin._background import in_background
from napari_emgauss.plugin._door import at_the_door, notify
from napari_emgauss.plugin.process._problem import Problem, problem_of
from napari_emgauss.plugin.view._compare import (
    add_confidence,
    add_difference,
    add_error,
    add_linear,
    source_candidates,
)
from napari_emgauss.plugin.view._continuous_layer import LayerRecord, record_of, refresh_shown, smallest_step_nm
from napari_emgauss.plugin.view._depth_control import DepthControl
from napari_emgauss.plugin.view._error_status import ErrorStatus, error_of
from napari_emgauss.plugin.view._layer_look import look_sources, model_with_look
from napari_emgauss.plugin.widgets._form import NanometreBox, Note, Page, form_layout, heading, rule
from napari_emgauss.plugin.widgets._layer_chooser import LayerChooser
from napari_emgauss.plugin.widgets._look_chooser import look_chooser
from napari_emgauss.plugin.widgets._remedy import Remedy, RemedyButton
from napari_emgauss.plugin.widgets._theme import theme_colours
from napari_emgauss.plugin.widgets._z_bar import ZBar
from napari_emgauss.volume import Look

LOGGER = logging.getLogger("napari_emgauss.plugin")
SLIDER_STEPS = 10_000


class DepthTab(Page):
    """Scrub, jump, compare, save."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer
        self.control = DepthControl(viewer)
        self.chooser = LayerChooser(viewer, is_continuous, "fit a stack, or open a model", follows=True)
        self.chooser.setToolTip("A layer fitted with EMGauss.")
        self.look = look_chooser()
        self.step = NanometreBox()
        self.step.setToolTip("Distance between two steps of napari's z slider in nm; fractions are fine.")
        self.isotropic_button = QPushButton("Isotropic")
        self.isotropic_button.setToolTip("One step per pixel size, so that voxels are cubes.")
        self.depth = NanometreBox(decimals=2)
        self.depth.setSpecialValueText("")
        self.depth.setToolTip("Type any depth in nm: it is shown exactly, also between two steps of the slider.")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, SLIDER_STEPS)
        self.slider.setToolTip("Any depth between the first and the last slice.")
        self.bar = ZBar(viewer)
        self.where = Note()
        self.retry_button = RemedyButton()
        self.previous_button, self.middle_button = QPushButton("◀ Slice"), QPushButton("Mid-gap")
        self.next_button = QPushButton("Slice ▶")
        self.previous_button.setToolTip("Previous observed slice (Alt+Left).")
        self.middle_button.setToolTip("Middle of the gap, farthest from any observed slice (Alt+Down).")
        self.next_button.setToolTip("Next observed slice (Alt+Right).")
        self.source = LayerChooser(viewer, _is_source, "open the stack")
        self.source.setToolTip("The stack to interpolate linearly.")
        self.linear_button = QPushButton("Add linear")
        self.linear_button.setToolTip("A layer with linear interpolation of the same region, to switch back and forth.")
        self.difference_button = QPushButton("Add difference")
        self.difference_button.setToolTip("EMGauss minus linear, in grey values.")
        self.confidence_button = QPushButton("Add confidence")
        self.confidence_button.setToolTip(
            "A layer that is bright where the prior trusts what it inferred, and dark where to look twice."
        )
        self.error_button = QPushButton("Add error bars")
        self.error_button.setToolTip(
            "A layer with σ in grey values: how far the truth is likely to be from what was inferred. The status bar "
            "shows it under the pointer, as 128 ± 9."
        )
        self.error_status = ErrorStatus(viewer, self)
        self.save_button = QPushButton("Save model…")
        self.save_button.setToolTip("A small file that holds the whole continuous volume; drop it on napari to reopen.")
        self._heard: LayerRecord | None = None
        self._pending: float | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._go_pending)
        self._lay_out()
        self._connect()
        self._on_layer(self.chooser.layer)

    def showEvent(self, event: QShowEvent | None) -> None:
        """The page comes to the front."""
        super().showEvent(event)
        self._show_depth()

    def show_layer(self, layer: Any) -> None:
        """Choose the layer that a fit has added."""
        self.chooser.layer = layer

    def disconnect_viewer(self) -> None:
        """Stop listening; the widget is about to go."""
        self.control.disconnect_viewer()
        if self._heard is not None:
            self._heard.troubled.disconnect(self._show_trouble)
            self._heard = None
        for part in (self.chooser, self.source, self.bar, self.error_status):
            part.disconnect_viewer()

    def _lay_out(self) -> None:
        steps = QHBoxLayout()
        steps.setSpacing(6)
        steps.addWidget(self.step, 1)
        steps.addWidget(self.isotropic_button)
        form = form_layout()
        form.addRow("Layer", self.chooser)
        form.addRow("Look", self.look)
        form.addRow("z step (nm)", steps)
        form.addRow("Depth (nm)", self.depth)
        buttons = QHBoxLayout()
        for button in (self.previous_button, self.middle_button, self.next_button):
            buttons.addWidget(button, 1)
        compare = form_layout()
        compare.addRow("Stack", self.source)
        pair = QHBoxLayout()
        pair.addWidget(self.linear_button, 1)
        pair.addWidget(self.difference_button, 1)
        column = self.column
        column.addLayout(form)
        column.addWidget(self.slider)
        column.addWidget(self.bar)
        column.addWidget(self.where)
        column.addWidget(self.retry_button)
        column.addLayout(buttons)
        column.addWidget(rule())
        column.addWidget(heading("Compare with linear interpolation"))
        column.addLayout(compare)
        column.addLayout(pair)
        column.addWidget(rule())
        certain = QHBoxLayout()
        certain.addWidget(self.confidence_button, 1)
        certain.addWidget(self.error_button, 1)
        column.addLayout(certain)
        column.addWidget(self.save_button)
        column.addStretch(1)

    def _connect(self) -> None:
        self.chooser.layer_changed.connect(self._on_layer)
        self.control.moved.connect(self._show_depth)
        self.look.currentIndexChanged.connect(lambda index: self.set_look(self.look.currentData()))
        self.step.valueChanged.connect(self._on_step)
        self.isotropic_button.clicked.connect(self._make_isotropic)
        self.depth.valueChanged.connect(self.control.go_to)
        self.slider.valueChanged.connect(self._on_slider)
        self.bar.depth_chosen.connect(self._go_soon)
        self.previous_button.clicked.connect(lambda: self.control.next_slice(-1))
        self.next_button.clicked.connect(lambda: self.control.next_slice(1))
        self.middle_button.clicked.connect(lambda: self.control.mid_gap())
        self.linear_button.clicked.connect(lambda: self._compare(difference=False))
        self.difference_button.clicked.connect(lambda: self._compare(difference=True))
        self.confidence_button.clicked.connect(self.add_confidence)
        self.error_button.clicked.connect(self.add_error)
        self.save_button.clicked.connect(self._ask_where_to_save)

    def _on_layer(self, layer: Any) -> None:
        self.control.layer = layer
        record = record_of(layer)
        self._listen_to(record)
        self._show_look()
        for widget in (
            self.look, self.step, self.isotropic_button, self.depth, self.slider, self.bar, self.previous_button,
            self.middle_button, self.next_button, self.source, self.linear_button, self.difference_button,
            self.confidence_button, self.error_button, self.save_button,
        ):  # fmt: skip
            widget.setEnabled(record is not None)
        if record is None:
            self.bar.set_slices(np.zeros(0))
            self.where.tell("")
            return
        z = record.model.z_nm
        self.bar.set_slices(z)
        for box, low, high in (
            (self.step, smallest_step_nm(z), float(z[-1] - z[0])),
            (self.depth, float(z[0]), float(z[-1])),
        ):
            box.blockSignals(True)
            box.setRange(low, high)
            box.blockSignals(False)
        self.depth.setSingleStep(record.isotropic_step_nm)
        self._show_step()
        candidates = source_candidates(self._viewer, layer)
        if candidates:
            self.source.layer = candidates[0]
        self._show_depth()

    def _listen_to(self, record: LayerRecord | None) -> None:
        """Hear of pictures that cannot be rendered."""
        if self._heard is not None:
            self._heard.troubled.disconnect(self._show_trouble)
        self._heard = record
        if record is not None:
            record.troubled.connect(self._show_trouble)
        self._show_trouble(None if record is None else record.problem)

    def _show_trouble(self, problem: Problem | None) -> None:
        if problem is None:
            self.retry_button.offer(None)
            self._show_depth()
            return
        self.where.tell(problem.sentence, theme_colours(self._viewer).error)
        self.retry_button.offer(Remedy("Render again", self._render_again))

    def _render_again(self) -> None:
        record, layer = self.control.record, self.control.layer
        if record is not None:
            record.forget_problem()
            refresh_shown(layer, thumbnail=True)

    def _show_step(self) -> None:
        record = self.control.record
        if record is not None:
            self.step.blockSignals(True)
            self.step.setValue(record.z_step_nm)
            self.step.blockSignals(False)

    def _show_depth(self) -> None:
        record = self.control.record
        if record is None or self.isHidden():  # behind another tab: drawn when it comes to the front
            return
        here, z = self.control.depth_nm, record.model.z_nm
        for widget, value in (
            (self.depth, here),
            (self.slider, round(SLIDER_STEPS * (here - z[0]) / (z[-1] - z[0]))),
        ):
            widget.blockSignals(True)
            widget.setValue(value)
            widget.blockSignals(False)
        self.bar.set_depth(here)
        if record.problem is None:
            self.where.tell(self.control.where())

    def _show_look(self) -> None:
        record = self.control.record
        self.look.blockSignals(True)
        self.look.setCurrentIndex(0 if record is None else max(0, self.look.findData(record.look)))
        self.look.blockSignals(False)

    def set_look(self, look: Look) -> None:
        """Show the layer with another look; what cannot be is said, and the look stays."""
        record, layer = self.control.record, self.control.layer
        if record is None or look == record.look:
            return

        def show(view: Any) -> None:
            self.look.setEnabled(True)
            record.look_as(view)
            if layer in self._viewer.layers:
                refresh_shown(layer, thumbnail=True)
            self._show_look()
            self._show_depth()

        def failed(error: Exception) -> None:
            self.look.setEnabled(True)
            self._show_look()
            problem = problem_of(error)
            self.where.tell(problem.sentence, theme_colours(self._viewer).error)
            notify(problem)

        self.look.setEnabled(False)
        self.where.tell("Comparing with the stack…")
        sources = look_sources(self._viewer, layer)
        in_background(self, lambda: model_with_look(record, look, sources), show, failed)

    def _on_step(self, z_step_nm: float) -> None:
        self.control.set_step(z_step_nm)

    def _make_isotropic(self) -> None:
        record = self.control.record
        if record is not None:
            self.control.set_step(record.isotropic_step_nm)
            self._show_step()

    def _on_slider(self, value: int) -> None:
        record = self.control.record
        if record is not None:
            z = record.model.z_nm
            self._go_soon(float(z[0] + value / SLIDER_STEPS * (z[-1] - z[0])))

    def _go_soon(self, depth_nm: float) -> None:
        """Of the many moves of a drag, show the last: each is a rendered slice."""
        self._pending = depth_nm
        if not self._timer.isActive():
            self._timer.start()

    def _go_pending(self) -> None:
        if self._pending is not None:
            depth, self._pending = self._pending, None
            self.control.go_to(depth)

    @at_the_door
    def _compare(self, *, difference: bool) -> None:
        layer = self.control.layer
        (add_difference if difference else add_linear)(self._viewer, layer, self.source.layer)

    def add_confidence(self) -> None:
        """Show where the prior trusts what it inferred."""
        self._add_beside(lambda model: model.confidence, add_confidence)

    def add_error(self) -> None:
        """Show how far the truth is likely to be from what was inferred."""
        self._add_beside(error_of, add_error)

    def _add_beside(self, read: Callable[[Any], Any], add: Callable[[Any, Any, Any], Any]) -> None:
        """Add what the model tells of itself, which may take time, as a layer."""
        record, layer = self.control.record, self.control.layer
        if record is None:
            return

        def show(found: Any) -> None:
            if layer in self._viewer.layers:
                add(self._viewer, layer, found)

        in_background(self, lambda: read(record.model), show)

    def _ask_where_to_save(self) -> None:
        record = self.control.record
        if record is None:
            return
        name = f"{self.control.layer.name}.emgauss.safetensors".replace("/", "-")
        path, _ = QFileDialog.getSaveFileName(self, "Save model", name, "EMGauss model (*.emgauss.safetensors)")
        if path:
            self.save_model(path)

    def save_model(self, path: str) -> None:
        """Copy the model of the chosen layer to a file, in the background."""
        record = self.control.record
        if record is None:
            return
        target = path if path.endswith(".safetensors") else f"{path}.emgauss.safetensors"

        def failed(error: Exception) -> None:
            self.save_button.setEnabled(True)
            why = getattr(error, "strerror", None) or problem_of(error).sentence
            sentence = (
                f"The model could not be written to {target} ({why}): it is still in the layer; save it elsewhere."
            )
            self.where.tell(sentence, theme_colours(self._viewer).error)
            notify(Problem(sentence, problem_of(error).details))

        self.save_button.setEnabled(False)

        def saved(where: Any) -> None:
            self.save_button.setEnabled(True)
            self.where.tell(f"Saved {where.name}.")

        in_background(self, lambda: record.model.save(target), saved, failed)


def is_continuous(layer: Any) -> bool:
    """Whether a layer was fitted with EMGauss."""
    record = record_of(layer)
    return record is not None and record.kind == "continuous"


def _is_source(layer: Any) -> bool:
    from napari.layers import Image

    return isinstance(layer, Image) and record_of(layer) is None and layer.ndim == 3 and not layer.rgb
