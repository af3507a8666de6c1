"""Writing an isotropic volume in its own process. Runs in a child; knows neither Qt nor napari."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_emgauss._errors import ExportError

from ._job import answer_job
from ._process import Channel
from ._shared_array import SharedArray

if TYPE_CHECKING:
    from napari_emgauss._progress import Progress
    from napari_emgauss.stack import Normalisation, Stack
    from napari_emgauss.volume import Look


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
    confidence : bool
        Write how far the prior trusted what it inferred beside it, as ``NAME.confidence.ENDING``.
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
    confidence: bool = False
    look: Look = "smooth"
    slices: SharedArray | None = None


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


def confidence_target(target: str) -> str:
    """Where the confidence of a volume is written: ``volume.ome.tif`` gives ``volume.confidence.ome.tif``."""
    path = Path(target)
    stem, dot, ending = path.name.partition(".")
    return str(path.with_name(f"{stem}.confidence{dot}{ending}"))


def export_in_child(channel: Channel, model_path: str, request: ExportRequest) -> None:
    """Target of the export's process; answers with what was written and removes the file ``model_path``."""

    def work(progress: Progress) -> Written:
        from napari_emgauss.tiles import load
        from napari_emgauss.volume import export

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
        if request.confidence:
            if model.confidence is None:
                raise ExportError(
                    "This model holds no confidence (its prior has none, or it was fitted in tiles or by an older "
                    "version): untick the confidence."
                )
            export(model.confidence, confidence_target(request.target), **grid)
        notes: list[str] = []
        stack = None if request.slices is None else _stack_of(model, request.slices)
        written = export(
            model,
            request.target,
            look=request.look,
            stack=stack,
            on_note=notes.append,
            on_progress=progress,
            **grid,
        )
        return Written(str(written), " ".join(notes))

    answer_job(channel, work)


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
