"""The fit in its own process: reads the stack from shared memory, tells how it goes, and leaves model files behind.

Runs in a child; knows neither Qt nor napari. Everything heavy is imported inside the functions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ._process import Channel

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig, FitUpdate
    from napari_emgauss.plugin.process._request import FitData, FitRequest
    from napari_emgauss.stack import Stack
    from napari_emgauss.tiles import TilesUpdate

PREVIEW_INTERVAL_S = 1.0
"""Least time between two previews; longer where writing one takes more than :data:`PREVIEW_SHARE` of the time."""

CALM_PREVIEW_INTERVAL_S = 5.0
"""The same while somebody scrubs: then the cores are scarce, and pictures that change by themselves disturb."""

PREVIEW_SHARE = 0.05
"""Share of the fit's time that previews may take."""


@dataclass(frozen=True)
class FitMessage:
    """What the fit tells the window.

    Parameters
    ----------
    kind : {"device", "progress", "preview", "finished", "stopped"}
        The last two are final.
    stage, iteration, total_iterations, loss, gaussians, elapsed_s, eta_s, text, stage_fraction
        As in :class:`~napari_emgauss.fitting.FitUpdate`; the stage ``tiles`` counts in thousandths of all tiles.
    model_path : str
        A model file, or folder of tiles, to show, for previews and final messages; empty where there is none.
    """

    kind: Literal["device", "progress", "preview", "finished", "stopped"]
    stage: str = ""
    iteration: int = 0
    total_iterations: int = 0
    loss: float | None = None
    gaussians: int = 0
    elapsed_s: float = 0.0
    eta_s: float | None = None
    text: str = ""
    model_path: str = ""
    stage_fraction: float | None = None


def fit_in_child(channel: Channel, request: FitRequest, data: FitData, folder: str) -> None:
    """Target of the fit's process.

    Parameters
    ----------
    channel : Channel
        ``channel.attention`` set means: the window has shown the last preview and wants the next.
    request : FitRequest
        What to fit.
    data : FitData
        The chosen part of the stack.
    folder : str
        Where model files go. The window removes them.
    """
    from napari_emgauss.render import choose_backend

    choice = choose_backend(request.device)
    channel.tell(FitMessage("device", text=f"{choice.device}: {choice.reason}"))
    if request.tiles is None:
        _fit_whole(channel, request, data, Path(folder))
    else:
        _fit_in_tiles(channel, request, data)


def request_config(request: FitRequest) -> FitConfig:
    """The settings a request stands for."""
    from napari_emgauss.fitting import preset

    return preset(request.preset, device=request.device, **request.overrides)


def request_stack(request: FitRequest, data: FitData) -> Stack:
    """The stack a request stands for."""
    from napari_emgauss.stack import Corrections, StackRecord, stack_from_array

    _, y_nm, x_nm = request.voxel_size_nm
    kept = request.kept
    record = StackRecord(
        first_slice=kept[0],
        region=list(request.region),
        layer_shape=list(request.layer_shape or ()),
        skipped_slices=[k for k in request.skip if request.slices[0] <= k <= request.slices[1]],
    )
    stack = stack_from_array(
        data.array(),
        z_nm=request.z_nm,
        pixel_size_nm=(y_nm, x_nm),
        name=request.name,
        source=request.source,
        metadata=record.to_json(),
    )
    return Corrections(damage=None if data.damage is None else data.damage.array()).apply(stack)


def _fit_whole(channel: Channel, request: FitRequest, data: FitData, folder: Path) -> None:
    """One fit, whose state is kept so that it can go on after it was stopped or killed."""
    from napari_emgauss.fitting import fit

    from ._fit_store import checkpoint_path, forget, saved_fit, tidy

    tidy()
    checkpoint = checkpoint_path(request)
    stack = request_stack(request, data)
    if request.resume and saved_fit(request) is not None:
        updates = fit(stack, resume=checkpoint, checkpoint=checkpoint)  # with its own settings
    else:
        updates = fit(stack, request_config(request), checkpoint=checkpoint)
    last = None
    try:
        last = _walk(channel, updates, folder)
    finally:
        with channel.saving():
            updates.close()  # type: ignore[attr-defined] # writes the checkpoint
    if last is None:
        return
    if last.finished:
        forget(request)
    path: Path | str = ""
    if last.model is not None and last.iteration > 0:
        path = folder / "result.emgauss.safetensors"
        last.model.save(path)
    channel.tell(_message("finished" if last.finished else "stopped", last, path))


