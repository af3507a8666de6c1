"""*Save report…* on the tab *Quality*: the chosen result on one page, with the score where there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_emgauss._errors import EmgaussError
from napari_emgauss._files import check_writable
from napari_emgauss.plugin.process._problem import problem_of
from napari_emgauss.plugin.process._report_job import report_job
from napari_emgauss.plugin.view._continuous_layer import record_of
from napari_emgauss.plugin.widgets._job_panel import JobPanel

from ._depth_tab import is_continuous


class SaveReport(JobPanel):
    """A button, and the job behind it.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose EMGauss layer is reported on: the selected one, or else the last.
    score : callable
        Gives the score as a dictionary; None where there is none.
    """

    def __init__(self, viewer: Any, score: Callable[[], dict[str, Any] | None]) -> None:
        button = QPushButton("Save report…")
        button.setToolTip("One page of HTML: pictures, scores, resolution, provenance, a methods paragraph to paste.")
        super().__init__(viewer, button, in_activity_dock=False)
        self._layers, self._score = viewer.layers, score
        button.clicked.connect(self.ask)

    def ask(self) -> None:
        """Ask where to save, and save."""
        layer = self._layer()
        name = "report.html" if layer is None else f"{layer.name}.html".replace("/", "-")
        path, _ = QFileDialog.getSaveFileName(self, "Save report", name, "Web page (*.html)")
        if path:
            self.save(path)

    def save(self, path: str) -> None:
        """Write the report in the background, or say why that cannot be."""
        target = path if path.lower().endswith((".html", ".htm")) else f"{path}.html"
        try:
            layer = self._layer()
            record = record_of(layer)
            if layer is None or record is None:
                raise EmgaussError("There is no EMGauss layer to report on: fit a stack, or open a model.")
            check_writable(target, overwrite=True)
        except Exception as error:
            self.fail(problem_of(error, "report"))
            return
        model, title, score = record.model, layer.name, self._score()
        self.run(
            lambda: report_job(model, target, title, score),
            f"EMGauss report: {Path(target).name}",
            self._on_done,
            work="report",
            cancelled="Cancelled; nothing was written.",
        )

    def _on_done(self, path: str) -> None:
        self.status.tell(f"Written: {Path(path).name}")

    def _layer(self) -> Any | None:
        """The selected EMGauss layer, or else the last one."""
        chosen = [self._layers.selection.active, *reversed(self._layers)]
        return next((layer for layer in chosen if layer is not None and is_continuous(layer)), None)
