"""The fit in its own process: reads the stack from shared memory, tells how it goes, and leaves model files behind.

Runs in a child; knows neither Qt nor napari. Everything heavy is imported inside the functions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ._process import Channel
from ._shared_array import SharedArray

if TYPE_CHECKING:
    from napari_emgauss.fit import FitUpdate
    from napari_emgauss.stack import Stack

    from ._layer_input import FitRequest

PREVIEW_INTERVAL_S = 1.0
"""Least time between two previews; longer where writing one takes more than :data:`PREVIEW_SHARE` of the time."""

PREVIEW_SHARE = 0.05
"""Share of the fit's time that previews may take."""


@dataclass(frozen=True)
class FitMessage:
    """What the fit tells the window.

    Parameters
    ----------
    kind : {"device", "progress", "preview", "finished", "stopped"}
        The last two are final.
    stage, iteration, total_iterations, loss, gaussians, elapsed_s, eta_s, text
        As in :class:`~napari_emgauss.fit.FitUpdate`.
    model_path : str
        A model file to show, for previews and final messages; empty where there is none.
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


def fit_in_child(channel: Channel, request: FitRequest, data: SharedArray, folder: str) -> None:
    """Target of the fit's process.

    Parameters
    ----------
    channel : Channel
        ``channel.attention`` set means: the window has shown the last preview and wants the next.
    request : FitRequest
        What to fit.
    data : SharedArray
        The chosen part of the stack.
    folder : str
        Where model files go. The window removes them.
    """
    from napari_emgauss.fit import fit, preset
    from napari_emgauss.render import choose_backend

    choice = choose_backend(request.device)
    channel.tell(FitMessage("device", text=f"{choice.device}: {choice.reason}"))
    config = preset(request.preset, device=request.device, **request.overrides)
    updates = fit(request_stack(request, data), config)
    try:
        _walk(channel, updates, Path(folder))
    finally:
        updates.close()  # type: ignore[attr-defined]


def request_stack(request: FitRequest, data: SharedArray) -> Stack:
    """The stack a request stands for."""
    import numpy as np

    from napari_emgauss.stack import stack_from_array

    z_nm, y_nm, x_nm = request.voxel_size_nm
    first = request.slices[0]
    return stack_from_array(
        data.array(),
        # Depths are those in the whole stack, so that they mean the same whichever part was fitted.
        z_nm=(first + np.arange(request.shape[0])) * z_nm,
        pixel_size_nm=(y_nm, x_nm),
        name=request.name,
        source=request.source,
        metadata={
            "first_slice": first,
            "region": list(request.region),
            "layer_shape": list(request.layer_shape or ()),
        },
    )


def _walk(channel: Channel, updates: Iterator[FitUpdate], folder: Path) -> None:
    count, next_preview, last = 0, 0.0, None
    for update in updates:
        last = update
        if update.finished:
            break
        channel.wait_while_paused()
        if channel.stop_wanted:
            break
        now = time.perf_counter()
        if now >= next_preview and channel.attention.is_set() and update.iteration > 0 and update.model is not None:
            channel.attention.clear()
            preview = folder / f"preview-{count}.emgauss.safetensors"
            update.model.save(preview)
            count += 1
            cost = time.perf_counter() - now
            next_preview = now + max(PREVIEW_INTERVAL_S, cost / PREVIEW_SHARE)
            channel.tell(_message("preview", update, preview))
        else:
            channel.tell_progress(_message("progress", update))
    if last is None:
        return
    path: Path | str = ""
    if last.model is not None and last.iteration > 0:
        path = folder / "result.emgauss.safetensors"
        last.model.save(path)
    channel.tell(_message("finished" if last.finished else "stopped", last, path))


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
    )
