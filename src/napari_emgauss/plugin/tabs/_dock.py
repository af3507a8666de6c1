"""The dock widget: tabs and a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QApplication, QHBoxLayout, QPushButton, QTabWidget, QVBoxLayout, QWidget

from napari_emgauss.plugin._background import in_background
from napari_emgauss.plugin._door import at_the_door, notify
from napari_emgauss.plugin._preferences import on_preference, preferences
from napari_emgauss.plugin.process._problem import problem_of
from napari_emgauss.plugin.process._render_service import RenderService, render_service
from napari_emgauss.plugin.view._compare import one_view, side_by_side
from napari_emgauss.plugin.view._continuous_layer import record_of
from napari_emgauss.plugin.view._viewers import forget_viewer, watch_viewer
from napari_emgauss.plugin.widgets._form import Note, Page, name_for_screen_readers
from napari_emgauss.plugin.widgets._layer_chooser import LayerChooser
from napari_emgauss.plugin.widgets._log import session_log
from napari_emgauss.plugin.widgets._log_dialog import LogDialog
from napari_emgauss.plugin.widgets._theme import theme_colours

from ._closing import ClosingGuard
from ._pages import TABS
from ._shortcuts import bind_shortcuts, unbind_shortcuts

if TYPE_CHECKING:
    import napari

    from ._depth_tab import DepthTab
    from ._export_tab import ExportTab
    from ._fit_tab import FitTab
    from ._labels_tab import LabelsTab
    from ._quality_tab import QualityTab

LEAST_WIDTH = 384


class EmgaussDock(QWidget):
    """Fit, look at any depth, judge, export.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        napari hands it over because of this very name.
    """

    # One for each row of `TABS`.
    fit: FitTab
    depth: DepthTab
    quality: QualityTab
    labels: LabelsTab
    export: ExportTab

    def __init__(self, napari_viewer: napari.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        session_log()
        self._viewer: Any = napari_viewer
        self._open = True
        self._service: RenderService = render_service()
        self._service.add_user(self)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.pages: list[Page] = []
        for tab in TABS:
            page = tab.make(napari_viewer, self._service, self)
            setattr(self, tab.name, page)
            self.pages.append(page)
            self.tabs.addTab(page, tab.title)
        self.log_button = QPushButton("Log…")
        self.log_button.setToolTip("What has happened so far, for a report.")
        self.log_button.clicked.connect(self.show_log)
        foot = QHBoxLayout()
        foot.setContentsMargins(8, 0, 8, 6)
        foot.addStretch(1)
        foot.addWidget(self.log_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.tabs, 1)
        column.addLayout(foot)
        self.setMinimumWidth(LEAST_WIDTH)
        self.fit.layer_added.connect(self._on_layer_added)
        steps = self.fit.panel.next_steps
        steps.scrub_clicked.connect(self.scrub)
        steps.compare_clicked.connect(self.compare)
        steps.export_clicked.connect(self.offer_export)
        self.fit.begun.connect(self._end_comparison)
        self.fit.patch_fitted.connect(self._show_patch)
        self.quality.followed.connect(self.show_advised)
        self._hidden: list[Any] = []
        self._colours = theme_colours(napari_viewer)
        napari_viewer.events.theme.connect(self._follow_theme)
        name_for_screen_readers(self)
        self._preferences = [
            on_preference("fit", "device", self._follow_device),
            on_preference("fit", "preset", lambda: self.fit.method.preset.setCurrentText(preferences().preset)),
            on_preference("view", "cache_mib", self._follow_cache),
        ]
        watch_viewer(napari_viewer)
        bind_shortcuts(napari_viewer, self.depth.control)
        # The renderer loads torch and pyqtgraph loads itself while the user looks at the widget.
        in_background(self, self._service.warm_up, lambda info: None)
        in_background(self, _import_for_later, lambda nothing: None)
        self.closing = ClosingGuard(
            self, self._what_runs, self._end_work, lambda: self.fit.keeps_state, self.fit.end_now
        )
        self._watch_window()

    def showEvent(self, event: QShowEvent | None) -> None:
        """The dock appears, perhaps in another window than before."""
        super().showEvent(event)
        self.closing.watch()

    def _what_runs(self) -> list[str]:
        """What closing the window would end, a sentence each."""
        told = [self.fit.closing_sentence()] if self.fit.closing_sentence() else []
        if self.export.running:
            told.append("An export is being written: closing cancels it and leaves nothing behind.")
        if self.fit.repair.running:
            told.append("A stack is being repaired: closing cancels it and leaves nothing behind.")
        if self.labels.save.running:
            told.append("Labels are being written: closing cancels it and leaves nothing behind.")
        if self.quality.running:
            told.append("A score is being computed: closing cancels it.")
        return told

    def _end_work(self) -> None:
        self.fit.end_session()
        for panel in (self.export.panel, self.fit.repair.panel, self.labels.save.panel, self.quality.panel):
            panel.abandon()

    @at_the_door
    def scrub(self) -> None:
        """To the tab with the depths, in the middle of a gap: there the image is inferred the most."""
        self._choose_result()
        self.tabs.setCurrentWidget(self.depth)
        self.depth.control.mid_gap()
        self.depth.slider.setFocus()

    def compare(self, beside: bool) -> None:
        """Stack, linear interpolation and EMGauss side by side, or one view again."""
        steps = self.fit.panel.next_steps
        try:
            if beside:
                self._hidden = side_by_side(self._viewer, self._choose_result())
            else:
                one_view(self._viewer, self._hidden)
        except Exception as error:
            beside = False
            notify(problem_of(error))
        steps.show_compared(beside)

    def _end_comparison(self) -> None:
        if self.fit.panel.next_steps.compare_button.isChecked():
            self.compare(False)

    @at_the_door
    def _show_patch(self) -> None:
        """The patch fills each of the three views, in the middle of a gap: there they differ the most."""
        self.compare(True)
        self.depth.control.mid_gap()
        if self.fit.panel.next_steps.compare_button.isChecked():
            self._viewer.reset_view(layers=[self.fit.result_layer])

    @at_the_door
    def offer_export(self) -> None:
        """To the tab that writes, with a name and a folder to write to."""
        self._choose_result()
        self.tabs.setCurrentWidget(self.export)
        self.export.suggest()
        self.export.export_button.setFocus()

    @at_the_door
    def show_advised(self) -> None:
        """To the tab that fits, with the button that does."""
        self.tabs.setCurrentWidget(self.fit)
        self.fit.panel.fit_button.setFocus()

    def _choose_result(self) -> Any:
        """The layer of the last fit, chosen in the other tabs, too."""
        layer = self.fit.result_layer
        if layer is not None:
            self._on_layer_added(layer)
        return self.depth.chooser.layer

    def _follow_theme(self, event: Any = None) -> None:
        """Notes in colours of their own follow napari's theme."""
        old, self._colours = self._colours, theme_colours(self._viewer)
        for note in self.findChildren(Note):
            note.recolour(old, self._colours)
        self.fit.slices.show_states()

    def reset_choices(self, event: Any = None) -> None:
        """Look at the viewer's layers again; napari calls this."""
        for chooser in self.findChildren(LayerChooser):
            chooser.reset_choices()

    def show_log(self) -> LogDialog:
        """Open the log."""
        dialog = LogDialog(self)
        dialog.show()
        return dialog

    def shut_down(self) -> None:
        """End whatever runs for this widget and let go of the viewer; safe to call twice, and on deleted widgets."""
        if not self._open:
            return
        self._open = False
        forget_viewer(self._viewer)
        self._viewer.events.theme.disconnect(self._follow_theme)
        for end in self._preferences:
            end()
        unbind_shortcuts(self._viewer, self.depth.control)
        for page in self.pages:
            page.disconnect_viewer()
        self._service.remove_user(self)

    def _follow_device(self) -> None:
        """Another device was chosen in the preferences: it counts at once."""
        self._service.set_device(preferences().device)
        self.fit.method.follow_preferences()

    def _follow_cache(self) -> None:
        for layer in self._viewer.layers:
            record = record_of(layer)
            if record is not None:
                record.cache.max_bytes = preferences().cache_mib << 20

    def _on_layer_added(self, layer: Any) -> None:
        self.reset_choices()  # the layer may have been there before, as linear interpolation
        for page in self.pages:
            page.show_layer(layer)

    def _watch_window(self) -> None:
        """The window's end is ours: work in child processes must not outlive it.

        ``destroyed`` comes when the dock or the window was closed. A bound method would not be called, since Qt forgets
        the slots of an object that is being destroyed; hence the lambda.
        """
        self.destroyed.connect(lambda: self.shut_down())
        app = QApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self._quit)

    def _quit(self) -> None:
        """Napari goes without having closed the window: the state of a fit is kept all the same."""
        if self._open:
            self.closing.wait()
        self.shut_down()


def _import_for_later() -> None:
    """What the window would wait for at the first loss curve, and, in napari, at the first view in 3D."""
    import pyqtgraph  # noqa: F401
    import scipy.spatial.transform  # noqa: F401
