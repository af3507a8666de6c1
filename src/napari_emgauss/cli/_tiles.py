"""``emgauss plan``, and ``emgauss fit`` of volumes larger than memory or one process: tiles."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_emgauss._paths import real_target
from napari_emgauss.cli._inputs import asked_for, fit_config, has_fit_options, say, stack_from, stem
from napari_emgauss.cli._outputs import refuse_inputs
from napari_emgauss.cli._progress import ProgressDisplay, duration

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig
    from napari_emgauss.stack import Stack
    from napari_emgauss.tiles import Estimate, TileSize, TilesUpdate

_TILE_OPTIONS = ("memory", "workers", "scheduler", "tile", "halo", "window", "overlap")


def has_tile_options(arguments: argparse.Namespace) -> bool:
    """Whether the command line asks for tiles: by an option, or to go on with a folder of them."""
    if any(getattr(arguments, name, None) is not None for name in _TILE_OPTIONS):
        return True
    output = getattr(arguments, "output", None)
    if output is None or not os.path.isdir(output):
        return False
    from napari_emgauss.tiles import is_tiled

    return is_tiled(output)


def run_plan_command(arguments: argparse.Namespace) -> int:
    """Tell what a fit in tiles will take, before anything starts."""
    from napari_emgauss.tiles import (
        STARTING_S,
        Slowness,
        cut,
        estimate,
        measure_slowness,
        tile_work,
        whole_memory_bytes,
    )

    stack = stack_from(arguments, arguments.stack)
    config = fit_config(arguments, **asked_for(arguments))
    workers = arguments.workers
    plan = cut(stack.shape, stack.z_nm, tile_size(arguments, stack, config))
    where = (stack.shape, stack.z_nm, stack.pixel_size_nm, config)
    whole_work = tile_work(*where, share_prior=False)
    # A tile has one thread, a fit in one piece all of them.
    alone = together = Slowness()
    if arguments.measure:
        say("Measuring the speed of this machine ...")
        networks, device = whole_work.learning_s + whole_work.inferring_s > 0, str(config.device)
        alone = measure_slowness(device, threads=1, networks=networks)
        together = measure_slowness(device, networks=networks)
    told = estimate(
        plan,
        stack.z_nm,
        stack.pixel_size_nm,
        config,
        dtype=stack.normalisation.dtype,
        workers=workers,
        slowness=alone,
        learning_slowness=together,
    )
    told = replace(told, seconds=told.seconds + STARTING_S, least_seconds=told.least_seconds + STARTING_S)
    whole_s, least_s = (whole_work.seconds(together, early=early) + STARTING_S for early in (False, True))
    whole_bytes = whole_memory_bytes(*where)
    if arguments.json:
        whole = {"seconds": whole_s, "least_seconds": least_s, "memory_bytes": whole_bytes}
        made = {"estimate": told.to_dict(), "workers": workers or 1, "plan": plan.to_dict(), "in_one_piece": whole}
        print(json.dumps(made, indent=1))
        return 0
    rows = _rows(stack, told, workers or 1, measured=arguments.measure)
    rows.append(
        ("in one piece", f"{_range(least_s, whole_s)}, {_bytes(whole_bytes)}: a fit with none of the options of tiles")
    )
    if least_s < whole_s:
        rows.append(("", "the shorter times are for stacks that a long training of the prior does nothing for"))
    for name, value in rows:
        print(f"{name:<18}{value}")
    return 0


def run_fit_in_tiles(arguments: argparse.Namespace, interruption: Any) -> int:
    """Fit tile by tile into a folder, going on where an earlier run stopped.

    ``interruption`` is entered for the time of the fit; its ``asked`` stops it, and its ``exit_code`` is then returned.
    """
    from napari_emgauss.tiles import RunOptions, fit_tiles, is_tiled

    folder = Path(f"{stem(Path(arguments.stack))}.emgauss" if arguments.output is None else arguments.output)
    real_target(folder if arguments.output is None else arguments.output)
    refuse_inputs(arguments, folder)
    going_on = is_tiled(folder) and not arguments.force
    path = Path(arguments.stack)
    # Workers elsewhere do not start in the folder that this command was given in.
    stack = stack_from(arguments, str(path.resolve() if arguments.scheduler is not None and path.exists() else path))
    # A bare command goes on with the folder's own settings; given ones must agree with them.
    own = going_on and arguments.prior is None and not has_fit_options(arguments)
    config = None if own else fit_config(arguments, **asked_for(arguments))
    sized = any(getattr(arguments, name) is not None for name in ("memory", "tile", "halo", "window", "overlap"))
    if going_on and not sized:
        size = None
    else:
        size = tile_size(arguments, stack, fit_config(arguments, **asked_for(arguments)) if config is None else config)
    options = RunOptions(workers=arguments.workers, scheduler=arguments.scheduler)
    updates = fit_tiles(stack, config, folder=folder, size=size, options=options, overwrite=arguments.force)
    last: TilesUpdate | None = None
    with interruption, _progress(quiet=arguments.quiet) as show, contextlib.closing(updates):  # type: ignore[type-var]
        for update in updates:
            last = update
            show(update)
            if interruption.asked and not update.finished:
                break
    if last is None or not last.finished:
        done = 0 if last is None else last.tiles_done
        say(f"\nInterrupted: {done} tiles are finished in '{folder}'. Run the same command again to fit the others.")
        return int(interruption.exit_code)
    say(
        f"Wrote '{folder}' ({last.tiles_total} tiles, {last.model.gaussian_count:,} Gaussians, {last.elapsed_s:.0f} s)."
    )
    return 0


def tile_size(arguments: argparse.Namespace, stack: Stack, config: FitConfig) -> TileSize:
    """The size of tiles that the command line asks for, within its memory."""
    from dataclasses import replace

    from napari_emgauss.tiles import TileSize, free_card_bytes, parse_memory, size_within

    names = {"tile": "pixels", "halo": "halo_pixels", "window": "window_slices", "overlap": "overlap_slices"}
    given = {key: getattr(arguments, name) for name, key in names.items() if getattr(arguments, name) is not None}
    memory = None if arguments.memory is None else parse_memory(arguments.memory)
    if arguments.tile is not None and memory is None:
        return TileSize(**given)
    return size_within(
        stack.shape,
        stack.z_nm,
        stack.pixel_size_nm,
        config,
        memory_bytes=memory,
        # Workers elsewhere have cards that nobody here can ask.
        card_bytes=None if arguments.scheduler is not None else free_card_bytes(str(config.device)),
        workers=arguments.workers,
        preferred=replace(TileSize(), **given),
    )


def _rows(stack: Stack, told: Estimate, workers: int, *, measured: bool) -> list[tuple[str, str]]:
    depth, height, width = stack.shape
    grid = " × ".join(str(n) for n in told.grid)
    tile = " × ".join(str(n) for n in told.tile_shape)
    learning = f", {duration(told.prior_seconds)} for the prior of all" if told.prior_seconds else ""
    where = (
        "on this machine, as just measured"
        if measured
        else "on the machine of the benchmarks; without --no-measure on this one"
    )
    return [
        ("stack", f"{depth} × {height} × {width} ({stack.normalisation.dtype})"),
        ("tiles", f"{told.tiles} ({grid} along z, y, x), the largest {tile}"),
        ("overlap", f"{100 * (told.overhead - 1):.0f} % more voxels fitted than the stack has"),
        ("memory", f"{_bytes(told.memory_bytes)} ({_bytes(told.tile_memory_bytes)} for a tile, {workers} at once)"),
        ("disk", f"{_bytes(told.disk_bytes)} for the model, {_bytes(told.isotropic_bytes)} for the isotropic volume"),
        (
            "time",
            f"{_range(told.least_seconds, told.seconds)} ({duration(told.tile_seconds)} for a tile{learning}) {where}",
        ),
    ]


def _range(least_s: float, most_s: float) -> str:
    """A time, or two between which it lies."""
    least, most = duration(least_s), duration(most_s)
    return most if least == most else f"{least} to {most}"


def _bytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e8 else f"{count / 1e6:.3g} MB"


def _short(tile: str) -> str:
    """``z0 y2 x11`` for ``z0000_y0002_x0011``."""
    return " ".join(f"{part[0]}{int(part[1:])}" for part in tile.split("_"))


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[TilesUpdate], None]]:
    """How far all tiles are together, and a line for each that is finished, on stderr."""
    with ProgressDisplay("tiles", quiet=quiet) as display:

        def show(update: TilesUpdate) -> None:
            if not update.finished:
                display.say(update.text)
            left = "" if update.eta_s is None else f", {duration(update.eta_s)} left"
            now = ", ".join(f"{_short(tile.name)} {tile.fraction:.0%}" for tile in update.running[:2])
            more = f" and {len(update.running) - 2} more" if len(update.running) > 2 else ""
            tiles = f"{update.tiles_done}/{update.tiles_total}"
            display.tell(update.fraction, f"{tiles} ({now}{more}){left}" if now else f"{tiles}{left}")

        yield show
