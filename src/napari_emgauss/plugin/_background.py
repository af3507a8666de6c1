"""Short work off the window's thread, with the answer delivered to it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from qtpy.compat import isalive
from qtpy.QtCore import QCoreApplication, QEventLoop, QObject, Qt, QThread, Signal

from ._door import at_the_door, notify
from .process._problem import problem_of

LOGGER = logging.getLogger("napari_emgauss.plugin")
Result = TypeVar("Result")


class _Courier(QObject):
    """Carries calls into the window's thread; lives as long as the application."""

    sent = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.sent.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    @at_the_door
    def _deliver(self, call: Callable[[], Any]) -> None:
        call()


def _courier() -> _Courier:
    app = QCoreApplication.instance()
    found = app.findChild(_Courier)
    return found if found is not None else _Courier(app)


def call_in_window(call: Callable[[], Any]) -> None:
    """Have ``call()`` done by the window's thread, soon; nothing where the application has gone.

    :func:`prepare_calls` must have been called by the window's thread before.
    """
    try:
        _courier().sent.emit(call)
    except RuntimeError:
        return


def prepare_calls() -> bool:
    """Whether there is a window's thread that calls can be sent to."""
    if QCoreApplication.instance() is None:
        return False
    _courier()
    return True


def in_background(
    owner: QObject,
    work: Callable[[], Result],
    on_result: Callable[[Result], Any],
    on_error: Callable[[Exception], Any] | None = None,
) -> None:
    """Run ``work()`` in a thread, then ``on_result(answer)`` or ``on_error(exception)`` in the window's.

    Without ``on_error`` a failure is told as a notification. Nothing is delivered when ``owner`` has gone by then; and
    nothing waits for the work when napari closes, so it must be work that may be cut short.
    """
    courier = _courier()

    def deliver(call: Callable[[], Any]) -> None:
        try:
            courier.sent.emit(lambda: call() if isalive(owner) else None)
        except RuntimeError:
            return  # the application has gone

    def run() -> None:
        try:
            answer = work()
        except Exception as error:
            failure = error  # the name of an except clause ends with it
            LOGGER.info("Background work failed: %s", failure)
            deliver(lambda: on_error(failure) if on_error is not None else notify(problem_of(failure)))
        else:
            deliver(lambda: on_result(answer))

    threading.Thread(target=run, name="emgauss-background", daemon=True).start()


def wait_responsively(work: Callable[[], Result]) -> Result:
    """Run ``work()`` in a thread and wait for its answer, while the window goes on drawing.

    For napari's readers, writers and samples, which have to return the answer. Without a window, or outside its thread,
    this is a plain call. Keys and clicks wait until the end, so nothing can be started twice.
    """
    app = QCoreApplication.instance()
    if app is None or QThread.currentThread() is not app.thread():
        return work()
    answer: list[Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="emgauss-wait", daemon=True)
    thread.start()
    loop = QEventLoop()
    while thread.is_alive():
        loop.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents, 20)
        thread.join(0.005)
    if failure:
        raise failure[0]
    return answer[0]
