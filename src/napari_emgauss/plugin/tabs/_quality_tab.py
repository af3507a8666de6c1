"""The third tab: how much better than linear interpolation it is on this very stack."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
)

from napari_emgauss._errors import StackError
from napari_emgauss.evaluation import BASELINE, CRITERIA, MIN_SLICES, SCORED, method_label, resolution_text
from napari_emgauss.plugin.process._estimate import Work
from napari_emgauss.plugin.process._estimate_jobs import expected_seconds, job_sentence, record_job
from napari_emgauss.plugin.process._job import Job
from napari_emgauss.plugin.process._problem import Problem, problem_of
from napari_emgauss.plugin.process._request import FitRequest, copy_slices
from napari_emgauss.plugin.process._score_child import score_in_child
from napari_emgauss.plugin.view._layer_input import layer_data
from napari_emgauss.plugin.widgets._form import Note, Page, heading, table_of
from napari_emgauss.plugin.widgets._job_panel import JobPanel
from napari_emgauss.plugin.widgets._remedy import Remedy
from napari_emgauss.plugin.widgets._score_plot import ScorePlot
from napari_emgauss.plugin.widgets._theme import theme_colours

from ._fit_tab import FitTab
from ._save_report import SaveReport

COLUMNS = (("method", "Method"), ("psnr", "PSNR"), ("ssim", "SSIM"), ("fsim", "FSIM"), ("gain", "vs linear"))

EXPLANATION = (
    "Every second slice is hidden and reconstructed from the others, by EMGauss with the settings of the first tab "
    "and by classical methods."
)


class QualityTab(Page):
    """Runs the hold-out score of the stack chosen in the first tab."""

    followed = Signal()
    """The score's advice has been set in the first tab."""

    def __init__(self, viewer: Any, fit_tab: FitTab) -> None:
        super().__init__()
        self._viewer, self._fit_tab = viewer, fit_tab
        self.result: dict[str, Any] | None = None
        self.score_button = QPushButton("Score this stack")
        self.score_button.setToolTip("Fits to every second slice and compares; napari stays usable.")
        self.estimate = Note()
        self.panel = JobPanel(viewer, self.score_button, in_activity_dock=False)
        self.status = self.panel.status
        self.verdict, self.resolution, self.caution = Note(), Note(), Note()
        self.report = SaveReport(viewer, lambda: self.result)
        font = self.verdict.font()
        font.setBold(True)
        self.verdict.setFont(font)
        self.advice_button = QPushButton()
        self.advice_button.setToolTip("Set it in the Fit tab; nothing is fitted until you press Fit EMGauss there.")
        self.advice_button.hide()
        self.table = _new_table()
        self.plot = ScorePlot(viewer)
        self.column.addWidget(heading("How good is it on my data?"))
        self.column.addWidget(Note(EXPLANATION))
        for widget in (
            self.estimate,
            self.panel,
            self.verdict,
            self.advice_button,
            self.table,
            self.resolution,
            self.plot,
            self.caution,
            self.report,
        ):
            self.column.addWidget(widget)
        self.column.addStretch(1)
        self.score_button.clicked.connect(self.start)
        self.advice_button.clicked.connect(self.follow_advice)
        fit_tab.method.planned.connect(self._show_estimate)
        self.table.hide()
        self.plot.hide()

    @property
    def running(self) -> bool:
        """Whether a score is being computed, or a report written."""
        return self.panel.running or self.report.running

    def disconnect_viewer(self) -> None:
        """End a running score and stop listening; the widget is about to go."""
        self.panel.abandon()
        self.report.abandon()
        self.plot.disconnect_viewer()

    def start(self) -> None:
        """Score the stack of the first tab, or say why that cannot be."""
        try:
            request = self._fit_tab.request()
            if request.shape[0] < MIN_SLICES:
                raise StackError(
                    f"“{request.name}” has {request.shape[0]} slices in the range: a score needs at least "
                    f"{MIN_SLICES}, because every second one is hidden."
                )
            values, damage = layer_data(self._fit_tab.stack.layer), self._fit_tab.slices.damage()
        except Exception as error:
            problem = problem_of(error, "score")
            self.panel.fail(problem, self._remedy(problem))
            return
        self.result = None
        self.advice_button.hide()
        self.table.hide()
        self.plot.hide()
        self.verdict.tell("")
        self.resolution.tell("")
        self.caution.tell("")
        work, device = self._work(), self._device()
        self.panel.run(
            lambda: _make_job(values, damage, request),
            f"EMGauss score: {request.name}",
            self.show_result,
            work="score",
            remedy_of=self._remedy,
            expected_s=expected_seconds("score", work, device),
            on_duration=lambda seconds: record_job("score", work, seconds, device),
        )

    def _work(self) -> Work | None:
        reckoning = self._fit_tab.method.reckoning
        return None if reckoning is None else reckoning.score

    def _device(self) -> str | None:
        info = self._fit_tab.method.device_info
        return None if info is None else info.device

    def _show_estimate(self) -> None:
        colour = theme_colours(self._viewer).muted_text
        self.estimate.tell(job_sentence("score", self._work(), self._device()), colour)

    def _remedy(self, problem: Problem) -> Remedy | None:
        return self._fit_tab.remedies.of(problem, self.start, "score")

    def cancel(self) -> None:
        """Stop the score."""
        self.panel.cancel()

    def show_result(self, result: dict[str, Any]) -> None:
        """Table, plot and verdict of ``ScoreResult.as_dict()``."""
        self.result = result
        rows = score_rows(result)
        self.table.setRowCount(len(rows))
        for row, cells in enumerate(rows):
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                if cells[0] == method_label(result["best"]):
                    font = item.font()
                    font.setBold(True)
                    item.setFont(font)
                self.table.setItem(row, column, item)
        self.table.resizeRowsToContents()
        height = self.table.horizontalHeader().height() + sum(self.table.rowHeight(r) for r in range(len(rows))) + 4
        self.table.setFixedHeight(height)
        self.table.show()
        self.plot.show_result(result)
        self.plot.show()
        self.verdict.tell(str(result["verdict"]))
        self.resolution.tell(resolution_sentence(result))
        self.caution.tell(str(result["caution"]), theme_colours(self._viewer).muted_text)
        advised = self._advised()
        self.advice_button.setVisible(bool(advised))
        wanted = " and ".join(f"{setting} {value}" for setting, value in advised.items())
        self.advice_button.setText(f"Fit with the {wanted}…")

    def follow_advice(self) -> None:
        """Set in the first tab what the score advises."""
        self._fit_tab.method.choose(**self._advised())
        self.followed.emit()

    def _advised(self) -> dict[str, str]:
        """Settings by name, of which the score says that they are best."""
        told = {} if self.result is None else self.result.get("advice", {})
        return {setting: str(value) for setting, value in told.items() if value}


