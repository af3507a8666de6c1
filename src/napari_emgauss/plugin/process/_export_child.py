"""Writing an isotropic volume in its own process. Runs in a child; knows neither Qt nor napari."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_emgauss.stack import Frame
from napari_emgauss.volume import (
    Companion,
    check_target,
    companion_of,
    companion_path,
    companion_row,
    plan_export,
)

from ._job import answer_job
from ._process import Channel
from ._shared_array import SharedArray

if TYPE_CHECKING:
    from napari_emgauss._progress import Progress
    from napari_emgauss.stack import Normalisation, Stack
    from napari_emgauss.volume import Look, VolumeModel


@dataclass(frozen=True)
class ExportRequest:
    """What to write where.

    Parameters
    ----------
    target : str
        File, or folder for OME-Zarr, to write.
    spacing_nm : float
        Distance between slices.
    z_range_nm : tuple of float or None
        First and last depth; None for all.
    format : str or None
        As in :func:`napari_emgauss.volume.export`; None goes by the name.
    dtype : str or None
        NumPy name of the grey values' type; None for the source's.
    overwrite : bool
        Replace what is there.
    device : str
        Where to render.
    beside : tuple of Companion
        What to write beside it, as ``NAME.confidence.ENDING`` or ``NAME.error.ENDING``.
    look : Look
        How the volume looks.
    slices : SharedArray or None
        For looks that keep them: the slices that were fitted, as they are in a layer; None takes those of the file.
    """

    target: str
    spacing_nm: float
    z_range_nm: tuple[float, float] | None = None
    format: str | None = None
    dtype: str | None = None
    overwrite: bool = False
    device: str = "auto"
    beside: tuple[Companion, ...] = ()
    look: Look = "smooth"
    slices: SharedArray | None = None

    def paths(self) -> tuple[Path, ...]:
        """Everything that will be written."""
        return (Path(self.target), *(companion_path(self.target, name) for name in self.beside))


@dataclass(frozen=True)
class Written:
    """What an export has written.

    Parameters
    ----------
    path : str
        Where to.
    note : str
        Which slices it keeps as they are, in a sentence; empty for the smooth look.
    """

    path: str
    note: str = ""


def export_in_child(channel: Channel, model_path: str, request: ExportRequest) -> None:
    """Target of the export's process; answers with what was written and removes the file ``model_path``."""

    def work(progress: Progress) -> Written:
        from napari_emgauss.tiles import load
        from napari_emgauss.volume import as_shown, export

        try:
            model = load(model_path, device=request.device)
        finally:
            if not Path(model_path).is_dir():  # a folder of tiles is the user's own
                Path(model_path).unlink(missing_ok=True)
        if request.dtype is not None:
            model.normalisation = with_dtype(model.normalisation, request.dtype)
        grid: dict[str, Any] = {
            "spacing_nm": request.spacing_nm,
            "z_range_nm": request.z_range_nm,
            "format": request.format,
            "overwrite": request.overwrite,
        }
        stack = None if request.slices is None else _stack_of(model, request.slices)
        view = as_shown(model, look=request.look, stack=stack)
        beside = _beside(view, request, grid)
        parts = progress.shares({request.target: 1.0, **dict.fromkeys(beside, 0.5)})
        notes: list[str] = []
        written = export(
            view,
            request.target,
            on_note=notes.append,
            on_progress=parts[request.target],
            **grid,
        )
        for path, companion in beside.items():
            export(companion, path, on_progress=parts[path], **grid)
        return Written(str(written), " ".join(notes))

    answer_job(channel, work)


def _beside(view: VolumeModel, request: ExportRequest, grid: Mapping[str, Any]) -> dict[str, VolumeModel]:
    """Paths and volumes of what is written beside; what cannot be is told before anything is rendered."""
    found: dict[str, VolumeModel] = {}
    where = {name: grid[name] for name in ("spacing_nm", "z_range_nm", "format")}
    for name in request.beside:
        volume = companion_of(
            view, name, "This model", f"untick the {companion_row(name).label}, or fit the stack again"
        )
        path = str(companion_path(request.target, name))
        plan = plan_export(Frame.of(volume), path, dtype=volume.dtype, channels=volume.channels, **where)
        check_target(view, plan, overwrite=request.overwrite)  # the view knows which stack it is made from
        found[path] = volume
    return found


def _stack_of(model: Any, slices: SharedArray) -> Stack:
    """The slices that a model was fitted to, as the stack they were."""
    from napari_emgauss.stack import Stack

    return Stack(slices.array(), model.z_nm, model.pixel_size_nm, model.normalisation, name="of the layer")


def with_dtype(normalisation: Normalisation, dtype: str) -> Normalisation:
    """Grey values in another type: the same values where that type holds them, else stretched over its range."""
    wanted, source = np.dtype(dtype), np.dtype(normalisation.dtype)
    fits = wanted.kind == "f" or (source.kind in "iu" and np.can_cast(source, wanted))
    if fits:
        return dataclasses.replace(normalisation, dtype=wanted.name)
    return dataclasses.replace(normalisation, low=0.0, high=float(np.iinfo(wanted).max), dtype=wanted.name)
