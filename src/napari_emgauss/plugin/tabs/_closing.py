"""The end of the window: what runs is told of in our words, and a fit's state is kept before napari goes."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QEventLoop, QObject, Qt, QTimer
from qtpy.QtWidgets import QDialog, QMainWindow, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_emgauss.plugin._door import at_the_door
from napari_emgauss.plugin.widgets._form import Note

LOGGER = logging.getLogger("napari_emgauss.plugin")

QUIET_S = 0.3
"""A wait that is shorter is not worth a note."""
PATIENCE_S = 20.0
"""After it one is asked whether to wait any longer."""


class ClosingGuard(QObject):
    """Watches the window that a dock is in.

    Parameters
    ----------
    dock : QWidget
        The dock.
    what_runs : callable
        One sentence for each piece of work that closing would end: ``[]`` where nothing runs.
    keep_work : callable
        Ends the work; returns at once.
    still_keeping : callable
        Whether something is still being written.
    give_up : callable
        Ends the writing.
    """

    def __init__(
        self,
        dock: QWidget,
        what_runs: Callable[[], list[str]],
        keep_work: Callable[[], Any],
        still_keeping: Callable[[], bool],
        give_up: Callable[[], Any],
    ) -> None:
        super().__init__(dock)
        self._dock, self._what_runs, self._keep_work = dock, what_runs, keep_work
        self._still_keeping, self._give_up = still_keeping, give_up
        self._watched: weakref.ref[QMainWindow] | None = None
        self._sure = False

    def watch(self) -> None:
        """Find the window; call when the dock is shown."""
        above: Any = self._dock
        while above is not None and not isinstance(above, QMainWindow):
            above = above.parent()
        before = self.window
        if above is before or above is None:
            return
        if before is not None:
            before.removeEventFilter(self)
        self._watched = weakref.ref(above)  # we must not keep it alive
        above.installEventFilter(self)

    @property
    def window(self) -> QMainWindow | None:
        """The window that is watched."""
        found = None if self._watched is None else self._watched()
        return found if found is not None and isalive(found) else None

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Qt asks; True keeps the event from the window."""
        if event is None or watched is not self.window or event.type() != QEvent.Type.Close:
            return False
        running = self._what_runs()
        if running and event.spontaneous() and not self._sure:
            event.ignore()
            QTimer.singleShot(0, self._ask)
            return True
        self.wait()
        return False

    @at_the_door
    def _ask(self) -> None:
        """Napari's own question would come after ours, and say less; so the window is closed from here."""
        window = self.window
        if self.question().exec() == QMessageBox.StandardButton.Close and window is not None:
            self._sure = True
            window.close()

    def question(self) -> QMessageBox:
        """What is asked before work is ended."""
        box = QMessageBox(self.window)
        box.setWindowTitle("Close napari?")
        box.setIcon(QMessageBox.Icon.Question)
        box.setText("EMGauss is still working.")
        box.setInformativeText("\n\n".join(self._what_runs()))
        box.setStandardButtons(QMessageBox.StandardButton.Close | QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(QMessageBox.StandardButton.Cancel)
        return box

    def wait(self) -> None:
        """End the work and wait until what it keeps is on the disk, with a note where that takes a moment."""
        self._keep_work()
        began, note = time.monotonic(), None
        loop = QEventLoop()
        while self._still_keeping():
            waited = time.monotonic() - began
            if note is None and waited > QUIET_S:
                note = SavingNote(self.window, self._give_up)
                note.show()
            if note is not None:
                note.show_time(waited)
            loop.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 50)
            time.sleep(0.02)
        if note is not None:
            note.done(0)
            LOGGER.info("Waited %.1f s for the fit's state", time.monotonic() - began)


class SavingNote(QDialog):
    """What one sees while the state of a fit is written and the window waits to close."""

    def __init__(self, parent: QWidget | None, give_up: Callable[[], Any]) -> None:
        super().__init__(parent)
        self.setWindowTitle("EMGauss")
        self.setModal(True)
        self.setWindowFlag(Qt.WindowType.WindowCloseButtonHint, False)
        self.setMinimumWidth(420)
        self.text = Note()
        self.give_up_button = QPushButton("Close without it")
        self.give_up_button.setToolTip("Stop waiting: what has not been saved so far is lost.")
        self.give_up_button.clicked.connect(give_up)
        self.give_up_button.hide()
        column = QVBoxLayout(self)
        column.addWidget(self.text)
        column.addWidget(self.give_up_button)

    def show_time(self, waited_s: float) -> None:
        """How long it has been."""
        self.text.tell(f"Keeping the state of the fit, so that it can be resumed later… {waited_s:.0f} s")
        self.give_up_button.setVisible(waited_s > PATIENCE_S)

    def reject(self) -> None:
        """Escape does not end the wait."""
