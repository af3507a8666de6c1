"""A real fit that is stopped, and one that is killed, go on."""

import dataclasses
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_emgauss.plugin.process._fit_process import FitProcess
from napari_emgauss.plugin.process._fit_store import saved_fit
from napari_emgauss.plugin.process._problem import ChildFailedError

LONG = {"prior": "ema", "grid_channels": 4, "head_width": 8, "warm_up": False, "joint": False}


def _run(request: Any, values: np.ndarray, until: Callable[[FitProcess, Any], bool]) -> list[Any]:
    """Messages of a fit until ``until`` is true, which stops it."""
    process, told = FitProcess(request, values), []
    for message in process.messages():
        if message is not None:
            told.append(message)
            if until(process, message):
                process.stop()
    return told


@pytest.fixture
def long_fit(request_for: Callable[..., Any]) -> Any:
    return request_for(layer_shape=(5, 24, 32), device="cpu", overrides={**LONG, "iterations_scale": 0.4})


def test_a_stopped_fit_goes_on_with_its_own_settings(long_fit: Any, values: np.ndarray) -> None:
    told = _run(long_fit, values, lambda process, message: message.iteration > 20)
    stopped = told[-1]
    assert stopped.kind == "stopped" and Path(stopped.model_path).is_file()
    saved = saved_fit(long_fit)
    assert saved is not None and saved.iteration >= stopped.iteration
    # What the form says by then does not matter.
    again = dataclasses.replace(long_fit, resume=True, preset="fast", overrides={})
    told = _run(again, values, lambda process, message: False)
    first = next(message for message in told if message.iteration)
    assert first.iteration >= saved.iteration and first.total_iterations == stopped.total_iterations
    assert told[-1].kind == "finished" and told[-1].elapsed_s > stopped.elapsed_s
    assert saved_fit(long_fit) is None


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
def test_a_fit_that_is_ended_from_outside_keeps_its_state(long_fit: Any, values: np.ndarray) -> None:
    def end(process: FitProcess, message: Any) -> bool:
        if message.iteration > 20 and process.alive:
            os.kill(process.pid, signal.SIGTERM)
        return False

    with pytest.raises(ChildFailedError, match="ended from outside"):
        _run(long_fit, values, end)
    assert saved_fit(long_fit).iteration > 0


def test_tiles_go_on_where_they_were(request_for: Callable[..., Any]) -> None:
    values = np.random.default_rng(0).integers(0, 255, (5, 64, 130)).astype(np.uint8)
    tiled = request_for(
        region=(0, 64, 0, 130),
        layer_shape=(5, 64, 130),
        device="cpu",
        overrides={**LONG, "iterations_scale": 0.002},
        tiles={"pixels": 64, "halo_pixels": 8, "window_slices": 24, "overlap_slices": 3},
    )
    told = _run(tiled, values, lambda process, message: message.iteration >= 333)
    assert told[-1].kind == "stopped" and told[-1].stage == "tiles"
    saved = saved_fit(tiled)
    assert saved is not None and saved.tiles is not None and 1 <= saved.tiles[0] < saved.tiles[1] == 3
    told = _run(dataclasses.replace(tiled, resume=True), values, lambda process, message: False)
    assert told[-1].kind == "finished" and told[-1].text == "3 of 3 tiles"
    assert min(message.iteration for message in told if message.stage) >= 300
    assert Path(told[-1].model_path).is_dir()
