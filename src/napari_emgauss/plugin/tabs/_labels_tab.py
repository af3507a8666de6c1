"""The tab of labels: carried to all depths, saved, and brought back to the slices."""

from __future__ import annotations

import logging
from typing import Any

from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLineEdit, QPushButton, QSpinBox

from napari_emgauss._errors import StackError
from napari_emgauss.labels import CARRY_CHOICES
from napari_emgauss.plugin._background import in_background
from napari_emgauss.plugin._door import at_the_door, notify
from napari_emgauss.plugin._preferences import preferences
from napari_emgauss.plugin.process._problem import Problem, problem_of
from napari_emgauss.plugin.process._remote_labels import FittedLabels, RemoteLabels
from napari_emgauss.plugin.view._carried_layer import (
    LabelRecord,
    OnSlices,
    add_carried,
    fitted_labels,
    grid_of,
    label_record_of,
    on_slices,
    stack_of,
)
from napari_emgauss.plugin.view._continuous_layer import record_of, refresh_shown
from napari_emgauss.plugin.widgets._form import Note, Page, form_layout, heading, rule
from napari_emgauss.plugin.widgets._layer_chooser import LayerChooser
from napari_emgauss.plugin.widgets._remedy import Remedy, RemedyButton
from napari_emgauss.plugin.widgets._theme import theme_colours
from napari_emgauss.stack import slices_text

from ._depth_tab import is_continuous
from ._follow_labels import LabelFollower
from ._save_labels import SaveLabelsForm

LOGGER = logging.getLogger("napari_emgauss.plugin")

BACK_METHODS = {"nearest": "at the slice's depth", "majority": "most frequent within its thickness"}
MOST_LABELS = 2**31 - 1


