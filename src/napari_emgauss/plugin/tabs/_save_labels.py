"""Carried labels to a file, or into the OME-Zarr that holds the image."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QMenu, QMessageBox, QPushButton, QWidget

from napari_emgauss._errors import EmgaussError
from napari_emgauss.labels import holds_image
from napari_emgauss.plugin.process._labels_child import LabelsExport, LabelsWritten
from napari_emgauss.plugin.process._problem import MissingFolderError, Problem, problem_of
from napari_emgauss.plugin.view._carried_layer import LabelRecord, label_record_of
from napari_emgauss.plugin.widgets._form import NanometreBox, form_layout, stack_up
from napari_emgauss.plugin.widgets._job_panel import JobPanel
from napari_emgauss.plugin.widgets._layer_chooser import LayerChooser
from napari_emgauss.plugin.widgets._remedy import Remedy
from napari_emgauss.volume import ExportFormat, export_ending_of, output_formats

LOGGER = logging.getLogger("napari_emgauss.plugin")


class SaveLabelsForm(QWidget):
    """Which carried layer, on what grid, and where to.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.chooser = LayerChooser(viewer, lambda layer: label_record_of(layer) is not None, "carry labels first")
        self.spacing = NanometreBox()
        self.spacing.setToolTip(
            "Distance between the slices of a new file, in nm; in the OME-Zarr of an image, the image's."
        )
        self.path = QLineEdit()
        self.path.setPlaceholderText("choose where to write")
        self.browse_button = QPushButton("…")
        self.browse_button.setFixedWidth(30)
        self.browse_button.setToolTip("Choose a file, or the OME-Zarr that holds the image.")
        self.save_button = QPushButton("Save…")
        self.save_button.setToolTip("Labels of all depths; into an OME-Zarr, they go beside its image.")
        self.panel = JobPanel(viewer, self.save_button)
        self.status = self.panel.status
        where = QHBoxLayout()
        where.addWidget(self.path, 1)
        where.addWidget(self.browse_button)
        form = form_layout()
        form.addRow("Layer", self.chooser)
        form.addRow("Spacing (nm)", self.spacing)
        form.addRow("File", where)
        stack_up(self, form, self.panel, spacing=6)
        menu = QMenu(self)
        menu.addAction("A new file…", self._choose_file)
        menu.addAction("Into the OME-Zarr of the image…", self._choose_folder)
        self.menu = menu
        self.browse_button.clicked.connect(
            lambda: menu.exec(self.browse_button.mapToGlobal(self.browse_button.rect().bottomLeft()))
        )
        self.save_button.clicked.connect(self._save_or_ask)
        self.chooser.layer_changed.connect(self._on_layer)
        self.path.textChanged.connect(self._on_path)
        self._on_layer(self.chooser.layer)

    @property
    def running(self) -> bool:
        """Whether something is being written."""
        return self.panel.running

    def disconnect_viewer(self) -> None:
        """End a running save and stop listening; the widget is about to go."""
        self.panel.abandon()
        self.chooser.disconnect_viewer()

    def request(self, record: LabelRecord | None, *, overwrite: bool = False) -> LabelsExport:
        """What the fields ask for now.

        Raises
        ------
        EmgaussError
            It cannot be written; the message says why.
        """
        if record is None:
            raise EmgaussError("There are no carried labels to save: carry some first.")
        if not self.path.text().strip():
            raise EmgaussError("Choose where to write the labels first.")
        target = self.target()
        if not target.parent.is_dir():
            raise MissingFolderError(f"The folder {target.parent} does not exist: create it, or choose another one.")
        spacing = None if holds_image(target) else self.spacing.value()
        return LabelsExport(str(target), record.model.name_in_container, spacing, overwrite=overwrite)

    def target(self) -> Path:
        """Where to write; OME-TIFF where the name has no ending."""
        text = self.path.text().strip()
        return Path(text).expanduser() if "." in Path(text).name else Path(f"{text}.ome.tif").expanduser()

    def start(self, *, ask: bool = False, overwrite: bool = False) -> None:
        """Write, or say why that cannot be; ``ask`` before something is replaced."""
        record = label_record_of(self.chooser.layer)
        try:
            request = self.request(record, overwrite=overwrite)
            what = self._replaced(Path(request.target), record)
            if ask and what:
                if not self._may_replace(what):
                    return
                request = self.request(record, overwrite=True)
        except Exception as error:
            problem = problem_of(error, "labels")
            self.panel.fail(problem, self._remedy(problem))
            return
        if record is None:
            return
        labels = record.model
        self.panel.run(
            lambda: labels.export_job(request),
            f"EMGauss labels: {Path(request.target).name}",
            self._on_done,
            work="labels",
            cancelled="Cancelled; nothing was written.",
            remedy_of=self._remedy,
        )

    def _save_or_ask(self) -> None:
        if not self.path.text().strip() and label_record_of(self.chooser.layer) is not None:
            self._choose_file()
            if not self.path.text().strip():
                return
        self.start(ask=True)

    def _remedy(self, problem: Problem) -> Remedy | None:
        if problem.kind in ("ended", "memory", "disk", "surprise"):
            return Remedy("Save again", lambda: self.start(ask=True))
        return None

    def _replaced(self, target: Path, record: LabelRecord | None) -> str:
        """What is there already and would be replaced; empty where nothing is."""
        if record is not None and holds_image(target):  # labels of that name in it
            name = record.model.name_in_container
            return f"“{name}” in {target.name}" if (target / "labels" / name).exists() else ""
        return target.name if target.exists() else ""

    def _may_replace(self, what: str) -> bool:
        answer = QMessageBox.question(self, "Save labels", f"{what} already exists. Replace it?")
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _on_layer(self, layer: Any) -> None:
        record = label_record_of(layer)
        for widget in (self.path, self.browse_button):
            widget.setEnabled(record is not None)
        self.panel.set_usable(record is not None)
        self._on_path()
        if record is not None:  # as the image is exported by default
            self.spacing.setValue(float(np.mean(record.model.pixel_size_nm)))

    def _on_path(self, *_: Any) -> None:
        """An image says on which grid the labels beside it lie."""
        text = self.path.text().strip()
        beside = bool(text) and holds_image(self.target())
        self.spacing.setEnabled(label_record_of(self.chooser.layer) is not None and not beside)

    def _formats(self) -> list[ExportFormat]:
        """Those that hold whole numbers; which of their types is needed, the ids say when they are written."""
        rows = [row for row in output_formats() if not row.missing()]
        return [row for row in rows if not row.dtypes or any(np.dtype(name).kind in "iu" for name in row.dtypes)]

    def _choose_file(self) -> None:
        rows = {row.file_filter: row for row in self._formats()}
        layer = self.chooser.layer
        name = self.path.text() or f"{layer.name.replace('/', '-')}.ome.tif"
        # We ask about replacing ourselves, for a typed name as for a chosen one.
        path, chosen = QFileDialog.getSaveFileName(
            self, "Save labels", name, ";;".join(rows), options=QFileDialog.Option.DontConfirmOverwrite
        )
        if path:
            self.path.setText(path if export_ending_of(path) or chosen not in rows else path + rows[chosen].ending)

    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "The OME-Zarr that holds the image")
        if path:
            self.path.setText(path)

    def _on_done(self, written: LabelsWritten) -> None:
        where = Path(written.path)
        name = f"{where.name} in {where.parent.parent.name}" if where.parent.name == "labels" else where.name
        self.status.tell(" ".join([f"Written: {name}", *written.notes]))
        LOGGER.info("Saved labels to %s", where)
        show_info(f"EMGauss wrote {name}.")
