"""Who fits the tiles: this process one after another, or a dask cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from napari_emgauss._errors import ConfigError, EmgaussError, FitError
from napari_emgauss._remedies import remedy

from ._plan import Tile
from ._task import TileProgress, TileResult, TileTask, fit_tile

_log = logging.getLogger(__name__)

_REPORT_INTERVAL_S = 0.5
_QUEUED_PER_THREAD = 2
_CONNECT_TIMEOUT_S = 15.0
_LOST = "The connection to the dask scheduler was lost; run it again to continue from the finished tiles."


@dataclass(frozen=True)
class TileDone:
    """A tile was fitted."""

    tile: Tile
    result: TileResult


@dataclass(frozen=True)
class TileFailed:
    """A tile could not be fitted; the others go on."""

    tile: Tile
    reason: str


Event = TileProgress | TileDone | TileFailed | None
"""What an engine tells; None when nothing happened for a while."""


def run_serially(tasks: Iterable[TileTask]) -> Iterator[Event]:
    """Fit tiles in this process, one after another."""
    for task in tasks:
        try:
            with contextlib.closing(fit_tile(task)) as steps:  # type: ignore[type-var]
                for step in steps:
                    yield TileDone(task.tile, step) if isinstance(step, TileResult) else step
        except EmgaussError as error:
            yield TileFailed(task.tile, str(error))


class Cluster:
    """A dask cluster: one on this machine, or one that is running already.

    Parameters
    ----------
    workers : int or None
        Start so many processes on this machine.
    scheduler : str or None
        Or use the cluster of the scheduler at this address, ``tcp://host:8786``.
    threads : int
        CPU threads of each worker, so that they do not fight for the cores.

    Raises
    ------
    ConfigError
        dask.distributed is not installed, or there is no scheduler at the address.
    """

    def __init__(self, workers: int | None, scheduler: str | None, threads: int) -> None:
        _check_installed(encrypted=scheduler is None)
        import dask
        from distributed import LocalCluster, Security

        asked_for = scheduler
        self._exit = contextlib.ExitStack()
        # A tile's slices travel in its task, not beside it: what lies beside is lost with the worker that held it.
        self._exit.enter_context(
            dask.config.set(
                {
                    "distributed.admin.large-graph-warning-threshold": "4 GiB",
                    "distributed.nanny.pre-spawn-environ": {**_thread_limits(threads), **_kept_memory()},
                }
            )
        )
        # Left last, for most is said at the end.
        self._exit.enter_context(_quiet_dask())
        try:
            if scheduler is None:
                self._cluster = self._exit.enter_context(
                    LocalCluster(
                        n_workers=workers or 1,
                        threads_per_worker=1,
                        processes=True,
                        # The plan keeps workers within the budget; dask would kill one for a short peak.
                        memory_limit=0,
                        host="127.0.0.1",
                        dashboard_address="127.0.0.1:0",
                        env=_thread_limits(threads),
                        silence_logs=logging.ERROR,
                        # Who can connect to a scheduler can run any code as its user, and loopback is everybody's on a
                        # shared machine: only those who have this run's certificate get in. It never leaves memory.
                        protocol="tls://",
                        security=(security := Security.temporary()),
                    )
                )
                scheduler = str(self._cluster.scheduler_address)
            else:
                security = None  # as dask's configuration says
            self._client: Any = self._exit.enter_context(_connected(scheduler, security))
            if workers is not None:
                self._client.register_plugin(_one_card_each())
        except BaseException as error:
            self._exit.close()
            # An encrypted address without certificates is a TypeError to dask.
            if asked_for is not None and isinstance(error, (OSError, ValueError, TypeError, RuntimeError)):
                raise ConfigError(
                    f"No dask scheduler answers at {asked_for}: start one (dask scheduler), or correct the address; "
                    "for an encrypted one (tls://), name your certificates in dask's configuration."
                ) from error
            if isinstance(error, Exception) and not isinstance(error, EmgaussError):
                raise FitError(
                    f"The workers could not be started ({_in_short(error)})", remedy=remedy("fewer workers")
                ) from error
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_exception: object) -> None:
        try:
            self._exit.close()
        except TimeoutError:  # on a busy machine; what was fitted is written, and dask ends its processes itself
            _log.warning("The workers took long to end.")

    @property
    def dashboard(self) -> str | None:
        """Address of dask's own page about this cluster; None where the packages that draw it are missing."""
        return str(self._client.dashboard_link) if find_spec("bokeh") is not None else None

    @property
    def thread_count(self) -> int:
        """Tiles that the cluster can fit at once, now."""
        return sum(self._client.nthreads().values())

    def run(
        self, tasks: Iterable[TileTask], fit_one: Callable[[TileTask, str], TileResult] | None = None
    ) -> Iterator[Event]:
        """Fit tiles on the workers, in any order.

        A tile whose worker dies is fitted again by another one.

        Parameters
        ----------
        tasks : iterable of TileTask
            Taken one by one as workers become free, so that slices that have to be sent do not pile up here.
        fit_one : callable, optional
            What runs on a worker.
        """
        try:
            yield from self._run(tasks, fit_one)
        except (EmgaussError, GeneratorExit, KeyboardInterrupt):
            raise
        except OSError as error:  # what dask raises when the other side is gone
            raise FitError(_LOST) from error

    def _run(self, tasks: Iterable[TileTask], fit_one: Callable[[TileTask, str], TileResult] | None) -> Iterator[Event]:
        happened: queue.Queue[Any] = queue.Queue()
        topic = f"emgauss-{uuid.uuid4().hex}"
        self._client.subscribe_topic(topic, lambda event: happened.put(TileProgress(**event[1]["tile"])))
        pending: dict[Any, Tile] = {}
        todo = iter(tasks)
        more = True
        try:
            while more or pending:
                while more and len(pending) < max(2, _QUEUED_PER_THREAD * self.thread_count):
                    task = next(todo, None)
                    if task is None:
                        more = False
                        break
                    key = f"{topic}-{task.tile.name}"
                    future = self._client.submit(fit_one or fit_on_worker, task, topic, key=key, pure=False)
                    pending[future] = task.tile
                    future.add_done_callback(happened.put)
                try:
                    event = happened.get(timeout=_REPORT_INTERVAL_S)
                except queue.Empty:
                    self._check_alive()
                    yield None
                    continue
                if isinstance(event, TileProgress):
                    yield event
                elif event in pending:
                    yield self._ended(event, pending.pop(event))
        finally:
            with contextlib.suppress(Exception):  # of a cluster that is gone already there is nothing to call back
                self._client.unsubscribe_topic(topic)
                self._client.cancel(list(pending))

    def _ended(self, future: Any, tile: Tile) -> Event:
        from distributed import KilledWorker

        if future.status == "finished":
            return TileDone(tile, future.result())
        if future.status != "error":
            raise FitError(_LOST)
        error = future.exception()
        if isinstance(error, KilledWorker):
            return TileFailed(tile, "its workers kept dying, most likely for lack of memory: allow less memory")
        if isinstance(error, EmgaussError):
            return TileFailed(tile, str(error))
        raise FitError(f"Tile {tile.name} failed on a worker: {error!r}.") from error

    def _check_alive(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise FitError(_LOST)


def check_cluster(workers: int | None, scheduler: str | None) -> None:
    """Find out whether the cluster of these options can be had, without starting one.

    Raises
    ------
    ConfigError
        dask.distributed is not installed, or there is no scheduler at the address.
    """
    if workers is None and scheduler is None:
        return
    _check_installed(encrypted=scheduler is None)
    if scheduler is not None:
        with Cluster(None, scheduler, 1):
            pass


def _check_installed(*, encrypted: bool) -> None:
    """Refuse, with the command that helps, where dask.distributed is missing, or what its own certificates need."""
    try:
        import distributed  # noqa: F401

        if encrypted:
            import cryptography  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "Workers and schedulers need dask.distributed and cryptography: pip install 'napari-emgauss[distributed]'."
        ) from error


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def fit_on_worker(task: TileTask, topic: str) -> TileResult:
    """Fit a tile on a dask worker, telling the scheduler how far it is."""
    from distributed import get_worker

    worker = get_worker()
    told = -_REPORT_INTERVAL_S
    result = None
    for step in fit_tile(task):
        if isinstance(step, TileResult):
            result = step
        elif time.monotonic() - told >= _REPORT_INTERVAL_S:
            told = time.monotonic()
            worker.log_event(topic, {"tile": dict(vars(step))})
    if result is None:
        raise FitError(f"The fit of tile {task.tile.name} ended without a result.")
    return result


