"""What tests with windows share: time that passes while the event loop runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import pytest
from qtpy.QtWidgets import QApplication


class Wait(Protocol):
    """Run the event loop until something is so; fail, naming it, once the time is over."""

    def __call__(self, until: Callable[[], Any], what: str, seconds: float = ...) -> None: ...


def waiting(usually: float) -> Wait:
    """A way to wait, for so many seconds unless others are given."""

    def wait(until: Callable[[], Any], what: str, seconds: float = usually) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            QApplication.processEvents()
            time.sleep(0.005)
            if time.monotonic() > deadline:
                pytest.fail(f"waited {seconds:g} s for {what}")

    return wait