def resolution_sentence(result: dict[str, Any]) -> str:
    """Down to which detail methods agree with the hidden slices; empty where that was not measured."""
    told = []
    for name, one in result["methods"].items():
        found = one.get("resolution", {}).get("xy")
        if found is not None:
            nm = found["nm"][CRITERIA[0].name]
            told.append(f"{method_label(name)} {resolution_text(nm, found['limit_nm'])}")
    return f"Resolution in plane, nm (Fourier ring correlation, 1/7): {', '.join(told)}." if told else ""


def score_rows(result: dict[str, Any]) -> list[list[str]]:
    """Cells of the table, one row a method."""
    methods = result["methods"]
    linear = _number(methods.get(BASELINE, {}).get("psnr"))
    rows = []
    for name, scores in methods.items():
        psnr = _number(scores.get("psnr"))
        gain = "" if psnr is None or linear is None or name == BASELINE else f"{psnr - linear:+.2f} dB"
        rows.append(
            [
                method_label(name),
                _cell(psnr, ".2f"),
                _cell(_number(scores.get("ssim")), ".3f"),
                _cell(_number(scores.get("fsim")), ".3f"),
                gain,
            ]
        )
    return rows


def _make_job(values: Any, damage: Any, request: FitRequest) -> Job:
    data = copy_slices(values, request, lambda: False, damage)
    return Job(score_in_child, (request, data, SCORED), name="score")


def _new_table() -> QTableWidget:
    table = table_of([title for _, title in COLUMNS], stretched=0)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    table.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
    return table


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
