"""The first tab: from a stack to a running fit and its layer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from napari.utils.notifications import show_error
from qtpy.QtCore import Signal

from napari_emgauss._errors import EmgaussError, VoxelSizeError

from ._continuous_layer import LayerRecord, layer_data_tuple, record_of, refresh_shown
from ._estimate import record_fit, uncorrected_seconds
from ._fit_panel import FitPanel
from ._fit_process import FitProcess
from ._fit_state import FitStatus
from ._form import Page, rule
from ._geometry import Placement, placement_on
from ._layer_input import FitRequest, check_layer, check_request, layer_data
from ._method_form import MethodForm
from ._preferences import preferences
from ._region_form import RegionForm
from ._remote_model import RemoteModel
from ._render_service import RenderService
from ._session import FitSession
from ._stack_form import StackForm

LOGGER = logging.getLogger("napari_emgauss.plugin")


class FitTab(Page):
    """Everything needed to fit; one click is enough."""

    layer_added = Signal(object)
    """A continuous-z layer appeared."""

    def __init__(self, viewer: Any, service: RenderService) -> None:
        super().__init__()
        self._viewer, self._service = viewer, service
        self.session: FitSession | None = None
        self._layer: Any = None
        self._stack_layer: Any = None
        self._show_model: Callable[[RemoteModel], None] = lambda model: None
        self.stack = StackForm(viewer)
        self.region = RegionForm(viewer)
        self.method = MethodForm(viewer, service)
        self.panel = FitPanel(viewer)
        for part in (self.stack, self.region, rule(), self.method, rule()):
            self.column.addWidget(part)
        self.column.addWidget(self.panel)
        self.column.addStretch(1)
        self.stack.changed.connect(self._on_stack)
        self.region.changed.connect(self._on_part)
        self.panel.fit_clicked.connect(self.start_fit)
        self._on_stack()

    def disconnect_viewer(self) -> None:
        """End a running fit and stop listening; the widget is about to go."""
        if self.session is not None:
            self.session.abandon()
        for part in (self.stack, self.region, self.panel):
            part.disconnect_viewer()

    def request(self) -> FitRequest:
        """What the widget asks for now.

        Raises
        ------
        EmgaussError
            It cannot be fitted; the message says why.
        """
        layer = self.stack.layer
        check_layer(layer)
        if min(self.stack.voxel_size_nm) <= 0:
            raise VoxelSizeError("The voxel size is unknown: type in z, y and x in nm.")
        self.method.config()
        request = FitRequest(
            name=layer.name,
            source=None if layer.source.path is None else str(layer.source.path),
            voxel_size_nm=self.stack.voxel_size_nm,
            region=self.region.region(),
            slices=self.region.slices,
            preset=self.method.preset.currentText(),
            device=self.method.device.currentText(),
            overrides=self.method.settings.overrides(),
            layer_shape=tuple(int(n) for n in layer_data(layer).shape),
        )
        check_request(request)
        return request

    def start_fit(self) -> None:
        """Begin a fit of what is chosen, or say why that cannot be."""
        layer = self.stack.layer
        try:
            request = self.request()
            placement = self._placement(layer, request)
            session = FitSession(FitProcess(request, layer_data(layer)), self._service)
            session.previews_wanted = lambda: preferences().live_preview
            session.start()
        except EmgaussError as error:
            LOGGER.error("%s", error)
            self.panel.tell_error(str(error))
            show_error(str(error))
            return
        self.session, self._layer = session, None
        look = {"contrast_limits": tuple(layer.contrast_limits), "colormap": layer.colormap, "gamma": layer.gamma}
        self._show_model = lambda model: self._add_layer(model, request.name, placement, look)
        session.model_appeared.connect(self._show_model)
        session.model_changed.connect(lambda model: self._refresh())
        session.ended.connect(self._on_ended)
        self.panel.set_session(session)

    def _placement(self, layer: Any, request: FitRequest) -> Placement:
        z_step = request.voxel_size_nm[0]
        return placement_on(layer, request.origin, [k * z_step for k in range(request.shape[0])])

    def _add_layer(self, model: RemoteModel, name: str, placement: Placement, look: dict[str, Any]) -> None:
        data, keywords, _ = layer_data_tuple(LayerRecord("continuous", model, placement), f"{name} EMGauss", **look)
        point = self._viewer.dims.point
        self._layer = self._viewer.add_image(data, **keywords)
        # A finer grid along z must not move the user to another place.
        if len(point) == self._viewer.dims.ndim:  # it was 2 where the source had been removed
            self._viewer.dims.set_point(range(self._viewer.dims.ndim), point)
        self.layer_added.emit(self._layer)

    def _refresh(self) -> None:
        record = record_of(self._layer)
        if record is not None and self._layer in self._viewer.layers:
            record.cache.clear()  # of the state before, which nobody will ask for again
            refresh_shown(self._layer)

    def _on_ended(self) -> None:
        session = self.session
        if session is None:
            return
        if session.model is not None and self._layer not in self._viewer.layers:
            self._show_model(session.model)  # the preview was removed, but a result must not be lost
        if session.state.status is FitStatus.FAILED:
            show_error(session.state.error)
        elif session.state.status is FitStatus.FINISHED and self.method.device_info is not None:
            request = session.process.request
            try:
                config = self.method._make_preset(request.preset, device=request.device, **request.overrides)
            except EmgaussError:
                return
            device = self.method.device_info.device
            record_fit(uncorrected_seconds(config, request.shape, device), session.state.elapsed_s or 0.0, device)

    def _on_stack(self) -> None:
        layer = self.stack.layer
        if layer is not self._stack_layer and not self._fitting:
            self.session = None
            self.panel.set_session(None)
        self._stack_layer = layer
        self.region.set_layer(layer)
        self._on_part()

    @property
    def _fitting(self) -> bool:
        return self.session is not None and self.session.state.status.active

    def _on_part(self) -> None:
        layer = self.stack.layer
        try:
            check_layer(layer)
            y0, y1, x0, x1 = self.region.region()
            first, last = self.region.slices
            self.method.set_shape((last - first + 1, y1 - y0, x1 - x0) if last > first else None)
            problem = ""
        except EmgaussError as error:
            self.method.set_shape(None)
            problem = str(error)
        if self.session is None:
            self.panel.tell_problem(problem)