class LabelsTab(Page):
    """Carry labels of some slices to all depths, save them, bring a volume back."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer
        self.followers: list[LabelFollower] = []
        self._heard: LabelRecord | None = None
        self._carrying = self._bringing = False
        self.labels = LayerChooser(viewer, is_source, "label slices in a Labels layer")
        self.labels.setToolTip("A Labels layer on the stack, in which at least two slices are labelled.")
        self.continuous = LayerChooser(viewer, is_continuous, "fit a stack, or open a model")
        self.continuous.setToolTip("The layer fitted to that stack: its model shows how structures move.")
        self.method = QComboBox()
        for name, does in CARRY_CHOICES.items():
            self.method.addItem(name, name)
            self.method.setItemData(self.method.count() - 1, does, 3)  # Qt's role of tool tips
        self.method_note = Note()
        self.unlabelled = QSpinBox()
        self.unlabelled.setRange(-1, MOST_LABELS)
        self.unlabelled.setValue(-1)
        self.unlabelled.setSpecialValueText("none: 0 is background")
        self.unlabelled.setToolTip("The value of pixels of which you know nothing; background is a label.")
        self.slices = QLineEdit()
        self.slices.setPlaceholderText("all that are not empty")
        self.slices.setToolTip("Which slices are labelled, such as 0,8,16-20; needed if one of them is all background.")
        self.carry_button = QPushButton("Carry to all depths")
        self.carry_button.setToolTip("A layer of labels beside the continuous one; it follows what you paint.")
        self.status, self.retry_button = Note(), RemedyButton()
        self.save = SaveLabelsForm(viewer)
        self.volume = LayerChooser(viewer, is_volume, "open a volume on the isotropic grid")
        self.volume.setToolTip("Labels, a mask or a probability on the isotropic grid.")
        self.back_method = QComboBox()
        for way, text in BACK_METHODS.items():
            self.back_method.addItem(text, way)
        self.back_button = QPushButton("Bring back to the slices")
        self.back_button.setToolTip("A new layer on the slices of the stack.")
        self.back_status = Note()
        self._lay_out()
        self.labels.layer_changed.connect(self._show_usable)
        self.continuous.layer_changed.connect(self._show_usable)
        self.volume.layer_changed.connect(self._show_usable)
        self.method.currentIndexChanged.connect(self._show_method)
        self.carry_button.clicked.connect(lambda: self.carry())
        self.back_button.clicked.connect(lambda: self.bring_back())
        self._removed = viewer.layers.events.removed
        self._removed.connect(self._on_removed)
        self._show_method()
        self._show_usable()

    @property
    def busy(self) -> bool:
        """Whether labels are being taken over or brought back."""
        return self._carrying or self._bringing

    def show_layer(self, layer: Any) -> None:
        """Choose the layer that a fit has added."""
        self.continuous.layer = layer

    def disconnect_viewer(self) -> None:
        """End what runs and stop listening; the widget is about to go."""
        self._removed.disconnect(self._on_removed)
        self._listen_to(None)
        for follower in self.followers:
            follower.end()
        self.followers = []
        self.save.disconnect_viewer()
        for chooser in (self.labels, self.continuous, self.volume):
            chooser.disconnect_viewer()

    def _lay_out(self) -> None:
        carry = form_layout()
        carry.addRow("Labels", self.labels)
        carry.addRow("Through", self.continuous)
        carry.addRow("How", self.method)
        carry.addRow("Unlabelled", self.unlabelled)
        carry.addRow("Slices", self.slices)
        back = form_layout()
        back.addRow("Volume", self.volume)
        back.addRow("How", self.back_method)
        column = self.column
        column.addWidget(heading("Carry labels to all depths"))
        column.addLayout(carry)
        for widget in (self.method_note, self.carry_button, self.status, self.retry_button, rule()):
            column.addWidget(widget)
        column.addWidget(heading("Save carried labels"))
        column.addWidget(self.save)
        column.addWidget(rule())
        column.addWidget(heading("Bring a volume back to the slices"))
        column.addLayout(back)
        buttons = QHBoxLayout()
        buttons.addWidget(self.back_button)
        column.addLayout(buttons)
        column.addWidget(self.back_status)
        column.addStretch(1)

    # carry

    @at_the_door
    def carry(self) -> None:
        """Add a layer with the labels at all depths, or say why that cannot be."""
        source, continuous, method = self.labels.layer, self.continuous.layer, self.method.currentData()
        try:
            read = self._reader(source, continuous)
            fitted, record = read(), record_of(continuous)
            if record is None:
                raise StackError("There is no EMGauss layer to carry labels through: fit a stack, or open a model.")
            model, device = record.model, preferences().device
        except Exception as error:
            self._fail(error)
            return
        self._carrying = True
        self._show_usable()
        self.retry_button.offer(None)
        self.status.tell("Reading the labels…")

        def make() -> RemoteLabels:
            return RemoteLabels(fitted, model, method, device=device, channel=getattr(model, "channel", 0))

        def show(labels: RemoteLabels) -> None:
            self._carrying = False
            self._show_usable()
            try:
                self._add(labels, source, continuous, read)
            except Exception as error:
                self._fail(error)

        def failed(error: Exception) -> None:
            self._carrying = False
            self._show_usable()
            self._fail(error)

        in_background(self, make, show, failed)

    def _reader(self, source: Any, continuous: Any) -> Any:
        """What reads the source as it is; the fields count as they are now."""
        unlabelled = None if self.unlabelled.value() < 0 else self.unlabelled.value()
        chosen = self.slices.text()

        def read() -> FittedLabels:
            return fitted_labels(source, continuous, unlabelled=unlabelled, chosen=chosen)

        return read

    def _add(self, labels: RemoteLabels, source: Any, continuous: Any, read: Any) -> None:
        layer = add_carried(self._viewer, labels, source, continuous)
        follower = LabelFollower(source, layer, read, lambda problem: self._on_followed(layer, problem), self)
        self.followers.append(follower)
        self.save.chooser.layer = layer
        self.volume.layer = layer
        self._listen_to(label_record_of(layer))
        LOGGER.info("Carrying %s by %s: %d labelled slices", source.name, labels.method, len(labels.labelled))
        self._tell_state()

    def _fail(self, error: BaseException) -> None:
        problem = problem_of(error, "labels")
        self._tell_problem(problem)
        notify(problem)

    def _tell_problem(self, problem: Problem, remedy: Remedy | None = None) -> None:
        self.status.tell(problem.sentence, theme_colours(self._viewer).error)
        self.retry_button.offer(remedy)

    def _on_followed(self, layer: Any, problem: Problem | None) -> None:
        """An edit of the source was taken over, or could not be."""
        record = label_record_of(layer)
        if record is None or layer not in self._viewer.layers:
            return
        self._listen_to(record)
        if problem is None:
            self._tell_state()
            return
        kept = "The carried layer shows the labels from before."
        self._tell_problem(Problem(f"{problem.sentence} {kept}", problem.details, problem.kind))
        LOGGER.warning("%s\n%s", problem.sentence, problem.details)

    def _listen_to(self, record: LabelRecord | None) -> None:
        """Hear how the layer carried, or edited, last is getting on."""
        if self._heard is not None:
            self._heard.worked.disconnect(self._tell_state)
            self._heard.troubled.disconnect(self._tell_state)
        self._heard = record
        if record is not None:
            record.worked.connect(self._tell_state)
            record.troubled.connect(self._tell_state)

    def _tell_state(self, news: Any = None) -> None:
        record = self._heard
        if record is None or self._carrying:
            return
        if record.problem is not None:
            self._tell_problem(record.problem, Remedy("Try again", self._work_again))
            return
        self.retry_button.offer(None)
        count, method = len(record.model.labelled), record.model.method
        how = "" if method == "auto" else f" by {method}"
        if record.busy:
            self.status.tell("Working out labels; meanwhile those of the nearest labelled slice are shown.")
        else:
            self.status.tell(f"{count} labelled slices carried{how}; the layer follows what you paint.")

    def _work_again(self) -> None:
        record = self._heard
        if record is None:
            return
        record.forget_problem()
        for follower in self.followers:
            if label_record_of(follower.carried) is record:
                refresh_shown(follower.carried, thumbnail=True)

    def _on_removed(self, event: Any) -> None:
        gone = event.value
        for follower in list(self.followers):
            if gone in (follower.source, follower.carried):
                record = label_record_of(follower.carried)
                follower.end()
                self.followers.remove(follower)
                if gone is follower.carried and record is self._heard:
                    self._listen_to(None)
                    self.status.tell("")
                    self.retry_button.offer(None)
                follower.deleteLater()

    # bring back

    @at_the_door
    def bring_back(self) -> None:
        """Add a layer with a volume on the slices, or say why that cannot be."""
        volume, continuous = self.volume.layer, self.continuous.layer
        try:
            grid, stack = grid_of(volume, continuous), stack_of(self._viewer, continuous)
            method, unlabelled = self.back_method.currentData(), max(self.unlabelled.value(), 0)
        except Exception as error:
            self._fail_back(error)
            return
        self._bringing = True
        self._show_usable()
        self.back_status.tell("Bringing it back…")

        def show(found: OnSlices) -> None:
            self._bringing = False
            self._show_usable()
            try:
                self._add_on_slices(found, volume)
            except Exception as error:
                self._fail_back(error)

        def failed(error: Exception) -> None:
            self._bringing = False
            self._show_usable()
            self._fail_back(error)

        in_background(self, lambda: on_slices(volume, grid, continuous, stack, method, unlabelled), show, failed)

    def _add_on_slices(self, found: OnSlices, volume: Any) -> None:
        from napari.layers import Labels

        name = f"{volume.name} on slices"
        if isinstance(volume, Labels):
            self._viewer.add_labels(found.values, name=name, colormap=volume.colormap, **found.placement)
        else:
            look = {"colormap": volume.colormap, "contrast_limits": volume.contrast_limits}
            self._viewer.add_image(found.values, name=name, **look, **found.placement)
        told = f"“{name}” holds it on {len(found.values)} slices."
        if found.not_reached:
            told += f" The volume does not reach slices {slices_text(found.not_reached)}: they stay unlabelled."
        self.back_status.tell(told)

    def _fail_back(self, error: BaseException) -> None:
        problem = problem_of(error, "labels")
        self.back_status.tell(problem.sentence, theme_colours(self._viewer).error)
        notify(problem)

    # fields

    def _show_method(self) -> None:
        does = CARRY_CHOICES[self.method.currentData()]
        self.method_note.tell(does[0].upper() + does[1:] + ".", theme_colours(self._viewer).muted_text)

    def _show_usable(self, *_: Any) -> None:
        has_model = self.continuous.layer is not None
        self.carry_button.setEnabled(has_model and self.labels.layer is not None and not self._carrying)
        self.back_button.setEnabled(has_model and self.volume.layer is not None and not self._bringing)


def is_source(layer: Any) -> bool:
    """Whether a layer may hold labels of slices."""
    from napari.layers import Labels

    return isinstance(layer, Labels) and record_of(layer) is None and layer.ndim == 3


def is_volume(layer: Any) -> bool:
    """Whether a layer may lie on the isotropic grid, and hold labels or numbers."""
    from napari.layers import Image, Labels

    if label_record_of(layer) is not None:
        return True
    ours, rgb = record_of(layer) is not None, getattr(layer, "rgb", False)
    return isinstance(layer, Image | Labels) and layer.ndim == 3 and not ours and not rgb
