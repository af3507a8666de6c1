"""Fit a volume tile by tile into a folder that a later run can go on from."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_emgauss._errors import ConfigError, EmgaussError, FitError, ModelFileError
from napari_emgauss._files import check_writable
from napari_emgauss._owned_folder import OwnedFolder
from napari_emgauss._parts import first_foreign, sweep_folder
from napari_emgauss._paths import check_kind, explained, kind_of, real_target
from napari_emgauss._progress import OnProgress, ProgressUpdate
from napari_emgauss._remedies import remedy
from napari_emgauss.fitting import Background, FitConfig
from napari_emgauss.priors import Prior, WeightedPrior
from napari_emgauss.stack import Stack

from ._clock import Clock
from ._engine import Cluster, Event, TileDone, TileFailed, check_cluster, run_serially
from ._identity import check_same_run, index_of, shared_name
from ._index import INDEX_NAME, TILES_NAME, TileIndex, is_tiled, read_index, tile_path, write_index, write_tile
from ._lock import run_lock
from ._model import TiledModel
from ._options import RunOptions
from ._owned import LOG_NAME, is_left_at_start, is_of_lock, owned_tiles
from ._plan import Tile, TilePlan, TileSize
from ._shared_prior import (
    UNFINISHED_NAME,
    learn_shared_prior,
    read_prior_state,
    read_shared_prior,
    write_prior_state,
    write_shared_prior,
)
from ._task import TileProgress, TileTask, pinned_threads, tile_task
from ._update import TilesUpdate

_KEEP_INTERVAL_S = 60.0
"""How far the learning has come is written so often: some megabytes."""


def fit_tiles(
    stack: Stack,
    config: FitConfig | None = None,
    *,
    folder: str | os.PathLike[str],
    size: TileSize | None = None,
    options: RunOptions | None = None,
    prior: Prior | None = None,
    overwrite: bool = False,
) -> Iterator[TilesUpdate]:
    """Fit a stack in tiles, each an independent fit; the result is a folder that :func:`load` opens.

    The folder makes the run restartable: with the same stack and settings only unfinished tiles are fitted, and the
    result has the same bytes as that of an uninterrupted run, whatever the number of workers. The caller stops by
    closing the generator; tiles finished by then are kept.

    Parameters
    ----------
    stack : Stack
        What to fit. One that lies in a file is read by the workers, tile by tile; its path must lead there from them.
    config : FitConfig, optional
        Settings of every tile's fit; its seed is the run's, from which each tile's follows. By default those of the
        folder, or the preset ``default``.
    folder : path
        Made if need be, except for its parents.
    size : TileSize, optional
        How to cut. By default as the folder was, or as :class:`TileSize` says.
    options : RunOptions, optional
        Who fits them.
    prior : Prior, optional
        Shared by all tiles, in place of what ``config.prior`` names and of what is learned for the volume.
    overwrite : bool
        Begin anew in the folder of an earlier run. Its files are deleted one by one as the first message is asked
        for, and only if nothing else lies in the folder.

    Yields
    ------
    TilesUpdate
        About twice a second; the last message has ``finished`` set.

    Raises
    ------
    ConfigError
        The folder holds a run on another stack or with other settings, another run is working on it, or
        dask.distributed is needed and missing, or no scheduler answers.
    ExportError
        The folder is missing or cannot be written to, holds other things, or the disk is full.
    FitError
        Some tiles could not be fitted; the others are kept.
    """
    options = RunOptions() if options is None else options
    target = Path(folder)
    _check_folder(target, overwrite)
    if stack.channels > 1:
        raise ConfigError(
            f"Tiles are fitted to one channel, but the stack has {stack.channels}",
            remedy=remedy("no channels in tiles"),
        )
    if config is not None and config.slice_shifts:
        raise ConfigError(
            "Slice shifts cannot be learned in tiles, because neighbouring tiles would disagree",
            remedy=remedy("straighten no tiles"),
        )
    saved = read_index(target) if is_tiled(target) and not overwrite else None
    index = index_of(
        stack,
        config,
        size,
        prior,
        saved,
        target,
        threads_per_tile=options.threads_per_tile,
        share_prior=options.share_prior,
    )
    return _Run(stack, index, target, options, prior, overwrite).messages()


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse, before anything else, a folder that cannot take a run, or that holds what is not ours."""
    target = real_target(folder)
    check_kind(target, folder=True, shown=folder)
    if kind_of(target) is None:
        check_writable(folder, folder=True)
        return
    if overwrite:
        owned = _owned(folder)
        if owned is not None:
            owned.check()
    elif not is_tiled(folder):
        _refuse_foreign(folder)
    check_writable(folder / INDEX_NAME, overwrite=True)


def _owned(folder: Path) -> OwnedFolder | None:
    """What is ours in a folder; None where there is nothing but what a run that was killed at its start leaves."""
    owned = owned_tiles(folder)
    if owned is None:
        _refuse_foreign(folder)
    return owned


