"""The first tab: from a stack to a running fit and its layer."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_emgauss._errors import EmgaussError, StackError, VoxelSizeError
from napari_emgauss.plugin._background import in_background
from napari_emgauss.plugin._door import at_the_door, notify, take_back
from napari_emgauss.plugin._preferences import preferences
from napari_emgauss.plugin.process._estimate import FitPlan, record_fit
from napari_emgauss.plugin.process._fit_process import FitProcess
from napari_emgauss.plugin.process._fit_state import FitStatus
from napari_emgauss.plugin.process._fit_store import saved_fit
from napari_emgauss.plugin.process._problem import Problem, problem_of
from napari_emgauss.plugin.process._reckoning import PatchPlan, patch_of
from napari_emgauss.plugin.process._remote_model import RemoteModel
from napari_emgauss.plugin.process._render_service import RenderService
from napari_emgauss.plugin.process._request import FitRequest, check_request
from napari_emgauss.plugin.process._wording import sentence
from napari_emgauss.plugin.view._channel_layers import channel_layers
from napari_emgauss.plugin.view._continuous_layer import (
    DepthShift,
    LayerRecord,
    layer_data_tuple,
    record_of,
    refresh_shown,
)
from napari_emgauss.plugin.view._geometry import Placement, placement_on
from napari_emgauss.plugin.view._layer_input import channels_of, check_layer, is_stack_like, layer_data
from napari_emgauss.plugin.view._region import centre_of_view
from napari_emgauss.plugin.view._stand_in import add_stand_ins, is_stand_in, replace_stand_in
from napari_emgauss.plugin.widgets._form import Page, fold, rule, stack_up

from ._fit_panel import FitPanel
from ._fit_remedies import FitRemedies
from ._method_form import MethodForm
from ._region_form import RegionForm
from ._repair import RepairPanel
from ._session import FitSession
from ._slices_form import SlicesForm
from ._stack_form import StackForm

LOGGER = logging.getLogger("napari_emgauss.plugin")


class FitTab(Page):
    """Everything needed to fit; one click is enough."""

    layer_added = Signal(object)
    """A continuous-z layer appeared."""
    begun = Signal()
    """A fit has begun."""
    patch_fitted = Signal()
    """The result of a patch is there."""

    def __init__(self, viewer: Any, service: RenderService) -> None:
        super().__init__()
        self._viewer, self._service = viewer, service
        self.session: FitSession | None = None
        self._layers: list[Any] = []
        self._refused = ""
        self._replaced: list[Any] = []
        self._under: Any = None
        self._work: FitPlan | None = None
        self._stack_layer: Any = None
        self._show_model: Callable[[RemoteModel], None] = lambda model: None
        self.stack = StackForm(viewer)
        self.region = RegionForm(viewer)
        self.slices = SlicesForm(viewer)
        self.repair = RepairPanel(viewer, self)
        bad = QWidget()
        stack_up(bad, self.slices, self.repair)
        self.slices_fold = fold("Slices and damage", bad)
        self.method = MethodForm(viewer, service)
        self.panel = FitPanel(viewer)
        for part in (self.stack, self.region, self.slices_fold, rule(), self.method, rule()):
            self.column.addWidget(part)
        self.column.addWidget(self.panel)
        self.column.addStretch(1)
        self.stack.changed.connect(self._on_stack)
        self.region.changed.connect(self._on_part)
        self.slices.changed.connect(self._on_part)
        self.method.planned.connect(self._on_planned)
        self.remedies = FitRemedies(self)
        self.panel.fit_clicked.connect(lambda: self.start_fit())
        self.panel.patch_clicked.connect(self.try_patch)
        self.panel.resume_clicked.connect(lambda: self.start_fit(resume=True))
        self._on_stack()

    def disconnect_viewer(self) -> None:
        """End a running fit and stop listening; the widget is about to go."""
        self.end_session()
        for part in (self.stack, self.region, self.slices, self.repair, self.method, self.panel):
            part.disconnect_viewer()

    @property
    def result_layer(self) -> Any:
        """The layer of the last fit, None where it has gone."""
        return next((layer for layer in self._layers if layer in self._viewer.layers), None)

    def end_session(self) -> None:
        """End a running fit, which keeps its state; returns at once."""
        if self.session is not None:
            self.session.abandon()

    @property
    def keeps_state(self) -> bool:
        """Whether the process of the last fit is still there, perhaps writing what it keeps."""
        return self.session is not None and self.session.process.alive

    def end_now(self) -> None:
        """Do not wait for what the fit writes."""
        if self.session is not None:
            self.session.process.end_now()

    def closing_sentence(self) -> str:
        """What closing the window means for a running fit; empty where none runs."""
        if self.session is None or not self._fitting:
            return ""
        state = self.session.state
        if self.session.process.request.patch:
            return f"A patch of “{self.session.name}” is being fitted: closing ends it."
        done = "" if state.fraction is None else f" ({state.fraction:.0%} of this stage done)"
        if state.total_iterations and state.iteration:
            done = f" ({state.iteration / state.total_iterations:.0%} done)"
        return (
            f"“{self.session.name}” is being fitted{done}. Closing stops the fit and keeps its state: to continue, "
            "open the stack "
            "again and press Resume."
        )

    def request(self) -> FitRequest:
        """What the widget asks for now.

        Raises
        ------
        EmgaussError
            It cannot be fitted; the message says why.
        """
        request = self._part()
        if min(request.voxel_size_nm) <= 0:
            raise VoxelSizeError("The voxel size is unknown: type in z, y and x in nm.")
        self.method.config()
        plan = self.method.plan
        request = dataclasses.replace(request, tiles=None if plan is None else plan.tiles)
        check_request(request)
        if plan is not None and plan.problem:
            raise StackError(plan.problem)
        return request

    def _part(self) -> FitRequest:
        """What is chosen, whether it can be fitted or not."""
        layer = self.stack.layer
        check_layer(layer)
        return FitRequest(
            name=layer.name,
            source=None if layer.source.path is None else str(layer.source.path),
            voxel_size_nm=self.stack.voxel_size_nm,
            region=self.region.region(),
            slices=self.region.slices,
            layer_shape=tuple(int(n) for n in layer_data(layer).shape),
            skip=self.slices.skip(),
            masked=self.slices.damage() is not None,
            channels=channels_of(layer),
            **self.method.chosen(),
        )

    def _patch(self, planned: PatchPlan | None) -> FitRequest:
        """The patch to try first, with the settings that were planned for it.

        Raises
        ------
        EmgaussError
            There is none; the message says why.
        """
        chosen = self._part()
        check_request(chosen)
        *centre, shown = centre_of_view(self.stack.layer, self._viewer)
        patch = patch_of(chosen, (centre[0], centre[1]), shown)
        if patch is None:
            raise StackError("The selection is no larger than a patch: press Fit EMGauss.")
        if planned is not None:
            patch = dataclasses.replace(patch, overrides=planned.overrides)
        check_request(patch)
        return patch

    def start_fit(self, *, resume: bool = False) -> None:
        """Begin a fit of what is chosen, or go on with an unfinished one, or say why that cannot be."""
        try:
            self._begin(dataclasses.replace(self.request(), resume=resume), self.method.plan)
        except Exception as error:
            self._refuse(problem_of(error, "fit"))

    def try_patch(self) -> None:
        """Fit a small patch in the middle of the view, or say why that cannot be."""
        try:
            reckoning = self.method.reckoning
            patch = None if reckoning is None else reckoning.patch
            self._begin(self._patch(patch), None if patch is None else patch.plan)
        except Exception as error:
            self._refuse(problem_of(error, "fit"))

    def _refuse(self, problem: Problem) -> None:
        """Say why a fit was not begun, or has failed."""
        self._take_back()
        notify(problem)
        self._refused = problem.sentence
        self.panel.tell_error(problem.sentence, self.remedies.of(problem))

    def _take_back(self) -> None:
        """What was refused before is so no more."""
        if self._refused:
            take_back(self._refused)
            self._refused = ""

    def _begin(self, request: FitRequest, plan: FitPlan | None) -> None:
        layer = self.stack.layer
        placement = self._placement(layer, request)
        session = FitSession(FitProcess(request, layer_data(layer), damage=self.slices.damage()), self._service)
        session.previews_wanted = lambda: preferences().live_preview
        session.expected = self.method.expected(plan)
        self.method.end_trial()
        session.start()
        self._take_back()
        # What a stopped fit left is replaced by what it becomes.
        self._replaced = list(self._layers) if request.resume else []
        self._under = None
        self.session, self._layers, self._work = session, [], plan
        self.begun.emit()
        look = {"contrast_limits": tuple(layer.contrast_limits), "colormap": layer.colormap, "gamma": layer.gamma}
        self._show_model = lambda model: self._add_layers(model, layer, name_of_result(request), placement, look)
        session.model_appeared.connect(self._show_model)
        session.model_changed.connect(lambda model: self._refresh())
        session.ended.connect(self._on_ended)
        self.panel.set_session(session)
        if preferences().live_preview and not any(old in self._viewer.layers for old in self._replaced):
            self._show_stand_ins(layer, request, placement, look)

    def _show_stand_ins(self, layer: Any, request: FitRequest, placement: Placement, look: dict[str, Any]) -> None:
        """Something to see at once; that it cannot be shown is no reason not to fit."""
        try:
            with self._same_place():
                self._layers = add_stand_ins(
                    self._viewer, name_of_result(request), layer_data(layer), request, placement, look
                )
            self._hide_under_channels(layer)
        except Exception as error:
            problem = problem_of(error, "render")
            LOGGER.warning("Linear interpolation cannot be shown: %s\n%s", problem.sentence, problem.details)

    @contextlib.contextmanager
    def _same_place(self) -> Iterator[None]:
        """A finer grid along z must not move the user to another place."""
        dims = self._viewer.dims
        point = dims.point
        yield
        if len(point) == dims.ndim:  # it was 2 where the source had been removed
            dims.set_point(range(dims.ndim), point)

    def _placement(self, layer: Any, request: FitRequest) -> Placement:
        z_step, kept = request.voxel_size_nm[0], request.kept
        return placement_on(layer, request.origin, [k * z_step for k in range(kept[-1] - kept[0] + 1)])

    def _add_layers(
        self, model: RemoteModel, source: Any, name: str, placement: Placement, look: dict[str, Any]
    ) -> None:
        shown = list(channel_layers(model))
        stand_ins = [layer for layer in self._layers if layer in self._viewer.layers and is_stand_in(layer)]
        if len(stand_ins) != len(shown) or not all(
            replace_stand_in(layer, one) for layer, (one, _, _) in zip(stand_ins, shown, strict=True)
        ):
            self._replaced += self._layers
            self._add_anew(shown, name, placement, look)
        self._hide_under_channels(source)
        self.layer_added.emit(self._layers[0])

    def _hide_under_channels(self, source: Any) -> None:
        """Channels are added up: over the grey stack they would look washed out."""
        if len(self._layers) > 1 and source in self._viewer.layers and source.visible:
            source.visible, self._under = False, source

    def _add_anew(self, shown: list[Any], name: str, placement: Placement, look: dict[str, Any]) -> None:
        """A layer for each channel, instead of what was shown before."""
        shift = DepthShift()
        with self._same_place():
            self._remove_replaced()
            self._layers = []
            for one, suffix, theirs in shown:
                record = LayerRecord("continuous", one, placement, shift)
                data, keywords, _ = layer_data_tuple(record, f"{name}{suffix}", **(theirs or look))
                self._layers.append(self._viewer.add_image(data, **keywords))

    def _remove_replaced(self) -> None:
        for old in self._replaced:
            if old in self._viewer.layers:
                self._viewer.layers.remove(old)
        self._replaced = []

    def _refresh(self) -> None:
        for layer in self._layers:
            record = record_of(layer)
            if record is not None and layer in self._viewer.layers and not is_stand_in(layer):
                record.cache.clear()  # of the state before, which nobody will ask for again
                refresh_shown(layer, thumbnail=True)

    @at_the_door
    def _on_ended(self) -> None:
        session = self.session
        if session is None:
            return
        if session.problem is not None:
            self._refuse(session.problem)
        try:
            self._take_leave(session)
        except Exception as error:
            self._refuse(problem_of(error, "fit"))
        self._offer_to_resume()

    def _take_leave(self, session: FitSession) -> None:
        """See to it that the result is shown, and learn from how long it took."""
        if session.model is None:
            self._replaced = [layer for layer in self._layers if is_stand_in(layer)]
            self._remove_replaced()
            if self._under in self._viewer.layers:
                self._under.visible = True
        if session.model is not None and not any(layer in self._viewer.layers for layer in self._layers):
            self._layers = []
            self._show_model(session.model)  # the preview was removed, but a result must not be lost
        patch = session.process.request.patch
        if session.state.status is FitStatus.FINISHED and self.method.device_info is not None and not patch:
            pace = session.seconds_per_iteration
            if self._work is not None and self._work.tiles is None and pace is not None:
                iterations_s = pace * session.state.total_iterations
                prior_s = 0.0 if session.prior_reused else session.prior_s  # too short to tell of learning
                record_fit(self._work.work, prior_s, iterations_s, self.method.device_info.device)
        if patch and self.result_layer is not None:
            self.patch_fitted.emit()
        self.method.reckon_again()  # there may be a prior now that has learned

    def _on_planned(self) -> None:
        self._offer_to_resume()
        self._offer_patch()

    def _offer_patch(self) -> None:
        reckoning = self.method.reckoning
        self.panel.offer_patch(reckoning is not None and reckoning.patch is not None)

    def _offer_to_resume(self) -> None:
        """Show the Resume button when there is an unfinished fit of what is chosen."""
        if self._fitting:
            return
        try:
            request = self.request()
        except EmgaussError:
            self.panel.offer(None)
            return
        in_background(self, lambda: saved_fit(request), self.panel.offer)

    @at_the_door
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

    @at_the_door
    def _on_part(self) -> None:
        layer = self.stack.layer
        self.slices.set_layer(layer if is_stack_like(layer) else None, self.stack.voxel_size_nm)
        try:
            part = self._part()
            known = min(part.voxel_size_nm) > 0 and len(part.kept) > 2
            self.method.set_wanted(part if known else None, layer_data(layer))
            problem = ""
        except EmgaussError as error:
            self.method.set_wanted(None)
            problem = sentence(error)
        if self.session is None:
            self._take_back()
            self.panel.tell_problem(problem)
        self._offer_to_resume()
        self._offer_patch()


def name_of_result(request: FitRequest) -> str:
    """What the layer of a fit is called."""
    return f"{request.name} patch EMGauss" if request.patch else f"{request.name} EMGauss"
