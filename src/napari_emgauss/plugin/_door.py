"""The window's door: a failure is told in one sentence, and its traceback goes to the log."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec

from napari_emgauss.plugin.process._problem import Problem, problem_of

LOGGER = logging.getLogger("napari_emgauss.plugin")
Arguments = ParamSpec("Arguments")


def notify(problem: Problem) -> None:
    """A notification of napari, and a line in the log."""
    from napari.utils.notifications import show_error

    LOGGER.error("%s\n%s", problem.sentence, problem.details)
    show_error(problem.sentence)


def take_back(sentence: str) -> None:
    """Close the notification of a problem that there is no more."""
    from qtpy.QtWidgets import QApplication, QLabel, QWidget

    for widget in QApplication.allWidgets():
        # napari keeps them to itself; any toast with our very words is ours.
        if type(widget).__name__ != "NapariQtNotification" or not isinstance(widget, QWidget):
            continue
        if any(label.text() == sentence for label in widget.findChildren(QLabel)):
            widget.close()


def at_the_door(slot: Callable[Arguments, Any]) -> Callable[Arguments, None]:
    """For slots: what they did not expect becomes a sentence; Qt would show a traceback, or end the application."""

    @functools.wraps(slot)
    def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            slot(*args, **kwargs)
        except Exception as error:
            notify(problem_of(error))

    return guarded
