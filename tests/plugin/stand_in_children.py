"""Targets for child processes that behave as a fit does, without torch."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from napari_emgauss import Progress
from napari_emgauss._errors import FitError
from napari_emgauss.plugin.process._fit_child import FitMessage
from napari_emgauss.plugin.process._job import answer_job
from napari_emgauss.plugin.process._process import Channel


def steps(channel: Channel, request: Any, data: Any, folder: str) -> None:
    """A fit of 10,000 quick iterations that hands over the sum of its data."""
    total = int(data.array().sum())
    channel.tell(FitMessage("device", text="cpu: a stand-in"))
    done = 0
    for done in range(1, 10_001):
        channel.wait_while_paused()
        if channel.stop_wanted:
            break
        message = FitMessage("progress", "joint", done, 10_000, 1 / done, 7, 0.1 * done, 1.0)
        channel.tell_progress(message)
        time.sleep(0.002)
    result = Path(folder) / "result.emgauss.safetensors"
    result.write_text(str(total))
    kind = "finished" if done == 10_000 else "stopped"
    channel.tell(FitMessage(kind, "joint", done, 10_000, 0.1, 7, 1.0, 0.0, model_path=str(result)))


def fails_as_expected(channel: Channel, *args: Any) -> None:
    raise FitError("The loss is no number any more: lower the learning rates.")


def fails_by_surprise(channel: Channel, *args: Any) -> None:
    raise ZeroDivisionError("division by zero")


def runs_out_of_memory(channel: Channel, *args: Any) -> None:
    raise MemoryError


def is_killed(channel: Channel, *args: Any) -> None:
    channel.tell(FitMessage("progress", "joint", 1, 10))
    os.kill(os.getpid(), signal.SIGKILL)


def never_answers(channel: Channel, *args: Any) -> None:
    while True:
        time.sleep(0.1)


def job_of_ten(channel: Channel, folder: str) -> None:
    """A job of ten steps that keeps a file while it works."""

    def work(progress: Progress) -> int:
        partial = Path(folder) / "partial"
        partial.touch()
        try:
            for k in range(10):
                progress.tell(k / 10, f"step {k}")
                time.sleep(0.15)
        finally:
            partial.unlink()
        return 10

    answer_job(channel, work)
