"""An export as a job: what it starts with, and what is swept up when it is killed. Knows neither Qt nor napari."""

from __future__ import annotations

from pathlib import Path

from napari_emgauss.volume import sweep_export

from ._export_child import ExportRequest, export_in_child
from ._job import Job
from ._remote_model import RemoteModel


def export_job(model: RemoteModel, request: ExportRequest) -> Job:
    """A job that writes a copy of the model's present state: a running fit replaces the file."""
    copy, target = model.scratch_copy(), Path(request.target)

    def clean_up() -> None:
        """Remove what a killed export has left: its copy of the model, and the unfinished file."""
        if not Path(copy).is_dir():  # a folder of tiles is the user's own
            Path(copy).unlink(missing_ok=True)
        sweep_export(target)

    return Job(export_in_child, (copy, request), name="export", clean_up=clean_up)
