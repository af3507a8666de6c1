"""Unfinished fits on the disk."""

import dataclasses
import json
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
from napari_emgauss.tiles import TileSize, fit_tiles


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


def _age(path: Path, days: float) -> None:
    when = time.time() - days * 90_000
    os.utime(path, (when, when))


def _checkpoint(name: str, days: float) -> Path:
    from safetensors.numpy import save_file

    path = store_folder() / name
    header = json.dumps({"format": "napari-emgauss-checkpoint"})
    save_file({"x": np.zeros(1)}, path, {"emgauss": header})
    _age(path, days)
    return path


def test_old_ones_go_and_what_is_not_ours_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fit_store, "KEPT", 2)
    ours = [_checkpoint(f"{k:016x}.checkpoint.safetensors", k) for k in range(5)]
    foreign = {  # the folder is one that the user named, with the user's own files in it
        "stack.tif": b"II*\0 a year of work",
        "notes.checkpoint.safetensors": b"mine",
        f"{7:016x}.checkpoint.safetensors": b"the name of ours, the content of mine",
    }
    for name, content in foreign.items():
        (store_folder() / name).write_bytes(content)
        _age(store_folder() / name, 400)
    series = store_folder() / f"{9:016x}-{1:08x}.emgauss"  # a folder with the name of ours
    series.mkdir()
    (series / "index.json").write_text("{}")
    (series / "slice.tif").write_bytes(b"mine")
    _age(series, 400)
    tidy()
    left = {path.name for path in store_folder().iterdir()}
    assert left == {ours[0].name, ours[1].name, *foreign, series.name}
    assert sorted(path.name for path in series.iterdir()) == ["index.json", "slice.tif"]
    for name, content in foreign.items():
        assert (store_folder() / name).read_bytes() == content


def test_a_folder_of_tiles_loses_our_files_only(request_of: Any, values: np.ndarray) -> None:
    tiled = dataclasses.replace(
        request_of, tiles={"pixels": 64, "halo_pixels": 4, "window_slices": 24, "overlap_slices": 3}
    )
    config = FitConfig(prior="linear", iterations_scale=0.005, grid_channels=4, head_width=8, device="cpu")
    stack = stack_from_array(values, (40.0, 4.0, 5.0))
    for _ in fit_tiles(stack, config, folder=tiles_path(tiled), size=TileSize(**tiled.tiles)):
        pass
    mine = tiles_path(tiled) / "tiles" / "segmentation.tif"
    mine.write_bytes(b"mine")
    forget(tiled)
    assert [path.relative_to(tiles_path(tiled)) for path in tiles_path(tiled).rglob("*") if path.is_file()] == [
        Path("tiles/segmentation.tif")
    ]


def test_sentences() -> None:
    assert SavedFit(0.34, 300.0, 12).sentence() == (
        "A fit of this stack was stopped 5 min ago with 34 % done: it can be resumed."
    )
    assert (
        SavedFit(0.34, 300.0, 12, preset="preset fast").sentence().startswith("A fit of this stack (preset fast) was")
    )
    assert "with its prior 40 % learned" in SavedFit(0.0, 300.0, prior=0.4).sentence()
    assert "with 3 of 12 tiles done" in SavedFit(0.25, 7200.0, tiles=(3, 12)).sentence()
