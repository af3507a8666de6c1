from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from napari_emgauss import (
    ConfigError,
    ExportError,
    FitConfig,
    FitError,
    ModelFileError,
    Stack,
    get_prior,
    read_stack,
    run_fit,
)
from napari_emgauss.tiles import RunOptions, TiledModel, TileSize, _clock, cut, fit_tiles, load, run_fit_tiles
from napari_emgauss.tiles._task import tile_task

SIZE = TileSize(70, 8, 4, 2)


def content(folder: Path) -> dict[str, bytes]:
    """Everything that equal runs must have in common, by name."""
    paths = [folder / "index.json", *sorted((folder / "tiles").iterdir())]
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module's one whole run lies; set by the first test that needs it."""
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.fixture
def whole_run(finished: Path, small_stack: Stack, quick_config: FitConfig) -> Path:
    if not finished.exists():
        run_fit_tiles(small_stack, quick_config, folder=finished, size=SIZE)
    return finished


def test_messages_tell_how_far_the_run_is(small_stack: Stack, quick_config: FitConfig, tmp_path: Path) -> None:
    updates = list(fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE))
    assert updates[0].tiles_total == 6  # three depth windows, two tiles along y
    assert updates[0].text == "6 tiles (3 x 2 x 1: z, y, x)."
    done = [update.tiles_done for update in updates]
    assert done == sorted(done) and done[0] == 0 and done[-1] == 6
    assert [update.finished for update in updates] == [False] * (len(updates) - 1) + [True]
    assert updates[-1].fraction == 1.0 and updates[-1].eta_s == 0.0
    assert any(update.running and update.running[0].name == "z0000_y0000_x0000" for update in updates)
    assert sum("Gaussians in" in update.text for update in updates) == 6
    assert updates[-1].model.version == 6
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [entry["tile"] for entry in log] == [tile.name for tile in updates[-1].model.index.plan]
    assert all(entry["seconds"] > 0 and entry["gaussians"] > 0 for entry in log)


def test_the_result_shows_the_stack(small_stack: Stack, quick_config: FitConfig, tmp_path: Path) -> None:
    config = replace(quick_config, teacher_student_iterations=300, pixels_per_gaussian=8.0)
    model = run_fit_tiles(small_stack, config, folder=tmp_path / "run", size=TileSize(70, 8, 7, 2))
    error = np.abs(model.render(small_stack.z_nm).astype(float) - np.asarray(small_stack.slices))
    assert error.mean() < 12  # of a signal whose mean deviation is 48
    across = error[:, 66:74].mean()  # around the border of the tiles, where they are blended
    assert across < 1.25 * error.mean()


def test_a_tile_is_the_fit_of_its_part_of_the_stack(
    whole_run: Path, small_stack: Stack, quick_config: FitConfig
) -> None:
    tile = cut(small_stack.shape, small_stack.z_nm, SIZE).tile((1, 1, 0))
    part = small_stack.select(range(tile.slices.start, tile.slices.stop)).crop(tile.region)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = run_fit(part, replace(quick_config, seed=tile.seed(quick_config.seed)))
    finally:
        torch.set_num_threads(threads)
    of_run = load(whole_run / "tiles" / f"{tile.name}.safetensors", device="cpu")
    assert of_run.provenance["region"] == [62, 140, 0, 70]
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, of_run.state_dict()[name]), name


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    whole_run: Path, small_stack: Stack, quick_config: FitConfig, tmp_path: Path
) -> None:
    updates = fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE)
    for update in updates:
        if update.tiles_done == 2:
            break
    updates.close()
    first = tmp_path / "run" / "tiles" / "z0000_y0000_x0000.safetensors"
    written = first.stat().st_mtime_ns
    # What a process killed while writing leaves behind.
    (tmp_path / "run" / "tiles" / ".z0001_y0000_x0000.safetensors.0123abcd.emgauss-part").write_bytes(b"half")
    (tmp_path / "run" / "tiles" / "z0001_y0000_x0000.safetensors").write_bytes(b"not in the index")
    # Cutting and settings are taken from the folder.
    updates = list(fit_tiles(small_stack, folder=tmp_path / "run"))
    assert updates[0].text == "6 tiles (3 x 2 x 1: z, y, x), 2 of them already finished."
    assert first.stat().st_mtime_ns == written
    assert content(tmp_path / "run") == content(whole_run)
    assert len(list(fit_tiles(small_stack, folder=tmp_path / "run"))) == 1  # nothing is left to do


