import time
from typing import Any

import numpy as np
import pytest
import stand_in_children

from napari_emgauss import StackError
from napari_emgauss.plugin.process._fit_process import FitProcess
from napari_emgauss.plugin.process._problem import ChildFailedError


class OnlyTheRegion:
    """Lazy data that refuses to be read but for the region of the test."""

    dtype = np.dtype("<u2")
    shape = (50_000, 40_000, 40_000)  # 160 TB: reading it whole would end the test run

    def __init__(self) -> None:
        self.keys: list[Any] = []

    def __getitem__(self, key: Any) -> np.ndarray:
        self.keys.append(key)
        k, rows, columns = key
        values = np.full((rows.stop - rows.start, columns.stop - columns.start), k, self.dtype)
        values[0, :2] = k - 1, k + 1  # a picture, with the same sum
        return values


def test_stop_keeps_the_result(values: np.ndarray, request_for: Any) -> None:
    fit = FitProcess(request_for(), values, target=stand_in_children.steps)
    kinds = []
    for message in fit.messages():
        if message is not None:
            kinds.append(message.kind)
            last = message
        if kinds.count("progress") == 2:
            fit.stop()
    assert kinds[0] == "device" and kinds[-1] == "stopped"
    assert 0 < last.iteration < 10_000
    # The child saw the whole stack.
    with open(last.model_path) as file:
        assert int(file.read()) == int(values.sum())
    assert not fit.alive


def test_pause_waits_and_resume_goes_on(values: np.ndarray, request_for: Any) -> None:
    fit = FitProcess(request_for(), values, target=stand_in_children.steps)
    messages = fit.messages()
    while (message := next(messages)) is None or message.kind != "progress":
        pass
    fit.pause()
    before, quiet_since = message.iteration, time.monotonic()
    while time.monotonic() - quiet_since < 0.5:  # no news for half a second
        if (message := next(messages)) is not None:
            before, quiet_since = message.iteration, time.monotonic()
    fit.resume()
    while (message := next(messages)) is None:
        pass
    assert message.iteration <= before + 60  # it stood still meanwhile
    fit.stop()
    assert [m for m in messages if m is not None][-1].kind == "stopped"


def test_stop_while_paused(values: np.ndarray, request_for: Any) -> None:
    fit = FitProcess(request_for(), values, target=stand_in_children.steps)
    kinds = []
    for message in fit.messages():
        if message is not None:
            kinds.append(message.kind)
            if message.kind == "progress" and not fit._stopping.is_set():
                fit.pause()
                fit.stop()
    assert kinds[-1] == "stopped"


def test_abandon_leaves_no_process(values: np.ndarray, request_for: Any) -> None:
    fit = FitProcess(request_for(), values, target=stand_in_children.never_answers)
    messages = fit.messages()
    next(messages)
    assert fit.alive
    fit.abandon()
    messages.close()
    assert not fit.alive


def test_failures_pass_through(values: np.ndarray, request_for: Any) -> None:
    fit = FitProcess(request_for(), values, target=stand_in_children.fails_as_expected)
    with pytest.raises(ChildFailedError, match="lower the learning rates"):
        list(fit.messages())
    assert not fit.alive


def test_lazy_data_are_read_slice_by_slice_and_only_the_region(request_for: Any) -> None:
    lazy = OnlyTheRegion()
    fit = FitProcess(request_for(region=(7, 25, 100, 121), slices=(11, 14)), lazy, target=stand_in_children.steps)
    for message in fit.messages():
        if message is not None and message.kind == "device":
            fit.stop()
        last = message
    assert lazy.keys[:4] == [(k, slice(7, 25), slice(100, 121)) for k in (11, 12, 13, 14)]
    # And windows of a few slices, by which the stack is known again.
    assert all(rows.stop - rows.start <= 256 and columns.stop - columns.start <= 256 for _, rows, columns in lazy.keys)
    with open(last.model_path) as file:
        assert int(file.read()) == 18 * 21 * (11 + 12 + 13 + 14)


def test_nan_is_told_with_its_slice(values: np.ndarray, request_for: Any) -> None:
    broken = values.astype(np.float32)
    broken[3, 5, 7] = np.nan
    fit = FitProcess(request_for(), broken, target=stand_in_children.steps)
    with pytest.raises(StackError, match="Slice 3 of “a stack” holds NaN"):
        list(fit.messages())
