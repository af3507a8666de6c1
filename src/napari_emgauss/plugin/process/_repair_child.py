"""A stack again with what is left out and damaged filled. Runs in a child; knows neither Qt nor napari."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_emgauss._errors import ConfigError, EmgaussError, FitError
from napari_emgauss._rescue import rescued

from ._fit_child import request_config, request_stack
from ._job import answer_job
from ._process import Channel

if TYPE_CHECKING:
    from napari_emgauss._progress import Progress
    from napari_emgauss.plugin.process._request import FitData, FitRequest
    from napari_emgauss.stack import Stack

_SHARE_OF_FIT = 0.95


@dataclass(frozen=True)
class RepairTarget:
    """Where a repaired stack goes.

    Parameters
    ----------
    path : str
        File, or folder for OME-Zarr, to write.
    overwrite : bool
        Replace what is there.
    """

    path: str
    overwrite: bool = False


@dataclass(frozen=True)
class Repaired:
    """What was written, and a sentence on what was filled."""

    path: str
    note: str


def whole_stack(request: FitRequest, shape: tuple[int, ...]) -> FitRequest:
    """A request for all of a layer ``(z, y, x)`` but the slices that are left out: a stack is repaired as a whole."""
    depth, height, width = shape[-3:]
    return dataclasses.replace(request, region=(0, height, 0, width), slices=(0, depth - 1), tiles=None, resume=False)


def repair_in_child(channel: Channel, request: FitRequest, data: FitData, target: RepairTarget) -> None:
    """Target of the repair's process; answers with :class:`Repaired`.

    Parameters
    ----------
    channel : Channel
        To the window.
    request : FitRequest
        What to fit; the slices that it leaves out are filled.
    data : FitData
        The good slices, with the damaged pixels.
    target : RepairTarget
        What to write.
    """

    def work(progress: Progress) -> Repaired:
        from napari_emgauss.stack import Frame
        from napari_emgauss.volume import check_keeps_values, check_repair, plan_export, repair

        config = request_config(request)
        if config.slice_shifts:
            raise ConfigError(
                "Slices that the fit shifts cannot stay as they are: untick slice shifts under Advanced settings."
            )
        stack = _with_left_out(request_stack(request, data), request)
        check_repair(stack)
        dtype = stack.normalisation.dtype
        plan = plan_export(Frame.of(stack), target.path, dtype=dtype, channels=stack.channels, depths_nm=stack.z_nm)
        check_keeps_values(plan, dtype)
        model = _fitted(stack, config, progress.part(0.0, _SHARE_OF_FIT))
        notes: list[str] = []
        try:
            written = repair(
                model,
                stack,
                target.path,
                overwrite=target.overwrite,
                on_note=notes.append,
                on_progress=progress.part(_SHARE_OF_FIT, 1.0),
            )
        except EmgaussError as error:
            place = rescued(Path(target.path).with_suffix(".safetensors"), model.save)
            kept = "" if place is None else f" The fitted model is kept in {place}."
            raise FitError(f"{error}{kept}") from error
        return Repaired(str(written), " ".join(notes))

    answer_job(channel, work)


def _with_left_out(stack: Stack, request: FitRequest) -> Stack:
    """The stack, noting which slices it lacks, and where."""
    step = request.voxel_size_nm[0]
    skipped = [k for k in request.skip if request.slices[0] <= k <= request.slices[1]]
    if not skipped:
        return stack
    return stack.noting(left_out_slices=skipped, left_out_z_nm=[k * step for k in skipped])


def _fitted(stack: Stack, config: Any, progress: Progress) -> Any:
    from napari_emgauss.fitting import fit

    last = None
    for update in fit(stack, config):
        last = update
        done = update.iteration / max(update.total_iterations, 1)
        if update.stage == "prior":
            progress.tell(0.3 * (update.stage_fraction or 0.0), update.text or "preparing the prior")
        else:
            progress.tell(
                0.3 + 0.7 * done, f"{update.stage}, iteration {update.iteration} of {update.total_iterations}"
            )
    if last is None or last.model is None:
        raise FitError("The fit ended before it had a model: try again.")
    return last.model
