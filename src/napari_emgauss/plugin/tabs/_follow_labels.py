"""Carried labels follow the labels that they come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer

from napari_emgauss.plugin._background import in_background
from napari_emgauss.plugin._door import at_the_door
from napari_emgauss.plugin.process._problem import Problem, problem_of
from napari_emgauss.plugin.process._remote_labels import FittedLabels
from napari_emgauss.plugin.view._carried_layer import label_record_of
from napari_emgauss.plugin.view._continuous_layer import refresh_shown
from napari_emgauss.plugin.view._layer_input import layer_data

REST_MS = 400
"""So long nobody has painted before the labels are looked at: a stroke tells many times."""


class LabelFollower(QObject):
    """Takes edits of a layer of labels over into the layer carried from it, when the brush rests.

    Parameters
    ----------
    source : napari.layers.Labels
        What is edited.
    carried : napari.layers.Labels
        What shows it at all depths.
    read : callable
        The source as it is now, as :class:`FittedLabels`; may raise what is told.
    on_done : callable
        Called with the problem, or None, after each look.
    """

    def __init__(
        self,
        source: Any,
        carried: Any,
        read: Callable[[], FittedLabels],
        on_done: Callable[[Problem | None], Any],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.source, self.carried = source, carried
        self._read, self._on_done = read, on_done
        self._looking = self._again = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REST_MS)
        self._timer.timeout.connect(self._look)
        events = source.events
        self._events = [events.paint, events.labels_update, events.data]
        if isinstance(layer_data(source), np.ndarray):
            # Written into and refreshed, as scripts and other plugins do. It comes with every step of the slider, too:
            # not for labels that would have to be read from a file each time.
            self._events.append(events.set_data)
        for event in self._events:
            event.connect(self._on_edit)

    @property
    def quiet(self) -> bool:
        """Whether nothing is waited for."""
        return not (self._timer.isActive() or self._looking)

    def end(self) -> None:
        """Follow no longer, and let the process go."""
        self._timer.stop()
        for event in self._events:
            event.disconnect(self._on_edit)
        self._events = []
        record = label_record_of(self.carried)
        if record is not None:
            record.model.close()

    def _on_edit(self, event: Any = None) -> None:
        self._timer.start()

    @at_the_door
    def _look(self) -> None:
        record = label_record_of(self.carried)
        if record is None or not self._events:
            return
        if self._looking:
            self._again = True
            return
        try:
            newer = self._read()
        except Exception as error:
            self._on_done(problem_of(error, "labels"))
            return
        self._looking = True
        in_background(self, lambda: record.model.update(newer), self._show, self._fail)

    def _show(self, has_changed: bool) -> None:
        self._looking = False
        record = label_record_of(self.carried)
        if has_changed and record is not None and self._events:
            record.cache.clear()  # of the labels before, which nobody will ask for again
            refresh_shown(self.carried, thumbnail=True)
        self._on_done(None)
        self._look_again()

    def _fail(self, error: Exception) -> None:
        self._looking = False
        self._on_done(problem_of(error, "labels"))
        self._look_again()

    def _look_again(self) -> None:
        if self._again:
            self._again = False
            self._timer.start()
