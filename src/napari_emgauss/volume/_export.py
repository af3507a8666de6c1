"""Write the isotropic volume to a file, slice by slice, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_emgauss._errors import ConfigError, ExportError
from napari_emgauss._files import check_writable, whole, whole_folder
from napari_emgauss._parts import sweep
from napari_emgauss._paths import is_inside, kind_of, same_file
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss._remedies import remedy
from napari_emgauss.stack import Frame, Stack

from ._channel_model import one_channel
from ._exact import ExactModel
from ._look import Look
from ._plan import ExportPlan, plan_export
from ._protocol import VolumeModel
from ._provenance import Provenance
from ._traits import traits_of
from ._with_look import with_look
from .formats._registry import ExportFormat, export_format, output_formats

Planes = Iterator[NDArray[Any]]
# Slices rendered in one call: more let a graphics card work in batches, but memory stays independent of depth.
_BATCH_BYTES = 32 << 20
_BATCH_SLICES = 16


def export(
    model: VolumeModel,
    path: str | os.PathLike[str],
    *,
    spacing_nm: float | None = None,
    z_range_nm: Sequence[float] | None = None,
    format: str | None = None,
    channel: int | None = None,
    original_intensity: bool = False,
    look: Look = "smooth",
    texture_seed: int | None = None,
    stack: Stack | str | os.PathLike[str] | None = None,
    on_note: Callable[[str], None] | None = None,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> Path:
    """Render the volume from the first to the last observed slice and write it, in the source's grey values.

    The file appears under its name only when it is complete: it is written under a temporary name in the same folder
    and then renamed. Memory does not grow with depth.

    Parameters
    ----------
    model : VolumeModel
        A fitted model.
    path : path
        Its ending sets the format: ``.ome.tif``, ``.tif``, ``.ome.zarr``, ``.mrc``, ...; see :class:`ExportFormat`.
    spacing_nm : float, optional
        Distance between slices; the pixel size (mean of y and x) by default. If it does not divide the range, the
        nearest distance that does is used.
    z_range_nm : sequence of float, optional
        First and last depth.
    format : str, optional
        One of :func:`export_formats`; by default taken from the name.
    channel : int, optional
        Write only this channel of a model with several; by default all, side by side in the file.
    original_intensity : bool
        Undo the correction if brightness and contrast of the slices were evened out.
    look : {"smooth", "exact", "textured"}
        ``"exact"`` writes observed slices as they are in the source, byte for byte, where their depth is one of the
        grid's; pixels marked as damaged, and all other depths, are rendered. ``"textured"`` does so, too, and gives
        what is rendered the contrast and the noise of the observed slices. ``"smooth"`` renders all.
    texture_seed : int, optional
        Of that noise, 0 by default: the same seed, the same pixels.
    stack : Stack or path, optional
        For all looks but smooth: the stack that the model was fitted to; by default the file it was read from.
    on_note : callable, optional
        Called with a sentence that says how many slices are kept as they are.
    overwrite : bool
        Replace an existing file, or a folder of which every file was written by an earlier export. The stack that the
        model was fitted to, and what lies in its own folder, are never replaced.
    on_progress : callable, optional
        Called with each :class:`ProgressUpdate`, one per slice. It may raise to cancel: nothing is left behind, and the
        exception passes through.

    Returns
    -------
    Path
        Of the file written.

    Raises
    ------
    ExportError
        The file exists, its folder does not or cannot be written to (tried before anything is rendered), the disk is
        full, or writing failed; nothing is left behind. A folder to replace holds something that is not ours.
    DepthError, ConfigError
        See :func:`plan_export`, and :func:`with_look`. A format cannot hold the source's values
        as they are.
    StackError
        For all looks but smooth: the stack cannot be read, is another one, or has changed since the fit.
    """
    model = as_shown(
        model,
        channel=channel,
        original_intensity=original_intensity,
        look=look,
        stack=stack,
        texture_seed=texture_seed,
    )
    plan = plan_export(
        Frame.of(model),
        path,
        dtype=model.dtype,
        channels=model.channels,
        provenance=model.provenance,
        spacing_nm=spacing_nm,
        z_range_nm=z_range_nm,
        format=format,
        labels=traits_of(model).holds_labels,
    )
    if isinstance(stack, (str, os.PathLike)) and same_file(stack, plan.path):
        raise ExportError(f"'{plan.path}' is the stack itself: choose another name.")
    check_target(model, plan, overwrite=overwrite)
    if isinstance(model, ExactModel):
        plan = with_own_slices(model, plan, on_note)
    return write_planned(model, plan, overwrite=overwrite, progress=Progress(on_progress))


def check_target(model: VolumeModel, plan: ExportPlan, *, overwrite: bool) -> None:
    """Find out whether what is planned can be written, before anything is rendered; errors are those of `export`."""
    _refuse_own_input(model, plan.path)
    check_writable(
        plan.path,
        overwrite=overwrite,
        folder=plan.is_folder,
        nbytes=0 if plan.is_folder else plan.nbytes,  # a Zarr is compressed, nobody knows how well
    )
    if plan.is_folder and plan.path.exists():
        _check_replaced(export_format(plan.format), plan.path, overwrite)


def write_planned(model: VolumeModel, plan: ExportPlan, *, overwrite: bool, progress: Progress) -> Path:
    """Render what is planned and write it, whole or not at all; errors are those of `export`."""
    row = export_format(plan.format)
    write = row.load_writer()

    def check_old(folder: Path) -> None:
        _check_replaced(row, folder, overwrite)

    if plan.is_folder:
        with whole_folder(plan.path, row.writes, check_old=check_old) as target:
            write(plan, _rendered(model, plan, progress), target)
    else:
        with whole(plan.path, overwrite=overwrite) as target:
            write(plan, _rendered(model, plan, progress), target)
    return plan.path


def as_shown(
    model: VolumeModel,
    *,
    channel: int | None = None,
    original_intensity: bool = False,
    look: Look = "smooth",
    stack: Stack | str | os.PathLike[str] | None = None,
    texture_seed: int | None = None,
) -> VolumeModel:
    """The model as an export shows it; parameters and errors are those of `export`. ``traits`` hold its error bars."""
    if channel is not None:
        model = one_channel(model, channel)
    model = with_look(model, look, stack, original_intensity=original_intensity, texture_seed=texture_seed)
    if stack is not None and not isinstance(model, ExactModel):
        raise ConfigError("A stack is needed only where slices are kept", remedy=remedy("exact look"))
    return model


def with_own_slices(model: ExactModel, plan: ExportPlan, on_note: Callable[[str], None] | None) -> ExportPlan:
    """The plan that says which slices are kept, after making sure that they can be."""
    check_keeps_values(plan, model.dtype)
    kept = model.kept(plan.depths_nm)
    model.check(kept.kept)
    if on_note is not None:
        on_note(str(kept))
    about: dict[str, Any] = {
        "look": model.traits.look,
        "own_slices_z_nm": [float(model.z_nm[k]) for k in kept.kept],
    }
    if "texture_seed" in model.provenance:
        about["texture_seed"] = model.provenance["texture_seed"]
    return replace(plan, about={**plan.about, **about})


def check_keeps_values(plan: ExportPlan, dtype: DTypeLike) -> None:
    """Refuse a format in which grey values of a type would not be what they were.

    Raises
    ------
    ConfigError
        It is such a format.
    """
    if not np.can_cast(dtype, plan.dtype, "safe"):
        raise ConfigError(
            f"{export_format(plan.format).label} holds grey values of type {np.dtype(dtype)} as {plan.dtype}, so "
            "slices would not be kept as they are: choose another format."
        )


def remove_export_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove the unfinished file or folder that a killed :func:`export` to ``path`` left."""
    rows = output_formats()
    sweep(path, lambda found: any(row.kind == "folder" and row.writes(found) for row in rows))