def test_a_tile_whose_file_is_gone_or_cut_short_is_fitted_again(
    whole_run: Path, small_stack: Stack, tmp_path: Path
) -> None:
    shutil.copytree(whole_run, tmp_path / "run")
    expected = content(whole_run)
    (tmp_path / "run" / "tiles" / "z0000_y0001_x0000.safetensors").unlink()
    (tmp_path / "run" / "tiles" / "z0002_y0000_x0000.safetensors").write_bytes(b"x" * 50)
    updates = list(fit_tiles(small_stack, folder=tmp_path / "run"))
    assert updates[0].tiles_done == 4
    assert content(tmp_path / "run") == expected


def test_the_number_of_torch_threads_outside_changes_nothing(
    whole_run: Path, small_stack: Stack, quick_config: FitConfig, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        run_fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE)
        assert torch.get_num_threads() == (2 if threads == 1 else 1)
    finally:
        torch.set_num_threads(threads)
    assert content(tmp_path / "run") == content(whole_run)


@pytest.mark.parametrize(
    ("changes", "size", "told"),
    [
        ({"seed": 4}, None, "seed 3, not 4"),
        ({"prior": "nearest"}, None, "prior 'linear', not 'nearest'"),
        ({}, TileSize(70, 9, 4, 2), "halo_pixels 8, not 9"),
    ],
)
def test_a_folder_with_other_settings_is_refused(
    whole_run: Path, small_stack: Stack, quick_config: FitConfig, changes: dict, size: TileSize | None, told: str
) -> None:
    with pytest.raises(ConfigError, match=f"started with other settings.*{told}"):
        fit_tiles(small_stack, replace(quick_config, **changes), folder=whole_run, size=size)


def test_another_device_or_more_workers_are_no_other_settings(
    whole_run: Path, small_stack: Stack, quick_config: FitConfig
) -> None:
    options = RunOptions(workers=2)  # nothing is left to fit, so that none are started
    config = replace(quick_config, device="auto")
    assert len(list(fit_tiles(small_stack, config, folder=whole_run, options=options))) == 1
    with pytest.raises(ConfigError, match="threads_per_tile 1, not 2"):
        fit_tiles(small_stack, folder=whole_run, options=RunOptions(threads_per_tile=2))
    with pytest.raises(ConfigError, match="shared_prior None, not 'linear'"):
        fit_tiles(small_stack, folder=whole_run, prior=get_prior("linear"))


def test_a_folder_of_another_stack_is_refused(whole_run: Path, small_stack: Stack) -> None:
    changed = np.array(small_stack.slices)
    changed[3, 70, 20] ^= 1
    with pytest.raises(ConfigError, match=r"tiles of another stack \(waves\), or the stack has changed"):
        fit_tiles(replace(small_stack, slices=changed), folder=whole_run)
    moved = replace(small_stack, z_nm=small_stack.z_nm * 1.5)
    with pytest.raises(ConfigError, match="another stack"):
        fit_tiles(moved, folder=whole_run)


def test_places_that_cannot_be_a_run_are_refused(small_stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExportError, match="is a file"):
        fit_tiles(small_stack, folder=tmp_path / "file")
    with pytest.raises(ExportError, match="does not exist"):
        fit_tiles(small_stack, folder=tmp_path / "a" / "b")
    with pytest.raises(ConfigError, match="not a folder of tiles: it holds 'file'"):
        fit_tiles(small_stack, folder=tmp_path)


def test_two_runs_on_one_folder_are_refused(small_stack: Stack, quick_config: FitConfig, tmp_path: Path) -> None:
    first = fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE)
    next(first)
    with pytest.raises(ConfigError, match=r"Another run \(process \d+ on .*\) is working on"):
        next(fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE))
    first.close()
    second = fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE)
    assert next(second).tiles_total == 6
    second.close()


