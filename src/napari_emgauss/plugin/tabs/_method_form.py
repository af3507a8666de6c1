"""How to fit: preset, device with the reason for it, what it will cost, and everything else folded away."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QWidget

from napari_emgauss._errors import EmgaussError
from napari_emgauss.plugin._background import in_background
from napari_emgauss.plugin._preferences import preferences
from napari_emgauss.plugin.process._estimate import FitPlan, read_speed, time_range
from napari_emgauss.plugin.process._problem import problem_of
from napari_emgauss.plugin.process._reckoning import Fingerprints, Reckoning, reckon
from napari_emgauss.plugin.process._render_child import DeviceInfo
from napari_emgauss.plugin.process._render_service import RenderService
from napari_emgauss.plugin.process._request import FitRequest
from napari_emgauss.plugin.widgets._form import Note, fold, form_layout, stack_up
from napari_emgauss.plugin.widgets._theme import theme_colours

from ._settings_form import SettingsForm
from ._speed_trial import SpeedTrial


class MethodForm(QWidget):
    """Preset, device, estimate, advanced settings."""

    changed = Signal()
    planned = Signal()
    """The estimate is there."""

    def __init__(self, viewer: Any, service: RenderService, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        from napari_emgauss.fitting import preset, preset_info, preset_names

        self._viewer, self._service, self._make_preset = viewer, service, preset
        self._wanted: FitRequest | None = None
        self._values: Any = None
        self._asked: FitRequest | None = None
        self._then: Callable[[], Any] | None = None
        self._fingerprints = Fingerprints()
        self.reckoning: Reckoning | None = None
        self._trial = SpeedTrial(self, self._tell_cost, self._tell_cost)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(120)
        self._soon.timeout.connect(self._ask_cost)
        self.device_info: DeviceInfo | None = None
        chosen = preferences()
        self.preset = QComboBox()
        self.preset.addItems(preset_names())
        for index in range(self.preset.count()):
            self.preset.setItemData(index, preset_info(self.preset.itemText(index)).note, 3)  # Qt.ToolTipRole
        self.preset.setCurrentText(chosen.preset)
        notes = " ".join(f"{name}: {preset_info(name).note}" for name in preset_names())
        self.preset.setToolTip(f"A named set of settings. {notes}")
        self.device = QComboBox()
        self.device.setEditable(True)
        self.device.addItems(["auto", "cpu", "cuda:0", "mps"])
        self.device.setCurrentText(chosen.device)
        self.device.setToolTip("Where to fit. “auto” uses a graphics card if one can be used.")
        self.tiles = QComboBox()
        self.tiles.addItems(["when needed", "never", "always"])
        self.tiles.setToolTip(
            "Fit the region in tiles with smooth seams. Needed when a single fit does not fit into memory; a "
            "stopped fit "
            "in tiles can be resumed."
        )
        self.device_note, self.cost = Note("Looking for a graphics card…"), Note()
        self.reuse = QCheckBox("Use what the prior has learned before")
        self.reuse.setChecked(True)
        self.reuse.setToolTip("Untick this to train the prior anew, on what is fitted now.")
        self.reuse.hide()
        self.kept_note = Note()
        self.settings = SettingsForm()
        self.advanced = fold("Advanced settings", self.settings)

        form = form_layout()
        form.addRow("Preset", self.preset)
        form.addRow("Device", self.device)
        form.addRow("Tiles", self.tiles)
        stack_up(self, form, self.device_note, self.cost, self.reuse, self.kept_note, self.advanced)
        self.preset.currentTextChanged.connect(self._on_preset)
        self.device.currentTextChanged.connect(self._on_device)
        self.tiles.currentIndexChanged.connect(self._show_cost)
        self.reuse.toggled.connect(self._show_cost)
        self.settings.changed.connect(self._on_settings)
        self._on_preset(self.preset.currentText())
        self._on_device(self.device.currentText())

    def disconnect_viewer(self) -> None:
        """End a running trial; the widget is about to go."""
        self._soon.stop()
        self._trial.abandon()

    @property
    def plan(self) -> FitPlan | None:
        """What the chosen fit will take; None while it is not known."""
        return None if self.reckoning is None else self.reckoning.plan

    def set_wanted(self, wanted: FitRequest | None, values: Any = None) -> None:
        """What would be fitted, and the data of its layer; None while there is nothing to fit."""
        if wanted != self._wanted or values is not self._values:
            self._wanted, self._values = wanted, values
            self._show_cost()

    def reckon_again(self) -> None:
        """Something was learned, of a stack or of this machine."""
        self._show_cost()

    def chosen(self) -> dict[str, Any]:
        """What is chosen here, as fields of a :class:`FitRequest`."""
        return {
            "preset": self.preset.currentText(),
            "device": self.device.currentText(),
            "overrides": self.settings.overrides(),
            "reuse_prior": self.reuse.isChecked(),
        }

    def when_planned(self, call: Callable[[], Any]) -> None:
        """Call once the plan of the present choice is there: now, or soon; not at all where there can be none."""
        if self._soon.isActive():
            self._then = call
        else:
            call()

    def expected(self, plan: FitPlan | None) -> tuple[float, float] | None:
        """Seconds that the prior and the iterations of a plan will take, as far as is known."""
        if plan is None or self.device_info is None:
            return None
        speed = read_speed(self.device_info.device)
        if speed is None:
            return None
        return plan.work.prior_s * speed.prior, plan.work.iterations_s * speed.iteration

    def end_trial(self) -> None:
        """A fit begins: it wants the machine for itself."""
        self._trial.abandon()

    def follow_preferences(self) -> None:
        """Take over the device of the preferences, which the user has just changed."""
        self.device.setCurrentText(preferences().device)

    def choose(self, *, prior: str | None = None, preset: str | None = None) -> None:
        """Set the preset, the prior, or both, and show the prior, which is among the advanced settings."""
        if preset is not None:
            self.preset.setCurrentText(preset)
        if prior is not None:
            self.settings.set_value("prior", prior)
            self.advanced.expand()

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
                self.device_note.tell(problem_of(error).sentence, theme_colours(self._viewer).error)
                self._show_cost()

        in_background(self, lambda: self._service.describe_device(device), show, refuse)

    def _show_cost(self) -> None:
        self.reckoning = self._then = None
        if self._wanted is None or self.device_info is None:
            self.cost.tell("")
            self._tell_kept()
            return
        self._soon.start()

    def _ask_cost(self) -> None:
        """Have it reckoned in the background: slices are looked at, and the rendering process has torch."""
        if self._wanted is None or self.device_info is None:
            return
        try:
            self.config()
        except EmgaussError as error:
            self._refuse_cost(error)
            return
        request = dataclasses.replace(self._wanted, **self.chosen())
        values, tiles = self._values, self.tiles.currentText()
        self._asked = request

        def show(reckoning: Reckoning) -> None:
            if self._asked is request:
                self.reckoning = reckoning
                self._tell_cost()
                self._tell_kept()
                then, self._then = self._then, None
                self.planned.emit()
                if then is not None:
                    then()

        in_background(
            self,
            lambda: reckon(request, values, tiles, self._fingerprints, self._service.plan),
            show,
            self._refuse_cost,
        )

    def _refuse_cost(self, error: Exception) -> None:
        self._then = None
        self.cost.tell(problem_of(error).sentence, theme_colours(self._viewer).error)

    def _tell_cost(self) -> None:
        if self.reckoning is None or self.device_info is None:
            return
        plan, patch = self.reckoning.plan, self.reckoning.patch
        colours = theme_colours(self._viewer)
        speed = read_speed(self.device_info.device)
        text = plan.sentence(speed)
        if speed is not None and patch is not None:
            text += f" A patch: {time_range(patch.plan.work, speed)}."
        if speed is None and not plan.problem:
            self._trial.start(self.device_info.device)
            text += " " + self._trial.sentence(self.device_info.device)
        self.cost.tell(text, colours.warning if plan.problem else colours.muted_text)

    def _tell_kept(self) -> None:
        """Say which prior will be used that has learned before, and let the user choose."""
        kept = None if self.reckoning is None else self.reckoning.kept
        self.reuse.setVisible(kept is not None)
        told = "" if kept is None or not self.reuse.isChecked() else f"{kept.sentence} is used: no need to learn again."
        self.kept_note.tell(told, theme_colours(self._viewer).muted_text)
