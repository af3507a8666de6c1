from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

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


def test_a_client_that_nobody_answered_ends_without_a_traceback() -> None:
    """In a process of its own: dask's client complained as the interpreter went down."""
    pytest.importorskip("distributed")
    code = (
        "from napari_emgauss import ConfigError\n"
        "from napari_emgauss.tiles import _engine\n"
        "_engine._CONNECT_TIMEOUT_S = 0.3\n"
        "try:\n"
        "    _engine.Cluster(None, 'nowhere', 1)\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert "No dask scheduler answers at nowhere" in done.stdout
    assert done.stderr == ""


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


def connected(address: str, security: Any = None) -> bool:
    """Whether one with such certificates gets in and is answered, asked without the threads of a client."""
    import distributed
    from distributed.comm import connect

    async def ask() -> bool:
        comm = await connect(address, timeout=5, **(security or distributed.Security()).get_connection_args("client"))
        try:
            await comm.write({"op": "identity", "reply": True})
            return bool(await comm.read())
        finally:
            comm.abort()

    with contextlib.suppress(OSError, ValueError, TypeError, RuntimeError):
        return asyncio.run(asyncio.wait_for(ask(), timeout=20))
    return False


def test_nobody_else_gets_into_a_cluster_on_this_machine(caplog: pytest.LogCaptureFixture) -> None:
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("cryptography")
    with Cluster(1, None, 1) as cluster:
        address = str(cluster._cluster.scheduler_address)
        assert address.startswith("tls://127.0.0.1:")
        everyone = [address, *(worker["nanny"] for worker in cluster._client.scheduler_info()["workers"].values())]
        everyone += list(cluster._client.scheduler_info()["workers"])
        assert len(everyone) == 3 and all(one.startswith("tls://") for one in everyone)
        for one in (address, address.replace("tls://", "tcp://")):
            assert not connected(one)
            assert not connected(one, distributed.Security.temporary())  # a certificate of somebody else
        assert connected(address, cluster._client.security)  # whoever has ours is let in
        assert cluster._client.submit(sum, [1, 2]).result(30) == 3
    caplog.clear()  # dask tells of those that it refused


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="what a process was started with is in /proc")
def test_workers_keep_freed_memory_from_their_start_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """glibc reads its limits once, as a process starts, and dask's own make it give every picture back."""
    monkeypatch.setenv("MALLOC_ARENA_MAX", "3")  # what the user chose stays
    with Cluster(1, None, 1):
        (worker,) = [p for p in workers_of_this_process() if "resource_tracker" not in " ".join(p.cmdline())]
        started_with = dict(
            item.split("=", 1) for item in Path(f"/proc/{worker.pid}/environ").read_text().split("\0") if "=" in item
        )
    assert int(started_with["MALLOC_TRIM_THRESHOLD_"]) == 512 * 2**20
    assert int(started_with["MALLOC_MMAP_THRESHOLD_"]) == 32 * 2**20
    assert started_with["MALLOC_ARENA_MAX"] == "3"
    assert started_with["OMP_NUM_THREADS"] == os.environ.get("OMP_NUM_THREADS", "1")


def test_without_cryptography_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"pip install 'napari-emgauss\[distributed\]'"):
        Cluster(1, None, 1)


def test_certificates_of_ones_own_are_those_of_dasks_configuration(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("cryptography")
    import dask

    security = distributed.Security.temporary()
    for name, text in (
        ("ca", security.tls_ca_file),
        ("cert", security.tls_client_cert),
        ("key", security.tls_client_key),
    ):
        (tmp_path / f"{name}.pem").write_text(text)
    own = {
        "distributed.comm.tls.ca-file": str(tmp_path / "ca.pem"),
        "distributed.comm.tls.client.cert": str(tmp_path / "cert.pem"),
        "distributed.comm.tls.client.key": str(tmp_path / "key.pem"),
    }
    cluster = distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tls://",
        security=security,
        dashboard_address=None,
        host="127.0.0.1",
    )
    with cluster:
        options = RunOptions(scheduler=cluster.scheduler_address)
        with pytest.raises(ConfigError, match="name your certificates in dask's configuration"):
            list(fit_tiles(small_stack, quick_config, folder=tmp_path / "refused", size=SIZE, options=options))
        assert not (tmp_path / "refused").exists()  # asked before anything is made
        with dask.config.set(own):
            model = run_fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE, options=options)
        assert model.render(10.0).shape == (140, 70)


def test_workers_that_die_as_they_start_are_told(small_stack: Stack, quick_config: FitConfig, tmp_path: Path) -> None:
    """As for lack of memory: each is killed as soon as it is there, again and again."""
    pytest.importorskip("distributed")
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.02):
            for worker in workers_of_this_process():
                with contextlib.suppress(psutil.Error):
                    worker.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises((FitError, ConfigError), match=r"workers could not be started|kept dying"):
            list(
                fit_tiles(small_stack, quick_config, folder=tmp_path / "run", size=SIZE, options=RunOptions(workers=1))
            )
    finally:
        over.set()
        killer.join()
    *_, last = fit_tiles(small_stack, folder=tmp_path / "run")  # the folder is good for another try
    assert last.finished


def wait_for(condition: Callable[[], bool]) -> None:
    """Until a process has started, which takes seconds on a busy machine."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_scheduler_killed_in_mid_run_is_told_and_the_work_is_kept(
    small_stack: Stack, quick_config: FitConfig, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    import dask

    config = replace(quick_config, teacher_student_iterations=400)
    file = str(tmp_path / "scheduler.json")
    with contextlib.ExitStack() as exit_stack:

        def program(module: str, *arguments: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", f"distributed.cli.{module}", "--scheduler-file", file, *arguments]
            process = subprocess.Popen([*command, "--host", "127.0.0.1", "--no-dashboard"], stderr=subprocess.DEVNULL)
            exit_stack.callback(process.wait)
            exit_stack.callback(process.kill)
            return process

        scheduler = program("dask_scheduler", "--port", "0")
        wait_for(Path(file).exists)
        program("dask_worker", "--nthreads", "1", "--no-nanny", "--death-timeout", "60")
        address = json.loads(Path(file).read_text())["address"]
        options = RunOptions(scheduler=address)
        updates = fit_tiles(small_stack, config, folder=tmp_path / "run", size=SIZE, options=options)
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "3s"}),
            pytest.raises(FitError, match="run it again to continue from the finished tiles"),
        ):
            for update in updates:
                if update.tiles_done == 1 and scheduler.poll() is None:
                    scheduler.kill()
    *_, last = fit_tiles(small_stack, folder=tmp_path / "run")
    assert last.finished
