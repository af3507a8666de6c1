"""The report of a model as a job: the page is made in a child. Knows neither Qt nor napari."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._job import Job, answer_job
from ._process import Channel
from ._remote_model import RemoteModel

if TYPE_CHECKING:
    from napari_emgauss._progress import Progress


def report_in_child(
    channel: Channel, model_path: str, target: str, title: str, score: Mapping[str, Any] | None
) -> None:
    """Target of the report's process; answers with the path that was written and removes the file ``model_path``.

    Parameters
    ----------
    channel : Channel
        To the window.
    model_path : str
        A copy of the model, or a folder of tiles.
    target : str
        Page to write.
    title : str
        Of the page.
    score : mapping or None
        ``ScoreResult.as_dict()``, where the stack was scored.
    """

    def work(progress: Progress) -> str:
        from napari_emgauss.report import gather_facts, write_report
        from napari_emgauss.tiles import load

        try:
            progress.tell(0.0, "drawing")
            facts = gather_facts(load(model_path), title=title, results=() if score is None else (score,))
            write_report(facts, target)
        finally:
            _remove_copy(model_path)
        return target

    answer_job(channel, work)


def report_job(model: RemoteModel, target: str, title: str, score: Mapping[str, Any] | None) -> Job:
    """A job that reports on a copy of the model's present state: a running fit replaces the file."""
    copy = model.scratch_copy()
    return Job(report_in_child, (copy, target, title, score), name="report", clean_up=lambda: _remove_copy(copy))


def _remove_copy(path: str) -> None:
    if not Path(path).is_dir():  # a folder of tiles is the user's own
        Path(path).unlink(missing_ok=True)
