"""Measuring this machine, once, while the user looks at the widget."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from napari_emgauss.plugin._background import in_background
from napari_emgauss.plugin.process._estimate import Speed, write_speed
from napari_emgauss.plugin.process._job import Job, JobDone
from napari_emgauss.plugin.process._problem import problem_of
from napari_emgauss.plugin.process._speed_child import measure_speed_in_child

LOGGER = logging.getLogger("napari_emgauss.plugin")


class SpeedTrial:
    """Runs the trial in the background and keeps its result.

    Parameters
    ----------
    owner : QObject
        Nothing is told when it has gone.
    on_result : callable
        Called in the window's thread when the speed is known.
    on_failure : callable
        Called in the window's thread when it will not be known: :meth:`sentence` says why.
    """

    def __init__(self, owner: Any, on_result: Callable[[], Any], on_failure: Callable[[], Any]) -> None:
        self._owner, self._on_result, self._on_failure = owner, on_result, on_failure
        self._job: Job | None = None
        self._failures: dict[str, str] = {}
        self._tried: set[str] = set()

    def start(self, device: str) -> None:
        """Measure a device, unless that was tried before."""
        if device in self._tried or self._job is not None:
            return
        self._tried.add(device)
        job = self._job = Job(measure_speed_in_child, (device,), name="speed")

        def measure() -> Speed | None:
            for message in job.messages():
                if isinstance(message, JobDone):
                    return message.result
            return None

        def done(speed: Speed | None) -> None:
            if self._job is not job:  # abandoned
                return
            self._job = None
            if speed is not None:
                write_speed(device, speed)
                self._on_result()

        def failed(error: Exception) -> None:
            if self._job is not job:
                return
            self._job = None
            problem = problem_of(error)
            LOGGER.warning("Measuring the speed failed: %s\n%s", problem.sentence, problem.details)
            self._failures[device] = problem.sentence
            self._on_failure()

        in_background(self._owner, measure, done, failed)

    def sentence(self, device: str) -> str:
        """What is known of a device whose speed is not."""
        if device in self._failures:
            return "How long it takes is not known: this machine's speed could not be measured (see the log)."
        return "Measuring how fast this machine is…" if self._job is not None else ""

    def abandon(self) -> None:
        """End it at once, without a result."""
        if self._job is not None:
            self._job.abandon()
            self._job = None