def _refuse_foreign(folder: Path) -> None:
    foreign = first_foreign(folder, is_left_at_start)
    if foreign is not None:
        raise ConfigError(
            f"'{folder}' is not a folder of tiles: it holds '{foreign.relative_to(folder)}', which napari-emgauss did "
            "not write. Choose the name of a new folder."
        )


def run_fit_tiles(
    stack: Stack,
    config: FitConfig | None = None,
    *,
    folder: str | os.PathLike[str],
    size: TileSize | None = None,
    options: RunOptions | None = None,
    prior: Prior | None = None,
) -> TiledModel:
    """Fit a stack in tiles to the end and return the model; parameters and errors are those of :func:`fit_tiles`."""
    model = None
    for update in fit_tiles(stack, config, folder=folder, size=size, options=options, prior=prior):
        model = update.model
    if model is None:
        raise FitError("The fit of tiles ended without a model.")
    return model


@dataclass
class _Run:
    stack: Stack
    index: TileIndex
    folder: Path
    options: RunOptions
    prior: Prior | None
    overwrite: bool = False
    _running: dict[str, TileProgress] = field(default_factory=dict, init=False)
    _failed: dict[str, str] = field(default_factory=dict, init=False)

    def messages(self) -> Iterator[TilesUpdate]:
        # Before anything is deleted, and not after an hour of training.
        check_cluster(self.options.workers, self.options.scheduler)
        try:
            yield from self._messages()
        except OSError as error:
            raise explained(error, self.folder) from error

    def _messages(self) -> Iterator[TilesUpdate]:
        self.folder.mkdir(exist_ok=True)
        with run_lock(self.folder):
            if self.overwrite:
                self._clear_folder()
            self._prepare_folder()
            model = TiledModel(self.folder, device=str(self._config.device), allow_incomplete=True)
            todo = self._todo()
            clock = Clock(len(todo))
            dashboard: str | None = None

            def update(text: str = "", *, finished: bool = False) -> TilesUpdate:
                running = tuple(self._running[name] for name in sorted(self._running))
                return TilesUpdate(
                    len(self.index.tiles),
                    len(self.index.plan),
                    running,
                    dict(self._failed),
                    clock.elapsed_s,
                    0.0 if finished else clock.eta_s(sum(tile.fraction for tile in running)),
                    text,
                    dashboard,
                    model,
                    finished,
                )

            if todo and self.prior is None and shared_name(self._config, self.options.share_prior) is not None:
                for text in self._share_prior():
                    yield update(text)
            if todo:
                with self._engine(todo) as (events, dashboard):
                    yield update(self._greeting(len(todo), dashboard))
                    for event in events:
                        text = self._take(event, clock, model)
                        yield update(text)
            if self._failed:
                raise FitError(self._about_failures())
            yield update(f"{len(self.index.tiles)} of {len(self.index.plan)} tiles are finished.", finished=True)

    @property
    def _config(self) -> FitConfig:
        return FitConfig.from_dict(self.index.provenance["fit"])

    def _clear_folder(self) -> None:
        """Delete an earlier run's files, if nothing but them lies in the folder."""
        owned = _owned(self.folder)
        if owned is not None:
            owned.check()
            replace(owned, owns=lambda path: owned.owns(path) and not is_of_lock(path)).clear()

    def _prepare_folder(self) -> None:
        """Read the index again now that nobody else writes it, and clear away what a killed run left."""
        if is_tiled(self.folder):
            now = read_index(self.folder)
            check_same_run(now, self.index, self.folder)
            # A tile whose file is gone or of another length is fitted again.
            whole = {
                tile.name: now.tiles[tile.name]
                for tile in now.plan
                if tile.name in now.tiles and _has_length(tile_path(self.folder, tile), now.tiles[tile.name].nbytes)
            }
            self.index = replace(self.index, tiles=whole)
        for place in (self.folder, self.folder / TILES_NAME):
            sweep_folder(place)
        write_index(self.folder, self.index)

    def _share_prior(self) -> Iterator[str]:
        """Take the prior that an earlier run learned, or learn one; tells how far it is."""
        import torch

        config = self._config
        # No tile is fitted meanwhile: all cores are free.
        threads = max(self.options.threads_per_tile, torch.get_num_threads())
        kept = read_shared_prior(self.folder, str(config.device))
        if kept is not None:
            self.prior = kept
            return

        state = read_prior_state(self.folder)

        def learn(report: OnProgress) -> WeightedPrior:
            with pinned_threads(threads):
                return learn_shared_prior(self.stack, self.index.plan, config, report, state)

        work = Background[ProgressUpdate, WeightedPrior](learn)
        told, kept_at = "", time.monotonic()
        try:
            with contextlib.closing(work.messages(0.5)) as messages:
                for message in messages:
                    text = "" if message is None else f"Prior for all tiles: {message.text}"
                    # A line of text for each step, not for each message about it.
                    step = text.rstrip("0123456789 %/.()").strip()
                    yield text if step != told else ""
                    told = step or told
                    if time.monotonic() - kept_at >= _KEEP_INTERVAL_S:
                        with contextlib.suppress(ModelFileError):  # a full disk ends no learning
                            write_prior_state(self.folder, state)
                        kept_at = time.monotonic()
        except EmgaussError:
            raise
        except BaseException:
            write_prior_state(self.folder, state)  # by now the learning has ended, and has left where it was
            raise
        learned = work.result
        write_shared_prior(self.folder, learned)
        (self.folder / UNFINISHED_NAME).unlink(missing_ok=True)
        # Read back: a run that goes on has what was written, no more.
        self.prior = read_shared_prior(self.folder, str(config.device))
        yield f"Prior for all tiles: {learned.describe()}."

    def _todo(self) -> list[Tile]:
        missing = self.index.missing
        if self.options.only is None:
            return missing
        count = len(self.index.plan)
        if any(not 0 <= number < count for number in self.options.only):
            raise ConfigError(f"There are tiles 0 to {count - 1}, but {list(self.options.only)} asks for others.")
        names = {self.index.plan.numbered(number).name for number in self.options.only}
        return [tile for tile in missing if tile.name in names]

    @contextlib.contextmanager
    def _engine(self, todo: list[Tile]) -> Iterator[tuple[Iterable[Event], str | None]]:
        tasks = self._tasks(todo)
        if self.options.workers is None and self.options.scheduler is None:
            with contextlib.closing(run_serially(tasks)) as events:  # type: ignore[type-var]
                yield events, None
            return
        workers = None if self.options.workers is None else min(self.options.workers, len(todo))
        with (
            Cluster(workers, self.options.scheduler, self.options.threads_per_tile) as cluster,
            contextlib.closing(cluster.run(tasks)) as events,  # type: ignore[type-var]
        ):
            yield events, cluster.dashboard

    def _tasks(self, todo: list[Tile]) -> Iterator[TileTask]:
        for tile in todo:
            yield tile_task(tile, self.stack, self._config, self.prior, self.options.threads_per_tile)

    def _take(self, event: Event, clock: Clock, model: TiledModel) -> str:
        if isinstance(event, TileProgress):
            before = self._running.get(event.name)
            self._running[event.name] = event
            # Progress never falls, unless somebody else began anew.
            again = before is not None and event.fraction < before.fraction
            return f"Tile {event.name} is fitted again: its worker was lost." if again else ""
        if isinstance(event, TileDone):
            tile, result = event.tile, event.result
            record = write_tile(self.folder, tile, result.data, result.gaussians)
            self.index = self.index.with_tile(tile, record)
            write_index(self.folder, self.index)
            self._running.pop(tile.name, None)
            self._log(tile, result)
            clock.tile_done()
            model.refresh()
            return f"Tile {tile.name}: {result.gaussians:,} Gaussians in {result.seconds:.0f} s."
        if isinstance(event, TileFailed):
            self._running.pop(event.tile.name, None)
            self._failed[event.tile.name] = event.reason
            clock.tile_done()
            return f"Tile {event.tile.name} could not be fitted: {event.reason}"
        return ""

    def _log(self, tile: Tile, result: Any) -> None:
        """Times and memory, apart from the index: they differ between equal runs."""
        entry = {
            "tile": tile.name,
            "shape": list(tile.shape),
            "gaussians": result.gaussians,
            "seconds": round(result.seconds, 2),
            "cpu_seconds": round(result.cpu_seconds, 2),
            "peak_memory_mb": None if result.peak_memory_mb is None else round(result.peak_memory_mb, 1),
        }
        with (self.folder / LOG_NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _greeting(self, todo: int, dashboard: str | None) -> str:
        plan: TilePlan = self.index.plan
        kept = len(self.index.tiles)
        text = f"{len(plan)} tiles ({' x '.join(str(n) for n in plan.grid)}: z, y, x)"
        if kept:
            text += f", {kept} of them already finished"
        if todo != len(plan) - kept:
            text += f", {todo} to fit now"
        return f"{text}." + (f" Workers: {dashboard}" if dashboard else "")

    def _about_failures(self) -> str:
        name, reason = next(iter(self._failed.items()))
        others = f" and {len(self._failed) - 1} more" if len(self._failed) > 1 else ""
        return (
            f"Tile {name}{others} could not be fitted ({reason.rstrip('.')}); the others are kept in '{self.folder}', "
            "and the same command tries the rest again."
        )


def _has_length(path: Path, nbytes: int) -> bool:
    with contextlib.suppress(OSError):
        return path.stat().st_size == nbytes
    return False
