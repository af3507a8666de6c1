"""The fit in its own process: reads the stack from shared memory, tells how it goes, and leaves model files behind.

Runs in a child; knows neither Qt nor napari. Everything heavy is imported inside the functions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_emgauss._errors import EmgaussError, FitError

from ._process import Channel

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig, FitUpdate
    from napari_emgauss.plugin.process._request import FitData, FitRequest
    from napari_emgauss.render import EmgaussModel
    from napari_emgauss.stack import Stack
    from napari_emgauss.tiles import TilesUpdate

PREVIEW_INTERVAL_S = 1.0
"""Least time between two previews; longer where writing one takes more than :data:`PREVIEW_SHARE` of the time."""

FULL_DISK_INTERVAL_S = 30.0
"""Time between two tries to write a preview where there is no room for it."""

CALM_PREVIEW_INTERVAL_S = 5.0
"""The same while somebody scrubs: then the cores are scarce, and pictures that change by themselves disturb."""

WARNING = "Warning: "
"""What the fit says begins so where it is to be told beside its progress."""

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
    note : str
        What else is to be told, in a sentence: a warning, where a result is, or, beside the device, which prior that
        has learned before is used.
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
    note: str = ""


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
    _tell_device(channel, request)
    if request.tiles is None:
        _fit_whole(channel, request, data, Path(folder))
    else:
        _fit_in_tiles(channel, request, data)


def _tell_device(channel: Channel, request: FitRequest, note: str = "") -> None:
    from napari_emgauss.render import choose_backend

    choice = choose_backend(request.device)
    channel.tell(FitMessage("device", text=f"{choice.device}: {choice.reason}", note=note))


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
    from ._fit_learning import LearningFit
    from ._fit_store import forget, tidy

    tidy()
    learning = LearningFit(
        request,
        request_stack(request, data),
        request_config(request),
        data.stack_id,
        lambda note: _tell_device(channel, request, note),
    )
    updates = learning.updates()
    last = None
    try:
        last = _walk(channel, updates, folder, learning.keep_prior)
    finally:
        with channel.saving():
            updates.close()  # writes the checkpoint
    if last is None:
        return
    path: Path | str = ""
    note = ""
    if last.model is not None and last.iteration > 0:
        with channel.saving():
            path, note = _keep_result(last.model, folder, request)
    if last.finished and not request.patch:  # only now: the result is on the disk
        forget(request)
    channel.tell(_message("finished" if last.finished else "stopped", last, path, note))


def _keep_result(model: EmgaussModel, folder: Path, request: FitRequest) -> tuple[Path, str]:
    """Save the model where the window looks for it, else where it can be saved; and what to tell of that.

    Raises
    ------
    FitError
        It can be saved nowhere.
    """
    from ._fit_store import result_path

    usual, other = folder / "result.emgauss.safetensors", result_path(request)
    try:
        model.save(usual)
        return usual, ""
    except (EmgaussError, OSError) as error:
        refused = error
    try:
        model.save(other)
    except (EmgaussError, OSError) as error:
        raise FitError(
            f"The result could be saved neither in {usual.parent} nor in {other.parent} ({error}). The state of the "
            "fit is kept: make room, then press Resume."
        ) from refused
    return other, f"The temporary folder could not be written to, so the result is kept as {other}."


def _walk(
    channel: Channel, updates: Iterator[FitUpdate], folder: Path, on_learned: Callable[[], None] = lambda: None
) -> FitUpdate | None:
    """Pass on what a fit tells until it ends or is stopped; its last word. ``on_learned`` follows on the prior."""
    count, last_preview, pause_s, last = 0, -math.inf, 0.0, None
    threads, learned = _cores(), False
    for update in updates:
        last = update
        if update.stage == "teacher-student" and not learned:
            learned = True
            on_learned()
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
            try:
                update.model.save(preview)
            except (EmgaussError, OSError) as error:  # no reason to end a fit
                last_preview, pause_s = now, FULL_DISK_INTERVAL_S
                channel.attention.set()
                note = f"The fit cannot be shown while it runs ({error}), but it continues."
                channel.tell_progress(_message("progress", update, note=note))
                continue
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
    kind: Literal["progress", "preview", "finished", "stopped"],
    update: FitUpdate,
    path: Path | str = "",
    note: str = "",
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
        note=note or (update.text if update.text.startswith(WARNING) else ""),
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
