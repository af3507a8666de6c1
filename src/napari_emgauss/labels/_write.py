"""Labels of the whole volume to a file, or into the OME-Zarr that holds the image."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_emgauss._errors import ExportError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.stack import Frame
from napari_emgauss.volume import (
    ExportFormat,
    check_target,
    export_format,
    export_format_of,
    plan_export,
    write_planned,
)

from ._carry import CarriedLabels
from ._container import GROUP, ImageContainer
from ._gap_by_gap import GapByGap
from ._types import smallest_type


def export_labels(
    carried: CarriedLabels,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    spacing_nm: float | None = None,
    z_range_nm: Sequence[float] | None = None,
    format: str | None = None,
    overwrite: bool = False,
    on_note: Callable[[str], None] | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Write labels at every depth of the isotropic grid.

    The grid is that of :func:`export` with the same numbers; in the OME-Zarr of an image, by default that of the image.

    Parameters
    ----------
    carried : CarriedLabels
        What to write.
    path : path
        A new file in a format of :func:`export`, or an OME-Zarr that holds the exported image: then the labels go
        beside it, as ``labels/NAME`` with the metadata that NGFF asks for, and the levels and chunks of the image.
        Where the format does not have the labels' type, the smallest that it has and that holds the ids is written.
    name : str, optional
        ``NAME`` in an OME-Zarr; that of the labels' file by default.
    on_note : callable, optional
        Called with a sentence where another type is written.
    spacing_nm, z_range_nm, format, overwrite, on_progress
        See :func:`export`.

    Returns
    -------
    Path
        Of the file or folder written.

    Raises
    ------
    ExportError
        It exists, cannot be written, the image in the OME-Zarr lies on another grid, or the format holds no such ids.
    """
    path = Path(path)
    container = ImageContainer.at(path)
    target, row = path, _row_of(path, format)
    if container is not None:
        chosen = name or Path(carried.labels.name).name.split(".")[0] or "labels"
        if "/" in chosen or "\\" in chosen or chosen.startswith("."):
            raise ExportError(f"'{chosen}' is not a valid name for labels in an OME-Zarr: leave out slashes and dots.")
        target, format = path / GROUP / chosen, container.format
        row = export_format(format)
        if spacing_nm is None and z_range_nm is None and (grid := container.grid(Frame.of(carried))) is not None:
            spacing_nm, z_range_nm = grid
    dtype = _held_type(carried, row)
    if dtype != carried.dtype and on_note is not None and row is not None:
        on_note(f"{row.label} has no {carried.dtype}: the labels are written as {dtype}, which holds all of them.")
    progress = Progress(on_progress)
    place = target.parent if container is None else path
    with GapByGap(carried, dtype, place, spacing_nm, z_range_nm, progress) as model:
        plan = plan_export(
            Frame.of(model),
            target,
            dtype=dtype,
            provenance=model.provenance,
            spacing_nm=spacing_nm,
            z_range_nm=z_range_nm,
            format=format,
            labels=True,
        )
        if container is None:
            check_target(model, plan, overwrite=overwrite)
            return write_planned(model, plan, overwrite=overwrite, progress=progress)
        container.check(plan.shape)
        plan = replace(plan, levels_like=container.levels)
        with container.group():
            check_target(model, plan, overwrite=overwrite)
            written = write_planned(model, plan, overwrite=overwrite, progress=progress)
            container.announce(target.name)
        return written


def _row_of(path: Path, format: str | None) -> ExportFormat | None:
    """The format that a file gets; None where its name does not say, which is told later."""
    return export_format_of(path.name) if format is None else export_format(format)


def _held_type(carried: CarriedLabels, row: ExportFormat | None) -> np.dtype[Any]:
    """The labels' type, or the smallest of a format that holds their ids."""
    dtype = carried.dtype
    if row is None or dtype.name in row.dtypes:
        return dtype
    if row.instead is not None:  # what the small format cannot hold becomes a file of its larger one
        row = export_format(row.instead)
        if dtype.name in row.dtypes:
            return dtype
    low = high = carried.labels.nothing
    for k in carried.labels.labelled:
        image = carried.labels.image(k)
        low, high = min(low, int(image.min())), max(high, int(image.max()))
    return smallest_type(low, high, row.dtypes, row.label)