def test_the_lock_of_a_killed_process_is_found_free(tmp_path: Path) -> None:
    from napari_emgauss.tiles._lock import run_lock

    code = f"""
import sys
from pathlib import Path
from napari_emgauss.tiles._lock import run_lock
with run_lock(Path({str(tmp_path)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"held"
        with pytest.raises(ConfigError, match=f"process {process.pid} on"), run_lock(tmp_path):
            pass
        process.kill()
        process.wait()
    assert (tmp_path / "run.owner.json").exists()  # it could not clean up
    with run_lock(tmp_path):
        pass
    assert not (tmp_path / "run.owner.json").exists()


def test_a_tile_that_fails_does_not_stop_the_others(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path
) -> None:
    grey = np.asarray(small_stack.slices).astype(np.float32)
    grey[4, 120, 30] = np.nan
    broken = replace(small_stack, slices=grey, normalisation=replace(small_stack.normalisation, dtype="float32"))
    with pytest.raises(FitError, match=r"Tile z0001_y0001_x0000 and 1 more could not be fitted \(Slice .* NaN"):
        list(fit_tiles(broken, quick_config, folder=tmp_path / "run", size=SIZE))
    with pytest.raises(ModelFileError, match="2 of 6 tiles are missing"):
        load(tmp_path / "run")
    assert TiledModel(tmp_path / "run", allow_incomplete=True).render(10.0).shape == (140, 70)


def test_a_sample_of_tiles_can_be_fitted(small_stack: Stack, quick_config: FitConfig, tmp_path: Path) -> None:
    options = RunOptions(only=(0, 5))
    last = list(fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE, options=options))[-1]
    assert last.finished and last.text == "2 of 6 tiles are finished."
    assert sorted(last.model.index.tiles) == ["z0000_y0000_x0000", "z0002_y0001_x0000"]
    with pytest.raises(ConfigError, match="tiles 0 to 5"):
        list(fit_tiles(small_stack, folder=tmp_path / "run", options=RunOptions(only=(6,))))


def test_a_stack_in_a_file_is_sent_as_the_way_to_it(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path
) -> None:
    import pickle

    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.asarray(small_stack.slices), photometric="minisblack")
    stack = read_stack(path, voxel_size_nm=(40, 8, 8))
    tile = cut(stack.shape, stack.z_nm, SIZE).tile((1, 1, 0))
    in_file = tile_task(tile, stack, quick_config, None, 1)
    in_memory = tile_task(tile, small_stack, quick_config, None, 1)
    sent = pickle.dumps(in_file)
    assert len(sent) < 5000
    again = pickle.loads(sent)
    assert np.array_equal(again.stack.unit_slices(), in_memory.stack.unit_slices())
    assert again.stack.shape == (3, 78, 70)
    assert isinstance(in_memory.stack.slices, np.ndarray) and in_memory.stack.slices.nbytes == 3 * 78 * 70
    assert again.config.seed == tile.seed(quick_config.seed)


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one worker"):
        RunOptions(workers=0)
    with pytest.raises(ConfigError, match="not both"):
        RunOptions(workers=2, scheduler="tcp://127.0.0.1:8786")
    with pytest.raises(ConfigError, match="at least one thread"):
        RunOptions(threads_per_tile=0)


@pytest.mark.parametrize("grey", [0, 77, 255])
def test_a_tile_of_one_grey_is_no_error_and_takes_no_time(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path, grey: int
) -> None:
    padded = np.array(small_stack.slices)
    padded[:, :80] = grey
    config = replace(quick_config, prior="self", teacher_student_iterations=100_000)
    options = RunOptions(only=(0,), share_prior=False)
    size = TileSize(70, 8, 7, 2)
    *_, last = fit_tiles(
        replace(small_stack, slices=padded), config, folder=tmp_path / "run", size=size, options=options
    )
    image = last.model.render(100.0, region=(0, 60, 0, 70))
    assert np.abs(image.astype(int) - grey).max() <= 1


def test_a_dask_array_is_computed_tile_by_tile(small_stack: Stack, quick_config: FitConfig) -> None:
    import dask.array as da

    seen: list[tuple[int, ...]] = []

    def noted(block: np.ndarray) -> np.ndarray:
        seen.append(block.shape)
        return block

    chunks = da.from_array(np.asarray(small_stack.slices), chunks=(7, 35, 35)).map_blocks(noted, dtype=np.uint8)
    seen.clear()  # dask tries functions on an empty block first
    tile = cut(small_stack.shape, small_stack.z_nm, SIZE).tile((1, 0, 0))
    task = tile_task(tile, replace(small_stack, slices=chunks), quick_config, None, 1)
    assert np.array_equal(task.stack.slices, small_stack.slices[2:5, 0:78, 0:70])
    assert seen == [(7, 35, 35)] * 6  # three of four rows of chunks, two columns, each once


def test_a_run_that_another_one_got_ahead_of_looks_again(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path
) -> None:
    """Two start on a new folder at once; the second comes to the lock when the first has begun and died."""
    late = fit_tiles(small_stack, replace(quick_config, seed=9), folder=tmp_path / "run", size=SIZE)
    early = fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE)
    next(early)
    early.close()
    with pytest.raises(ConfigError, match=r"started with other settings.*seed 3, not 9"):
        next(late)


def test_what_is_left_is_told_at_the_pace_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(_clock.time, "monotonic", lambda: now[0])
    clock = _clock.Clock(4)
    now[0] = 130.0
    assert clock.eta_s(0.01) is None  # too early to tell
    clock.tile_done()
    assert clock.eta_s(0.5) == 50.0  # one and a half in 30 s: the other two and a half take 50 s
    assert clock.elapsed_s == 30.0
