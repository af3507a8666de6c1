"""An export as a job: what it starts with, and what is swept up when it is killed. Knows neither Qt nor napari."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_emgauss._errors import EmgaussError, StackError
from napari_emgauss.stack import Stack
from napari_emgauss.volume import ExactModel, Provenance, exact_model, look_row, remove_export_leftovers

from ._export_child import ExportRequest, export_in_child
from ._job import Job
from ._remote_model import RemoteModel
from ._shared_array import SharedArray


def export_job(model: RemoteModel, request: ExportRequest, sources: Sequence[Stack] = ()) -> Job:
    """A job that writes a copy of the model's present state: a running fit replaces the file.

    Of ``sources``, stacks that the model may have been fitted to, the first that it was hands over its slices, where
    the look needs them and no file is known that has them.

    Raises
    ------
    StackError
        They do not fit into memory.
    """
    request = dataclasses.replace(request, slices=_slices_for(model, request, sources))
    copy = model.scratch_copy()

    def clean_up() -> None:
        """Remove what a killed export has left: its copy of the model, and unfinished files."""
        if not Path(copy).is_dir():  # a folder of tiles is the user's own
            Path(copy).unlink(missing_ok=True)
        for path in request.paths():
            remove_export_leftovers(path)

    return Job(export_in_child, (copy, request), name="export", clean_up=clean_up)


def _slices_for(model: RemoteModel, request: ExportRequest, sources: Sequence[Stack]) -> SharedArray | None:
    known = Provenance.from_json(model.provenance)
    in_file = bool(known.source) and bool(known.own_slices.digests) and Path(str(known.source)).exists()
    if not look_row(request.look).keeps_own_slices or in_file:
        return None
    for source in sources:
        try:
            exact = exact_model(model, source)
            exact.check((0, len(model.z_nm) - 1))
        except EmgaussError:
            continue  # another layer, or what the child will say of the file
        return _shared(exact)
    return None


def _shared(exact: ExactModel) -> SharedArray:
    try:
        shared = SharedArray.empty(tuple(exact.slices.shape), exact.slices.dtype)
    except (MemoryError, OSError) as error:
        raise StackError("There is not enough memory for the stack: export the smooth look.") from error
    for index, plane in enumerate(shared.array()):
        plane[...] = np.asarray(exact.slices[index])
    return shared