def _walk(channel: Channel, updates: Iterator[FitUpdate], folder: Path) -> FitUpdate | None:
    """Pass on what a fit tells until it ends or is stopped; its last word."""
    count, last_preview, pause_s, last = 0, -math.inf, 0.0, None
    threads = _cores()
    for update in updates:
        last = update
        _leave_a_core(channel, threads)
        if update.finished:
            break
        channel.wait_while_paused()
        if channel.stop_wanted:
            break
        now = time.perf_counter()
        wanted = channel.attention.is_set() and update.iteration > 0
        due = now - last_preview >= max(pause_s, CALM_PREVIEW_INTERVAL_S if channel.crowded.is_set() else 0.0)
        if wanted and due and update.model is not None:
            channel.attention.clear()
            preview = folder / f"preview-{count}.emgauss.safetensors"
            update.model.save(preview)
            count += 1
            cost = time.perf_counter() - now
            last_preview, pause_s = now, max(PREVIEW_INTERVAL_S, cost / PREVIEW_SHARE)
            channel.tell(_message("preview", update, preview))
        else:
            channel.tell_progress(_message("progress", update))
    return last


def _fit_in_tiles(channel: Channel, request: FitRequest, data: FitData) -> None:
    """Tile by tile into a folder that a later run goes on with."""
    import contextlib

    from napari_emgauss.tiles import RunOptions, TileSize, fit_tiles

    from ._fit_store import forget, tidy, tiles_path

    tidy()
    if not request.resume:
        forget(request)
    folder = tiles_path(request)
    options = RunOptions(threads_per_tile=_cores())
    updates = fit_tiles(
        request_stack(request, data),
        request_config(request),
        folder=folder,
        size=TileSize(**(request.tiles or {})),
        options=options,
    )
    last, shown = None, 0
    with contextlib.closing(updates):  # type: ignore[type-var]
        for update in updates:
            last = update
            if update.finished:
                break
            channel.wait_while_paused()
            if channel.stop_wanted:
                break
            if update.tiles_done > shown and channel.attention.is_set():
                channel.attention.clear()
                shown = update.tiles_done
                channel.tell(_tiles_message("preview", update, folder))
            else:
                channel.tell_progress(_tiles_message("progress", update))
    if last is not None:
        done = last.tiles_done > 0
        channel.tell(_tiles_message("finished" if last.finished else "stopped", last, folder if done else ""))


def _leave_a_core(channel: Channel, threads: int) -> None:
    """One thread fewer while somebody scrubs.

    Threads that work in step all wait for the one whose core the window has taken: one fewer is faster then.
    """
    import torch

    wanted = max(1, threads - 1) if channel.crowded.is_set() else threads
    if wanted != torch.get_num_threads():
        torch.set_num_threads(wanted)


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _message(
    kind: Literal["progress", "preview", "finished", "stopped"], update: FitUpdate, path: Path | str = ""
) -> FitMessage:
    return FitMessage(
        kind,
        stage=update.stage,
        iteration=update.iteration,
        total_iterations=update.total_iterations,
        loss=update.loss,
        gaussians=update.gaussians,
        elapsed_s=update.elapsed_s,
        eta_s=update.eta_s,
        text=update.text,
        model_path=str(path),
        stage_fraction=update.stage_fraction,
    )


def _tiles_message(
    kind: Literal["progress", "preview", "finished", "stopped"], update: TilesUpdate, path: Path | str = ""
) -> FitMessage:
    """Tiles as iterations of a thousandth: the window shows one bar for both."""
    return FitMessage(
        kind,
        stage="tiles",
        iteration=round(1000 * update.fraction),
        total_iterations=1000,
        gaussians=update.model.gaussian_count,
        elapsed_s=update.elapsed_s,
        eta_s=update.eta_s,
        text=f"{update.tiles_done} of {update.tiles_total} tiles",
        model_path=str(path),
    )
