"""The button under a failure: the one thing that there is to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qtpy.QtWidgets import QPushButton, QWidget


@dataclass(frozen=True)
class Remedy:
    """What a user can do about a failure.

    Parameters
    ----------
    text : str
        On the button.
    act : callable
        Does it.
    """

    text: str
    act: Callable[[], Any]


class RemedyButton(QPushButton):
    """Hidden until there is something to do."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._remedy: Remedy | None = None
        self.clicked.connect(self._act)
        self.hide()

    def offer(self, remedy: Remedy | None) -> None:
        """Show what can be done; None takes the offer back."""
        self._remedy = remedy
        self.setText("" if remedy is None else remedy.text)
        self.setToolTip("" if remedy is None else f"{remedy.text}.")
        self.setVisible(remedy is not None)

    def _act(self) -> None:
        remedy = self._remedy
        self.offer(None)
        if remedy is not None:
            remedy.act()
