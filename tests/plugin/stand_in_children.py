"""Targets for child processes that behave as a fit does, without torch."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from napari_emgauss import Progress
from napari_emgauss._errors import BackendError, FitError
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


def stops_at_once(channel: Channel, *args: Any) -> None:
    """A fit that runs until it is stopped, without a result."""
    while not channel.stop_wanted:
        channel.tell_progress(FitMessage("progress", "joint", 1, 10))
        time.sleep(0.05)
    channel.tell(FitMessage("stopped"))


def has_no_device(channel: Channel, *args: Any) -> None:
    raise BackendError("The device cuda:7 cannot be used here: there is none.")


def leaves_without_a_word(channel: Channel, *args: Any) -> None:
    os._exit(7)


def leaves_without_an_answer(channel: Channel, *args: Any) -> None:
    channel.tell(FitMessage("progress", "joint", 1, 10))


def is_killed_at_once(channel: Channel, *args: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def is_killed_while_answering(channel: Channel, *args: Any) -> None:
    """Half of a message: its length, then nothing."""
    channel.tell(FitMessage("progress", "joint", 1, 10))
    os.write(channel._connection.fileno(), (1000).to_bytes(4, "big") + b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)


def says_what_cannot_be_sent(channel: Channel, *args: Any) -> None:
    channel.tell(lambda: None)


def says_what_cannot_be_read(channel: Channel, *args: Any) -> None:
    channel._connection.send_bytes(b"\x80\x04\x8c\x06nowhen\x8c\x07Nowhere\x93.")  # a class of a module nowhere


def finishes_with(model: Path) -> Any:
    """A fit whose result is the model ``model``."""
    return functools.partial(_finish, str(model))


def _finish(model: str, channel: Channel, request: Any, data: Any, folder: str) -> None:
    result = Path(folder) / "result.emgauss.safetensors"
    shutil.copyfile(model, result)
    channel.tell(FitMessage("progress", "joint", 1, 10))
    channel.tell(FitMessage("finished", "joint", 10, 10, 0.1, 7, 1.0, 0.0, model_path=str(result)))


def finishes_unfitted(channel: Channel, request: Any, data: Any, folder: str) -> None:
    """A fit whose result is a model of what was asked for, unfitted."""
    from napari_emgauss.model import ModelConfig
    from napari_emgauss.plugin.process._fit_child import request_stack
    from napari_emgauss.render import EmgaussModel

    stack = request_stack(request, data)
    model = EmgaussModel(
        ModelConfig(grid_channels=4, head_width=8),
        stack.z_nm,
        stack.pixel_size_nm,
        stack.shape[1:],
        stack.normalisation,
        60,
        provenance={"name": stack.name, "stack": stack.metadata},
    )
    result = Path(folder) / "result.emgauss.safetensors"
    model.save(result)
    channel.tell(FitMessage("device", text="cpu", note="The prior learned yesterday is used."))
    channel.tell(FitMessage("progress", "teacher-student", 1, 10))
    channel.tell(FitMessage("finished", "teacher-student", 10, 10, 0.1, 7, 1.0, 0.0, model_path=str(result)))


def finishes_when(signal_file: Path, model: Path) -> Any:
    """The same, once there is a file ``signal_file``; until then the prior learns."""
    return functools.partial(_finish_when, str(signal_file), str(model))


def _finish_when(signal_file: str, model: str, channel: Channel, request: Any, data: Any, folder: str) -> None:
    channel.tell(FitMessage("progress", "prior", stage_fraction=0.1))
    while not Path(signal_file).exists() and not channel.stop_wanted:
        time.sleep(0.02)
    if channel.stop_wanted:
        channel.tell(FitMessage("stopped"))
    else:
        _finish(model, channel, request, data, folder)


def saves_slowly(channel: Channel, request: Any, data: Any, folder: str) -> None:
    """A fit whose state takes longer to write than anybody waits for a process to end."""
    channel.tell(FitMessage("progress", "prior", stage_fraction=0.3))
    try:
        while not channel.stop_wanted:
            time.sleep(0.02)
    finally:
        with channel.saving():
            for _ in range(50):
                time.sleep(0.1)
            Path(request.source).write_text("all of it")


def saves_for_ever(channel: Channel, *args: Any) -> None:
    channel.tell(FitMessage("progress", "prior", stage_fraction=0.3))
    with channel.saving():
        time.sleep(600)
