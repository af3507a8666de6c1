"""*Repair only*: the stack again, with what is left out and damaged filled and all else as it is."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QFileDialog, QMessageBox, QPushButton, QWidget

from napari_emgauss._errors import ConfigError, EmgaussError
from napari_emgauss.plugin._background import in_background
from napari_emgauss.plugin._door import notify
from napari_emgauss.plugin.process._job import Job
from napari_emgauss.plugin.process._problem import Problem, problem_of
from napari_emgauss.plugin.process._repair_child import Repaired, RepairTarget, repair_in_child, whole_stack
from napari_emgauss.plugin.process._request import FitRequest, check_request, copy_slices
from napari_emgauss.plugin.view._layer_input import layer_data
from napari_emgauss.plugin.widgets._form import stack_up
from napari_emgauss.plugin.widgets._job_panel import JobPanel
from napari_emgauss.plugin.widgets._remedy import Remedy
from napari_emgauss.volume import export_ending_of, remove_export_leftovers

from ._export_tab import available_formats

if TYPE_CHECKING:
    from ._fit_tab import FitTab

LOGGER = logging.getLogger("napari_emgauss.plugin")


class RepairPanel(QWidget):
    """A button, and what becomes of the job behind it.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the repaired stack is shown.
    fit_tab : FitTab
        Says which stack, which slices are left out, and how to fit.
    """

    def __init__(self, viewer: Any, fit_tab: FitTab, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._fit_tab = viewer, fit_tab
        self.button = QPushButton("Repair only…")
        self.button.setToolTip(
            "Write the stack again on its own grid: slices that are left out and damaged pixels are filled; all else "
            "stays byte for byte."
        )
        self.panel = JobPanel(viewer, self.button)
        self.status = self.panel.status
        stack_up(self, self.panel)
        self.button.clicked.connect(self.ask)

    @property
    def running(self) -> bool:
        """Whether a stack is being repaired."""
        return self.panel.running

    def disconnect_viewer(self) -> None:
        """End a running repair; the widget is about to go."""
        self.panel.abandon()

    def request(self) -> FitRequest:
        """What would be fitted.

        Raises
        ------
        EmgaussError
            It cannot be, or nothing is to be filled.
        """
        request = self._fit_tab.request()
        request = whole_stack(request, tuple(layer_data(self._fit_tab.stack.layer).shape))
        if not request.skip and not request.masked:
            raise ConfigError("There is nothing to fill: untick the bad slices, or choose a mask of damaged pixels.")
        first, last = request.slices
        for end in (first, last):
            if end in request.skip:
                raise ConfigError(
                    f"Slice {end} cannot be filled: there are no good slices on both sides of it. Crop the stack there "
                    "first, or tick it."
                )
        check_request(request)
        return request

    def ask(self) -> None:
        """Ask where to, and begin."""
        try:
            self.request()
            suggested = suggested_target(self._fit_tab.stack.layer)
        except Exception as error:
            self.panel.fail(problem_of(error, "fit"))
            return
        filters = {row.file_filter: row for row in available_formats()}
        path, chosen = QFileDialog.getSaveFileName(
            self,
            "Repair the stack",
            str(suggested),
            ";;".join(filters),
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if not path:
            return
        if not export_ending_of(Path(path).name) and chosen in filters:
            path += filters[chosen].ending
        if Path(path).exists():
            question = f"{Path(path).name} exists already. Replace it?"
            if QMessageBox.question(self, "Repair the stack", question) != QMessageBox.StandardButton.Yes:
                return
        self.start(path, overwrite=Path(path).exists())

    def start(self, path: str, *, overwrite: bool = False) -> None:
        """Fit, fill and write, or say why that cannot be."""
        try:
            request = self.request()
            layer, damage = self._fit_tab.stack.layer, self._fit_tab.slices.damage()
        except Exception as error:
            self.panel.fail(problem_of(error, "fit"))
            return
        values, target = layer_data(layer), RepairTarget(path, overwrite)
        self.panel.run(
            lambda: _make_job(values, damage, request, target),
            f"EMGauss repair: {request.name}",
            lambda repaired: self._on_done(repaired, layer, request, damage),
            work="repair",
            cancelled="Cancelled; nothing was written.",
            remedy_of=lambda problem: self._remedy(problem, path),
        )

    def cancel(self) -> None:
        """Stop; nothing is left behind."""
        self.panel.cancel()

    def _remedy(self, problem: Problem, path: str) -> Remedy | None:
        if problem.kind in ("ended", "memory", "disk", "surprise"):
            return Remedy("Try again", lambda: self.start(path, overwrite=Path(path).exists()))
        return None

    def _on_done(self, repaired: Repaired, layer: Any, request: FitRequest, damage: Any) -> None:
        name = Path(repaired.path).name
        self.status.tell(f"Written: {name}. {repaired.note}")
        LOGGER.info("Repaired %s", repaired.path)
        show_info(f"EMGauss wrote {name}.")

        def failed(error: Exception) -> None:
            why = problem_of(error)
            notify(Problem(f"{name} was written, but cannot be opened here: {why.sentence}", why.details))

        def show(opened: tuple[Any, Any]) -> None:
            values, filled = opened
            add_repaired(self._viewer, layer, values, filled)

        in_background(self, lambda: (_read(repaired.path), filled_mask(request, damage)), show, failed)


def add_repaired(viewer: Any, source: Any, values: Any, filled: Any) -> tuple[Any, Any]:
    """Add a repaired stack, and a Labels layer of what was filled, where ``source`` lies."""
    place = {name: getattr(source, name) for name in ("scale", "translate", "rotate", "shear", "affine")}
    axes = {"units": source.units, "axis_labels": source.axis_labels}
    image = viewer.add_image(
        values,
        name=f"{source.name} repaired",
        contrast_limits=tuple(source.contrast_limits),
        colormap=source.colormap,
        gamma=source.gamma,
        metadata={key: value for key, value in source.metadata.items() if str(key).startswith("emgauss_voxel")},
        **place,
        **axes,
    )
    if source.ndim > 3:  # the mask has no channels
        from napari_emgauss.plugin.view._geometry import placement_on

        place = placement_on(source, (0, 0, 0), [0.0, 1.0]).layer_arguments(1.0)
        axes = {}
    labels = viewer.add_labels(filled, name=f"{source.name} filled", opacity=0.4, **place, **axes)
    viewer.layers.selection.active = image
    return image, labels


def filled_mask(request: FitRequest, damage: Any) -> Any:
    """``(z, y, x)`` uint8: 1 where a voxel was filled, 0 where it is the stack's."""
    _, height, width = request.shape
    first, last = request.slices
    mask = np.zeros((last - first + 1, height, width), np.uint8)
    mask[list(request.skip)] = 1
    if damage is not None:
        for k in request.kept:
            mask[k] = np.asarray(damage[k]) != 0
    return mask


def suggested_target(layer: Any) -> Path:
    """A name that is free, beside the layer's file; else in the home folder."""
    source = None if layer.source.path is None else Path(layer.source.path)
    folder = Path.home() if source is None or not os.access(source.parent, os.W_OK) else source.parent
    stem = (layer.name if source is None else source.name.partition(".")[0]).replace("/", "-") or "stack"
    target, number = folder / f"{stem}_repaired.ome.tif", 2
    while target.exists():
        target, number = folder / f"{stem}_repaired_{number}.ome.tif", number + 1
    return target


def _read(path: str) -> Any:
    from ._stack_form import read_for_layer

    try:
        return read_for_layer(path)[0]
    except EmgaussError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error


def _make_job(values: Any, damage: Any, request: FitRequest, target: RepairTarget) -> Job:
    data = copy_slices(values, request, lambda: False, damage)
    return Job(
        repair_in_child,
        (request, data, target),
        name="repair",
        clean_up=lambda: remove_export_leftovers(target.path),
    )