def _rendered(model: VolumeModel, plan: ExportPlan, progress: Progress) -> Planes:
    """The slices one after the other, ``(H, W)`` or ``(C, H, W)``, in the file's dtype."""
    count, height, width = plan.shape
    at_once = max(1, min(_BATCH_SLICES, _BATCH_BYTES // (4 * plan.channels * height * width)))
    progress.tell(0.0, f"0 of {count} slices")
    done = 0
    for batch in _batches(model, plan.depths_nm, at_once):
        for plane in batch:
            yield np.ascontiguousarray(plane, dtype=plan.dtype)
            done += 1
            progress.tell(done / count, f"{done} of {count} slices")


def _batches(model: VolumeModel, depths_nm: NDArray[np.float64], at_once: int) -> Iterator[NDArray[Any]]:
    """Slices, ``at_once`` at a time; a GPU renders the next ones while these are written."""
    pieces = [depths_nm[start : start + at_once] for start in range(0, len(depths_nm), at_once)]
    if not traits_of(model).has_own_device:
        for piece in pieces:
            yield np.asarray(model.render(piece))
        return
    with ThreadPoolExecutor(1, thread_name_prefix="emgauss-export") as other:
        following = other.submit(model.render, pieces[0])
        for piece in pieces[1:]:
            batch = following.result()
            following = other.submit(model.render, piece)
            yield np.asarray(batch)
        yield np.asarray(following.result())


def _check_replaced(row: ExportFormat, folder: Path, overwrite: bool) -> None:
    """Refuse to replace a folder in which anything is not ours."""
    if not overwrite:
        raise ExportError(f"'{folder}' already exists", remedy=remedy("overwrite"))
    owned = row.owned_in(folder)
    if owned is None:
        raise ExportError(
            f"'{folder}' is a folder, but not {row.label} from napari-emgauss, so it is not overwritten: choose "
            "another name."
        )
    owned.check()


def _refuse_own_input(model: VolumeModel, path: Path) -> None:
    """What the volume is made from must outlive it, whoever says overwrite."""
    source = Provenance.from_json(model.provenance).source
    if isinstance(source, str) and source and kind_of(Path(source)) is not None and same_file(source, path):
        raise ExportError(f"'{path}' is the stack that the model was fitted to: choose another name.")
    folder = traits_of(model).folder
    if folder is not None and is_inside(path, folder):
        raise ExportError(f"'{path}' lies in the folder of the model itself: choose another name.")
