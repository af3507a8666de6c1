"""Unfinished fits on the disk."""

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_emgauss.fitting import FitConfig, fit
from napari_emgauss.plugin.process import _fit_store
from napari_emgauss.plugin.process._fit_store import (
    SavedFit,
    checkpoint_path,
    forget,
    saved_fit,
    store_folder,
    tidy,
    tiles_path,
)
from napari_emgauss.stack import stack_from_array


@pytest.fixture
def request_of(request_for: Callable[..., Any]) -> Any:
    return request_for(layer_shape=(5, 24, 32))


def test_an_unfinished_fit_is_found_again(request_of: Any, values: np.ndarray) -> None:
    assert saved_fit(request_of) is None
    config = FitConfig(prior="ema", iterations_scale=0.01, grid_channels=4, head_width=8)
    updates = fit(stack_from_array(values, (40.0, 4.0, 5.0)), config, checkpoint=checkpoint_path(request_of))
    for update in updates:
        if update.iteration > 3:
            break
    updates.close()
    found = saved_fit(request_of)
    assert found is not None and found.iteration == update.iteration
    assert found.fraction == pytest.approx(update.iteration / update.total_iterations)
    # Other settings are the same stack; other slices are not.
    assert saved_fit(dataclasses.replace(request_of, preset="fast")) == dataclasses.replace(
        found, age_s=pytest.approx(0, abs=60)
    )
    assert saved_fit(dataclasses.replace(request_of, skip=(2,))) is None
    assert saved_fit(dataclasses.replace(request_of, region=(0, 20, 0, 32))) is None
    forget(request_of)
    assert saved_fit(request_of) is None


def test_tiles_belong_to_settings(request_of: Any) -> None:
    tiled = dataclasses.replace(request_of, tiles={"pixels": 64})
    assert tiles_path(tiled) != tiles_path(dataclasses.replace(tiled, preset="fast"))
    assert tiles_path(tiled).name.endswith(".emgauss")
    assert saved_fit(tiled) is None


def test_what_is_no_checkpoint_is_none(request_of: Any) -> None:
    checkpoint_path(request_of).write_bytes(b"\x10\0\0\0\0\0\0\0 no checkpoint")
    assert saved_fit(request_of) is None


def test_old_ones_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fit_store, "KEPT", 2)
    names = ["a.safetensors", "b.emgauss", "c.safetensors", "d.safetensors"]
    for age_days, name in enumerate(reversed(names)):
        path = store_folder() / name
        path.mkdir() if name.endswith(".emgauss") else path.touch()
        when = time.time() - age_days * 90_000
        os.utime(path, (when, when))
    tidy()
    assert sorted(path.name for path in Path(store_folder()).iterdir()) == ["c.safetensors", "d.safetensors"]


def test_sentences() -> None:
    assert SavedFit(0.34, 300.0, 12).sentence() == (
        "A fit of this stack was stopped 5 min ago with 34 % done: it can go on."
    )
    assert "with 3 of 12 tiles done" in SavedFit(0.25, 7200.0, tiles=(3, 12)).sentence()
