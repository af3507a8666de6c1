"""Short work off the window's thread, with the answer delivered to it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from qtpy.QtCore import QCoreApplication, QEventLoop, QThread
from superqt.utils import create_worker

LOGGER = logging.getLogger("napari_emgauss.plugin")
Result = TypeVar("Result")


def in_background(
    work: Callable[[], Result],
    on_result: Callable[[Result], Any],
    on_error: Callable[[Exception], Any] | None = None,
) -> Any:
    """Run ``work()`` in a thread, then ``on_result(answer)`` or ``on_error(exception)`` in the window's."""
    # Errors go to on_error; without it they are only logged, as nobody asked for this work.
    worker = create_worker(work, _start_thread=False, _ignore_errors=True)
    worker.returned.connect(on_result)
    worker.errored.connect(on_error or (lambda error: LOGGER.warning("%s", error)))
    worker.start()
    return worker


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
