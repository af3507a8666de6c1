"""The last tab: the isotropic volume as a file, or as a layer."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_info
from numpy.typing import NDArray
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
)

from napari_emgauss._errors import ConfigError, EmgaussError, ExportError
from napari_emgauss.plugin._background import in_background
from napari_emgauss.plugin._door import notify
from napari_emgauss.plugin._preferences import preferences
from napari_emgauss.plugin.process._estimate import Work
from napari_emgauss.plugin.process._estimate_jobs import expected_seconds, export_work, job_sentence, record_job
from napari_emgauss.plugin.process._export_child import ExportRequest, Written
from napari_emgauss.plugin.process._export_job import export_job
from napari_emgauss.plugin.process._problem import MissingFolderError, Problem, problem_of
from napari_emgauss.plugin.process._render_child import DeviceInfo
from napari_emgauss.plugin.process._render_service import RenderService
from napari_emgauss.plugin.process._scratch import is_scratch
from napari_emgauss.plugin.process._wording import sentence
from napari_emgauss.plugin.view._continuous_layer import LayerRecord, record_of
from napari_emgauss.plugin.view._layer_look import look_sources
from napari_emgauss.plugin.widgets._form import NanometreBox, Note, Page, form_layout, heading
from napari_emgauss.plugin.widgets._job_panel import JobPanel
from napari_emgauss.plugin.widgets._layer_chooser import LayerChooser
from napari_emgauss.plugin.widgets._look_chooser import look_chooser
from napari_emgauss.plugin.widgets._remedy import Remedy
from napari_emgauss.plugin.widgets._theme import theme_colours
from napari_emgauss.stack import Frame
from napari_emgauss.volume import (
    COMPANION_ROWS,
    Companion,
    ExportFormat,
    export_ending_of,
    export_format,
    export_format_of,
    look_row,
    output_formats,
)

from ._depth_tab import is_continuous

LOGGER = logging.getLogger("napari_emgauss.plugin")

DTYPES = ("as the stack", "uint8", "uint16", "float32")


class ExportTab(Page):
    """Format, spacing, range, type, size, and where to."""

    def __init__(self, viewer: Any, service: RenderService) -> None:
        super().__init__()
        self._viewer, self._service = viewer, service
        self._device = ""
        self._suggested = ""
        self.chooser = LayerChooser(viewer, is_continuous, "fit a stack, or open a model", follows=True)
        self.format = QComboBox()
        for row in available_formats():
            self.format.addItem(row.label, row.name)
        self.format.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.format.setMinimumContentsLength(12)  # no wider than the dock has room for
        self.format.setToolTip("OME-TIFF is read nearly everywhere; OME-Zarr suits volumes of many GB.")
        self.spacing = NanometreBox()
        self.spacing.setToolTip("Distance between the slices of the file, in nm; the pixel size makes it isotropic.")
        self.first, self.last = NanometreBox(decimals=2), NanometreBox(decimals=2)
        for box in (self.first, self.last):
            box.setSpecialValueText("")
            box.setToolTip("First and last depth to write, in nm.")
        self.dtype = QComboBox()
        self.dtype.addItems(DTYPES)
        self.dtype.setToolTip("Grey values are kept where the type can hold them; otherwise they are stretched.")
        self.look = look_chooser()
        self.path = QLineEdit()
        self.path.setPlaceholderText("choose where to write")
        self.browse_button = QPushButton("…")
        self.browse_button.setFixedWidth(30)
        self.browse_button.setToolTip("Choose the file.")
        self.size = Note()
        self.beside: dict[Companion, QCheckBox] = {}
        for companion in COMPANION_ROWS:
            box = QCheckBox(f"Write the {companion.label} as well")
            box.setToolTip(f"Another file, NAME.{companion.name}, on the same grid: {companion.summary}.")
            self.beside[companion.name] = box
        self.add_layer = QCheckBox("Add as layer when written")
        self.export_button = QPushButton("Export")
        self.panel = JobPanel(viewer, self.export_button)
        self.status = self.panel.status
        self._lay_out()
        for signal in (
            self.spacing.valueChanged,
            self.first.valueChanged,
            self.last.valueChanged,
            self.dtype.currentIndexChanged,
            self.look.currentIndexChanged,
            self.path.textChanged,
        ):
            signal.connect(self._show_size)
        self.format.currentIndexChanged.connect(self._on_format)
        self.chooser.layer_changed.connect(self._on_layer)
        self.browse_button.clicked.connect(self._browse)
        self.export_button.clicked.connect(lambda: self.start(ask=True))
        for box in self.beside.values():
            box.toggled.connect(self._show_size)
        self._on_layer(self.chooser.layer)
        in_background(self, service.warm_up, self._take_device, lambda error: None)  # the dock tells it

    def _take_device(self, info: DeviceInfo) -> None:
        self._device = info.device
        self._show_size()

    @property
    def running(self) -> bool:
        """Whether something is being written."""
        return self.panel.running

    def show_layer(self, layer: Any) -> None:
        """Choose the layer that a fit has added."""
        self.chooser.layer = layer

    def disconnect_viewer(self) -> None:
        """End a running export and stop listening; the widget is about to go."""
        self.panel.abandon()
        self.chooser.disconnect_viewer()

    def _lay_out(self) -> None:
        form = form_layout()
        form.addRow("Layer", self.chooser)
        form.addRow("Format", self.format)
        form.addRow("Spacing (nm)", self.spacing)
        depths = QHBoxLayout()
        depths.setSpacing(4)
        depths.addWidget(self.first, 1)
        depths.addWidget(QLabel("to"))
        depths.addWidget(self.last, 1)
        form.addRow("Depths (nm)", depths)
        form.addRow("Type", self.dtype)
        form.addRow("Look", self.look)
        where = QHBoxLayout()
        where.addWidget(self.path, 1)
        where.addWidget(self.browse_button)
        form.addRow("File", where)
        self.column.addWidget(heading("Write the isotropic volume"))
        self.column.addLayout(form)
        self.column.addWidget(self.size)
        for box in self.beside.values():
            self.column.addWidget(box)
        self.column.addWidget(self.add_layer)
        self.column.addWidget(self.panel)
        self.column.addStretch(1)

    def request(self, *, overwrite: bool = False) -> ExportRequest:
        """What the widget asks for now.

        Raises
        ------
        EmgaussError
            It cannot be written; the message says why.
        """
        record = record_of(self.chooser.layer)
        if record is None:
            raise EmgaussError("There is no EMGauss layer to export: fit a stack, or open a model.")
        if not self.path.text().strip():
            raise EmgaussError("Choose where to write the volume first.")
        self._plan()
        target = self._target()
        if not target.parent.is_dir():
            raise MissingFolderError(f"The folder {target.parent} does not exist: create it, or choose another one.")
        return ExportRequest(
            target=str(target),
            spacing_nm=self.spacing.value(),
            z_range_nm=(self.first.value(), self.last.value()) if self._is_part(record.model.z_nm) else None,
            format=self._row().name,
            dtype=self._chosen_dtype(),
            overwrite=overwrite,
            device=preferences().device,
            beside=self._chosen_beside(),
            look=self.look.currentData(),
        )

    def start(self, *, ask: bool = False, overwrite: bool = False) -> None:
        """Write, or say why that cannot be; ``ask`` before something is replaced."""
        try:
            request = self.request(overwrite=overwrite)
            if ask and (there := [path for path in request.paths() if path.exists()]):
                if not self._may_replace(there):
                    return
                request = self.request(overwrite=True)
            record = record_of(self.chooser.layer)
        except Exception as error:
            problem = problem_of(error, "export")
            self.panel.fail(problem, self._remedy(problem))
            return
        if record is None:
            return
        model, work, device = record.model, self._work(), self._device
        sources = look_sources(self._viewer, self.chooser.layer)
        self.panel.run(
            lambda: export_job(model, request, sources),
            f"EMGauss export: {Path(request.target).name}",
            self._on_done,
            work="export",
            cancelled="Cancelled; no unfinished file is left." if request.beside else "Cancelled; nothing was written.",
            remedy_of=self._remedy,
            expected_s=expected_seconds("export", work, device),
            on_duration=lambda seconds: record_job("export", work, seconds, device),
        )

    def _remedy(self, problem: Problem) -> Remedy | None:
        folder = self._target().parent
        if problem.kind == "folder":
            return Remedy("Create the folder and export", lambda: self._create_and_export(folder))
        if problem.kind in ("ended", "memory", "disk", "surprise"):
            return Remedy("Try again", lambda: self.start(ask=True))
        return None

    def _create_and_export(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            refused = ExportError(
                f"The folder {folder} cannot be created ({error.strerror or error}): choose another one."
            )
            self.panel.fail(problem_of(refused))
            return
        self.start(ask=True)

    def suggest(self) -> None:
        """Put a name beside the stack into the field, unless the user has typed one."""
        record = record_of(self.chooser.layer)
        if record is None or self.path.text().strip() not in ("", self._suggested):
            return
        self._suggested = str(suggested_target(record, self.chooser.layer.name, self._row().ending))
        self.path.setText(self._suggested)

    def cancel(self) -> None:
        """Stop writing; nothing is left behind."""
        self.panel.cancel()

    def _row(self) -> ExportFormat:
        return export_format(self.format.currentData())

    def _target(self) -> Path:
        text = self.path.text().strip()
        return Path(text).expanduser() if "." in Path(text).name else Path(text + self._row().ending).expanduser()

    def _chosen_dtype(self) -> str | None:
        return None if self.dtype.currentIndex() <= 0 else self.dtype.currentText()

    def _is_part(self, z_nm: NDArray[np.float64]) -> bool:
        slack = 1e-2  # the boxes show two decimals
        return self.first.value() > z_nm[0] + slack or self.last.value() < z_nm[-1] - slack

    def _plan(self) -> Any:
        from napari_emgauss.volume import plan_export

        record = record_of(self.chooser.layer)
        if record is None:
            raise EmgaussError("There is no EMGauss layer to export.")
        model = record.model
        depths = (self.first.value(), self.last.value()) if self._is_part(model.z_nm) else None
        row, dtype = self._row(), self._chosen_dtype() or model.dtype
        if look_row(self.look.currentData()).keeps_own_slices and np.dtype(dtype) != model.dtype:
            raise ConfigError(
                f"Observed slices can be kept as they are only in their own type, {model.dtype}: choose that type, "
                "or the "
                "smooth look."
            )
        return plan_export(
            Frame.of(model),
            f"volume{row.ending}",
            dtype=dtype,
            channels=model.channels,
            spacing_nm=self.spacing.value(),
            z_range_nm=depths,
            format=row.name,
        )

    def _on_layer(self, layer: Any) -> None:
        record = record_of(layer)
        for widget in (
            self.format,
            self.spacing,
            self.first,
            self.last,
            self.dtype,
            self.look,
            self.path,
            self.browse_button,
        ):
            widget.setEnabled(record is not None)
        self.panel.set_usable(record is not None)
        if record is not None:
            z = record.model.z_nm
            for box, value in (
                (self.spacing, float(np.mean(record.model.pixel_size_nm))),
                (self.first, float(z[0])),
                (self.last, float(z[-1])),
            ):
                box.blockSignals(True)
                if box is not self.spacing:
                    box.setRange(float(z[0]), float(z[-1]))
                box.setValue(value)
                box.blockSignals(False)
        self._show_size()

    def _on_format(self) -> None:
        text = self.path.text()
        ending = export_ending_of(text)
        if ending and ending not in self._row().endings:
            self.path.setText(text[: -len(ending)] + self._row().ending)
        self._show_size()

    def _show_size(self, *_: Any) -> None:
        if record_of(self.chooser.layer) is None:
            self.size.tell("")
            return
        try:
            plan = self._plan()
        except EmgaussError as error:
            self.size.tell(sentence(error), theme_colours(self._viewer).warning)
            return
        voxel = " × ".join(f"{s:.4g}" for s in plan.voxel_size_nm)
        shape = " × ".join(str(n) for n in plan.shape)
        told = job_sentence("export", self._work(), self._device)
        self.size.tell(f"{shape} voxels of {voxel} nm, {plan.dtype}: {megabytes(plan.nbytes)}. {told}".rstrip())

    def _chosen_beside(self) -> tuple[Companion, ...]:
        return tuple(name for name, box in self.beside.items() if box.isChecked())

    def _work(self) -> Work | None:
        """What writing takes as it is chosen now."""
        try:
            shape = self._plan().shape
        except EmgaussError:
            return None
        textured = look_row(self.look.currentData()).adds_texture
        return export_work(math.prod(shape) * (1 + len(self._chosen_beside())), textured=textured)

    def _browse(self) -> None:
        layer = self.chooser.layer
        name = self.path.text() or ("volume" if layer is None else layer.name.replace("/", "-")) + self._row().ending
        filters = {row.file_filter: row for row in available_formats()}
        # We ask about replacing ourselves, for a typed name as for a chosen one.
        path, chosen = QFileDialog.getSaveFileName(
            self,
            "Export the volume",
            name,
            ";;".join(filters),
            self._row().file_filter,
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if not path:
            return
        row = filters.get(chosen, self._row())
        by_name = export_format_of(Path(path).name)
        if by_name is not None and export_ending_of(path) not in row.endings:
            row = by_name  # what is typed says more than the filter that happens to stand below it
        self.format.setCurrentIndex(max(self.format.findData(row.name), 0))
        self.path.setText(path)

    def _may_replace(self, there: list[Path]) -> bool:
        names = " and ".join(path.name for path in there)
        asked = f"{names} already exists. Replace it?" if len(there) == 1 else f"{names} already exist. Replace them?"
        answer = QMessageBox.question(self, "Export", asked)
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _on_done(self, written: Written) -> None:
        path = written.path
        self.status.tell(". ".join(part for part in (f"Written: {Path(path).name}", written.note) if part))
        LOGGER.info("Exported %s", path)
        show_info(f"EMGauss wrote {Path(path).name}.")
        if self.add_layer.isChecked():
            self._add_written(path)

    def _add_written(self, path: str) -> None:
        from ._stack_form import read_for_layer

        if export_format_of(Path(path).name) == export_format("ome-zarr"):
            self._viewer.open(path, plugin=None)
            return

        def failed(error: Exception) -> None:
            why = problem_of(error)
            notify(Problem(f"{Path(path).name} was written, but cannot be opened here: {why.sentence}", why.details))

        def show(opened: tuple[Any, dict[str, Any]]) -> None:
            data, keywords = opened
            self._viewer.add_image(data, **keywords)

        in_background(self, lambda: read_for_layer(path), show, failed)


def available_formats() -> list[ExportFormat]:
    """Formats whose packages are installed."""
    return [row for row in output_formats() if not row.missing()]


def suggested_target(record: LayerRecord, name: str, ending: str) -> Path:
    """A name that is free, beside the stack that was fitted; else beside the model, else in the home folder."""
    told = record.model.provenance.get("source")
    source = Path(told) if isinstance(told, str) else None
    model = getattr(record.model, "path", None)
    places = [source.parent] if source is not None else []
    if model is not None and not is_scratch(model):
        places.append(Path(model).parent)
    folder = next((one for one in places if one.is_dir() and os.access(one, os.W_OK)), Path.home())
    stem = name.removesuffix(" EMGauss") if source is None else source.name.partition(".")[0]
    stem = stem.replace("/", "-") or "volume"
    target, number = folder / f"{stem}_isotropic{ending}", 2
    while target.exists():
        target, number = folder / f"{stem}_isotropic_{number}{ending}", number + 1
    return target


def megabytes(count: int) -> str:
    """A size in bytes for people."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