def own_card(worker_name: str, visible: str | None, count: int) -> str | None:
    """Value of ``CUDA_VISIBLE_DEVICES`` that leaves a worker one graphics card; None where there is nothing to choose.

    Parameters
    ----------
    worker_name : str
        Workers of a cluster on this machine are named 0, 1, ...
    visible : str or None
        Value of ``CUDA_VISIBLE_DEVICES`` that all share.
    count : int
        Cards that can be used.
    """
    if count < 2 or not worker_name.isdigit():
        return None
    cards = [str(k) for k in range(count)] if not visible else visible.split(",")
    return cards[int(worker_name) % len(cards)]


def _one_card_each() -> Any:
    """A dask plugin that runs as a worker starts, also one that replaces a dead one: before anything uses a card."""
    from distributed import WorkerPlugin

    class OneCardEach(WorkerPlugin):
        name = "emgauss-one-card-each"

        def setup(self, worker: Any) -> None:
            import torch

            card = own_card(str(worker.name), os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count())
            if card is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = card

    return OneCardEach()


def _connected(scheduler: str, security: Any) -> Any:
    """A client of a scheduler; one that nobody answered is not waited for, and says nothing, when it is deleted."""
    from distributed import Client

    client: Any = Client.__new__(Client)
    try:
        client.__init__(scheduler, timeout=_CONNECT_TIMEOUT_S, set_as_default=False, security=security)
    except BaseException:
        client.status = "closed"
        raise
    return client


@contextlib.contextmanager
def _quiet_dask() -> Iterator[None]:
    """Keep what dask tells of its own life from those who asked for a fit, unless they want to read everything."""
    logger = logging.getLogger("distributed")
    before = logger.level
    if not _log.isEnabledFor(logging.INFO):
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _thread_limits(threads: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {name: os.environ.get(name, str(threads)) for name in names}


def _kept_memory() -> dict[str, str]:
    """What makes glibc keep freed memory for the next picture; other allocators pass it over.

    A fit takes and gives back the same megabytes at every iteration. Dask has glibc return whatever is above 64 kB to
    the system, which then has to clear each page anew: that took 45 % of a fit's time, and with these limits 1 %
    (``benchmarks/tiles.py allocator``). They are glibc's largest threshold for blocks that are mapped one by one, and
    far more than a tile frees between two iterations. They have to be there before the worker starts.
    """
    ours = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(512 << 20)}
    return {name: os.environ.get(name, value) for name, value in ours.items()}
