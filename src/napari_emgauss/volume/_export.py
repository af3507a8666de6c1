"""Write the isotropic volume to a file, slice by slice, whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ExportError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack import Frame

from ._channel_model import one_channel
from ._original_intensity import in_original_intensity
from ._plan import ExportPlan, plan_export
from ._protocol import VolumeModel
from .formats._registry import export_format

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
    overwrite: bool = False,
    on_progress: Callable[[float, str], None] | None = None,
) -> Path:
    """Render the volume from the first to the last observed slice and write it, in the source's grey values.

    The file appears under its name only when it is complete: it is written to a temporary name in the same folder and
    renamed. Memory does not grow with depth.

    Parameters
    ----------
    model : VolumeModel
        A fitted model.
    path : path
        Its ending says the format: ``.ome.tif``, ``.tif``, ``.ome.zarr``, ``.mrc``, ...; see :class:`ExportFormat`.
    spacing_nm : float, optional
        Distance between slices; the pixel size (mean of y and x) by default. Where it does not divide the range, the
        nearest that does.
    z_range_nm : sequence of float, optional
        First and last depth.
    format : str, optional
        One of :func:`export_formats`; by default told from the name.
    channel : int, optional
        Of a model of several channels write only this one; by default all, side by side in the file.
    original_intensity : bool
        Write grey values as they are in the source, where brightness and contrast of the slices were evened out.
    overwrite : bool
        Replace an existing file.
    on_progress : callable, optional
        Called as ``on_progress(fraction, text)`` after each slice. It may raise to cancel: nothing is left behind, and
        the exception passes through.

    Returns
    -------
    Path
        Of the file written.

    Raises
    ------
    ExportError
        The file exists, its folder does not, the disk is full, or writing failed; nothing is left behind.
    DepthError, ConfigError
        See :func:`plan_export`.
    """
    if channel is not None:
        model = one_channel(model, channel)
    if original_intensity:
        model = in_original_intensity(model)
    plan = plan_export(
        Frame.of(model),
        path,
        dtype=model.dtype,
        channels=model.channels,
        provenance=model.provenance,
        spacing_nm=spacing_nm,
        z_range_nm=z_range_nm,
        format=format,
    )
    _check_target(plan, overwrite)
    temporary = plan.path.with_name(f".{plan.path.name}.{uuid.uuid4().hex[:8]}.part")
    write = export_format(plan.format).load_writer()
    try:
        write(plan, _rendered(model, plan, on_progress), temporary)
        _check_target(plan, overwrite)  # minutes have passed
        _rename(temporary, plan.path)
    except ExportError:
        raise
    except OSError as error:
        raise ExportError(f"{plan.path} could not be written: {_reason(error)}.") from error
    finally:
        _remove(temporary)
    return plan.path


def _rendered(model: VolumeModel, plan: ExportPlan, on_progress: Callable[[float, str], None] | None) -> Planes:
    """The slices one after the other, ``(H, W)`` or ``(C, H, W)``, in the file's dtype."""
    count, height, width = plan.shape
    at_once = max(1, min(_BATCH_SLICES, _BATCH_BYTES // (4 * plan.channels * height * width)))
    if on_progress is not None:
        on_progress(0.0, f"0 of {count} slices")
    done = 0
    for batch in _batches(model, plan.depths_nm, at_once):
        for plane in batch:
            yield np.ascontiguousarray(plane, dtype=plan.dtype)
            done += 1
            if on_progress is not None:
                on_progress(done / count, f"{done} of {count} slices")


def _batches(model: VolumeModel, depths_nm: NDArray[np.float64], at_once: int) -> Iterator[NDArray[Any]]:
    """Slices, ``at_once`` at a time; a GPU renders the next ones while these are written."""
    pieces = [depths_nm[start : start + at_once] for start in range(0, len(depths_nm), at_once)]
    if getattr(getattr(model, "device", None), "type", "cpu") == "cpu":
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


def _check_target(plan: ExportPlan, overwrite: bool) -> None:
    path, folder = plan.path, plan.path.absolute().parent
    if not folder.is_dir():
        raise ExportError(f"There is no folder {folder}: make it first.")
    if path.exists() or path.is_symlink():
        if not overwrite:
            raise ExportError(f"{path} exists already", remedy=remedy("overwrite"))
        if path.is_dir() != plan.is_folder:
            raise ExportError(f"{path} is a {'folder' if path.is_dir() else 'file'}, so it cannot be overwritten.")
        row = export_format(plan.format)
        if path.is_dir() and not any((path / name).exists() for name in row.marks):
            raise ExportError(f"{path} is a folder but not {row.label}: it is not overwritten.")
    free = shutil.disk_usage(folder).free
    if not plan.is_folder and plan.nbytes > free:  # a Zarr is compressed, nobody knows how well
        raise ExportError(
            f"The volume needs {plan.nbytes / 1e9:.2f} GB, but only {free / 1e9:.2f} GB are free in {folder}."
        )


def _reason(error: OSError) -> str:
    # NumPy tells a full disk as "40000 requested and 16928 written", without the system's error number.
    short = error.errno is None and "requested" in str(error)
    if short or error.errno == errno.ENOSPC:
        return "the disk is full"
    return error.strerror or str(error)


def _rename(temporary: Path, path: Path) -> None:
    if not path.is_dir():
        os.replace(temporary, path)
        return
    # A folder cannot be replaced in one step: the old one steps aside until the new one is there.
    old = temporary.with_suffix(".old")
    os.replace(path, old)
    try:
        os.replace(temporary, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
