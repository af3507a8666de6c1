from __future__ import annotations

import contextlib
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_emgauss import ConfigError, FitConfig, FitError, Stack
from napari_emgauss.tiles import RunOptions, TileSize, fit_tiles, run_fit_tiles
from napari_emgauss.tiles._engine import Cluster, _quiet_dask, own_card

SIZE = TileSize(70, 8, 4, 2)


def workers_of_this_process() -> list[psutil.Process]:
    """Dask's worker processes: children that were spawned and are no resource tracker."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
    return found


def content(folder: Path) -> dict[str, bytes]:
    paths = [folder / "index.json", *sorted((folder / "tiles").iterdir())]
    return {path.name: path.read_bytes() for path in paths}


def test_a_worker_killed_in_mid_tile_costs_only_that_tile(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path
) -> None:
    config = replace(quick_config, teacher_student_iterations=250)
    killed: set[int] = set()
    busy_when_killed: set[str] = set()
    updates = fit_tiles(small_stack, config, folder=tmp_path / "two", size=SIZE, options=RunOptions(workers=2))
    for update in updates:
        if not killed and len(update.running) == 2:  # each of the two workers is in the middle of one
            victim = workers_of_this_process()[0]
            killed.add(victim.pid)
            busy_when_killed = {tile.name for tile in update.running}
            victim.kill()
    assert killed and update.finished
    assert not workers_of_this_process()
    run_fit_tiles(small_stack, config, folder=tmp_path / "alone", size=SIZE)
    assert busy_when_killed
    assert content(tmp_path / "two") == content(tmp_path / "alone")


def test_a_running_cluster_is_used_by_its_scheduler(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    distributed = pytest.importorskip("distributed")
    caplog.set_level(logging.WARNING, "napari_emgauss")  # nobody asked for details, whatever other tests did
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address=None, host="127.0.0.1"
    )
    with cluster:
        options = RunOptions(scheduler=cluster.scheduler_address)
        grey = np.asarray(small_stack.slices).astype(np.float32)
        grey[4, 120, 30] = np.nan
        broken = replace(small_stack, slices=grey, normalisation=replace(small_stack.normalisation, dtype="float32"))
        # An error on a worker is told as here.
        with pytest.raises(FitError, match="NaN"):
            list(fit_tiles(broken, quick_config, folder=tmp_path / "broken", size=SIZE, options=options))
        stopped = fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE, options=options)
        before = logging.getLogger("distributed").level
        assert next(stopped).tiles_total == 6
        assert logging.getLogger("distributed").level == logging.ERROR  # its own life is of no interest meanwhile
        stopped.close()
        assert logging.getLogger("distributed").level == before != logging.ERROR
        model = run_fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE, options=options)
        assert model.render(10.0).shape == (140, 70)
        assert len(cluster.scheduler.workers) == 1  # the cluster is not ours to close


def test_a_scheduler_that_does_not_answer_is_told(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("napari_emgauss.tiles._engine._CONNECT_TIMEOUT_S", 0.3)
    options = RunOptions(scheduler="tcp://127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"No dask scheduler answers at tcp://127\.0\.0\.1:1"):
        list(fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE, options=options))


def test_without_dask_distributed_it_says_what_to_install(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    options = RunOptions(workers=2)
    with pytest.raises(ConfigError, match=r"pip install 'napari-emgauss\[distributed\]'"):
        list(fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE, options=options))


def test_on_a_machine_with_several_cards_each_worker_takes_its_own() -> None:
    assert [own_card(name, None, 2) for name in ("0", "1", "2")] == ["0", "1", "0"]
    assert [own_card(name, "3,5", 2) for name in ("0", "1")] == ["3", "5"]
    assert own_card("0", None, 1) is None
    assert own_card("tcp://10.0.0.5:4000", None, 2) is None  # workers that others started bring their own


def test_dask_does_not_tell_of_its_own_life_unless_asked(caplog: pytest.LogCaptureFixture) -> None:
    told = logging.getLogger("distributed.scheduler")
    for level, expected in ((logging.WARNING, ["broken"]), (logging.INFO, ["starting", "broken"])):
        caplog.clear()
        with caplog.at_level(level, "napari_emgauss"), caplog.at_level(logging.INFO, "distributed"):
            with _quiet_dask():
                told.info("starting")
                told.error("broken")
            assert [record.message for record in caplog.records] == expected
            assert logging.getLogger("distributed").level == logging.INFO  # as it was


def test_workers_that_take_long_to_end_spoil_nothing(caplog: pytest.LogCaptureFixture) -> None:
    cluster = object.__new__(Cluster)
    cluster._exit = contextlib.ExitStack()

    def slow() -> None:
        raise TimeoutError

    cluster._exit.callback(slow)
    with cluster:
        pass
    assert "took long to end" in caplog.text
