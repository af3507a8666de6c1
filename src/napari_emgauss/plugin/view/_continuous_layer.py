"""The continuous-z layer: an ordinary napari image layer whose slices are rendered when they are looked at."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_emgauss.plugin._door import notify
from napari_emgauss.plugin._preferences import preferences
from napari_emgauss.plugin.process._demand import fit_runs
from napari_emgauss.plugin.process._problem import Problem, problem_of
from napari_emgauss.stack import Frame, Region
from napari_emgauss.volume import Look, ModelView, VolumeModel, traits_of

from ._geometry import Placement
from ._painter import Painter
from ._prompt_volume import LayerPainter, PromptVolume
from ._viewers import viewers

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_emgauss.volume import LazyVolume

KEY = "emgauss"
"""Where a layer's record is, in ``layer.metadata``."""

LayerKind = Literal["continuous", "linear", "difference", "confidence", "error", "labels"]

MOST_STEPS = 50_000
"""Longest z slider; beyond it a pixel of the slider is hundreds of steps, and the exact depth is typed in anyway."""


@dataclass
class DepthShift:
    """How far the shown depth lies off the grid, so that any depth can be looked at exactly; nm.

    The slider of napari snaps to the grid of the layer; a typed depth of 123.4 nm on a grid of 5 nm shows the grid's
    125 nm rendered 1.6 nm higher. Shared by all layers that are compared.
    """

    nm: float = 0.0


class ShiftedModel(ModelView):
    """A model seen through a :class:`DepthShift`."""

    def __init__(self, model: VolumeModel, shift: DepthShift) -> None:
        super().__init__(model)
        self.shift = shift

    @property
    def version(self) -> int:
        """Changes with the model's and with the shift: it is part of the cache's key."""
        return hash((self.model.version, self.shift.nm)) if self.shift.nm else int(self.model.version)

    def _images(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        within = np.clip(Frame.of(self).checked_depths(depths_nm) + self.shift.nm, self.z_nm[0], self.z_nm[-1])
        return super()._images(within, region, shape)


@dataclass
class LayerRecord:
    """What makes an image layer one of ours; kept in its metadata.

    Parameters
    ----------
    kind : {"continuous", "linear", "difference", "confidence", "error", "labels"}
        What it shows.
    model : VolumeModel
        Where its pixels come from.
    placement : Placement
        Where it lies.
    shift : DepthShift
        Shared by layers that are compared.
    z_step_nm : float
        Grid the user chose.
    shown_step_nm : float
        Grid the layer has now: never finer than a pixel while z is on screen.
    """

    kind: LayerKind
    model: Any
    placement: Placement
    shift: DepthShift = field(default_factory=DepthShift)
    z_step_nm: float = 0.0
    shown_step_nm: float = 0.0

    troubled = Signal(object)
    """A :class:`Problem`: pixels on screen cannot be rendered; None when they can again."""

    def __deepcopy__(self, memo: dict[int, Any]) -> LayerRecord:
        # Layer > Duplicate: the model is shared, the grid is the copy's own.
        return dataclasses.replace(self)

    def __post_init__(self) -> None:
        from napari_emgauss.volume import RenderCache

        self.cache = RenderCache(preferences().cache_mib << 20)
        self.problem: Problem | None = None
        self.shifted = ShiftedModel(self.model, self.shift)
        self.painter = self._new_painter()

    def _new_painter(self) -> LayerPainter:
        return Painter(self._on_news, fit_runs)

    @property
    def isotropic_step_nm(self) -> float:
        """The step that makes voxels as deep as they are wide, dividing the gap of an even stack whole."""
        from napari_emgauss.volume import aligned_spacing

        return aligned_spacing(self.model.z_nm, float(np.mean(self.model.pixel_size_nm)))

    def levels(self, z_step_nm: float) -> list[PromptVolume]:
        """Lazy pyramid with about this z step; pixels of an earlier one are used again where depths agree."""
        views = self._views(z_step_nm)
        return [PromptVolume(view, self.painter, coarsest=view is views[-1]) for view in views]

    def _views(self, z_step_nm: float) -> list[LazyVolume]:
        from napari_emgauss.volume import pyramid

        return pyramid(self.shifted, spacing_nm=z_step_nm, cache=self.cache)

    @property
    def look(self) -> Look:
        """How the layer looks now."""
        return traits_of(self.shifted.model).look

    def look_as(self, view: VolumeModel) -> None:
        """Show the model through a view of it from now on, or without one."""
        self.shifted.model = view
        self.cache.clear()
        self.forget_problem()

    def become(self, model: VolumeModel) -> bool:
        """Show a fitted model from now on; False, and nothing happens, where its grid is another."""
        now = self.model
        same = (
            tuple(now.shape) == tuple(model.shape)
            and np.dtype(now.dtype) == np.dtype(model.dtype)
            and np.allclose(now.z_nm, model.z_nm)
            and np.allclose(now.pixel_size_nm, model.pixel_size_nm)
        )
        if same:
            self.kind, self.model = "continuous", model
            self.look_as(model)
        return same

    def forget_problem(self) -> None:
        """It is to be tried again."""
        if self.problem is not None:
            self.problem = None
            self.troubled.emit(None)

    def _on_news(self, error: Exception | None) -> None:
        """From the painter's thread: a picture has become better, or cannot be had."""
        from napari_emgauss.plugin._background import call_in_window

        if error is None:
            call_in_window(self._show_news)
        else:
            problem = problem_of(error, "render")
            call_in_window(lambda: self._tell(problem))

    def _show_news(self) -> None:
        if not self.painter.failing:
            self.forget_problem()
        refresh_painted(self.painter)

    def _tell(self, problem: Problem) -> None:
        """Say why there is no picture: once, not with every step of the slider."""
        told, self.problem = self.problem, problem
        if told is None or told.sentence != problem.sentence:
            notify(problem)
            self.troubled.emit(problem)


def record_of(layer: Any) -> LayerRecord | None:
    """The layer's record; None when it is not one of ours."""
    record = layer.metadata.get(KEY) if layer is not None else None
    return record if isinstance(record, LayerRecord) else None


def smallest_step_nm(z_nm: NDArray[np.float64]) -> float:
    """Finest grid on offer, for the slider's sake."""
    return float(z_nm[-1] - z_nm[0]) / MOST_STEPS


def layer_data_tuple(record: LayerRecord, name: str, **arguments: Any) -> tuple[Any, dict[str, Any], str]:
    """Data, keywords and type of a layer that shows a record."""
    levels = record.levels(record.z_step_nm or record.isotropic_step_nm)
    # The volume includes both ends, so its step may differ a little from the wanted one.
    step = record.z_step_nm = record.shown_step_nm = levels[0].scale_nm[0]
    keywords = {
        "name": name,
        "multiscale": True,
        "metadata": {KEY: record},
        **record.placement.layer_arguments(step),
        **arguments,
    }
    return levels, keywords, "image"


def set_grid(layer: Image, z_step_nm: float) -> None:
    """Give a layer another grid along z; it stays where it is."""
    record = record_of(layer)
    if record is None:
        return
    levels = record.levels(z_step_nm)
    step = levels[0].scale_nm[0]
    if np.isclose(record.shown_step_nm, step, rtol=1e-9):
        return
    scale = record.placement.layer_arguments(step)["scale"]
    record.shown_step_nm = step
    visible, layer.visible = layer.visible, False  # no slicing between the two changes
    layer.data = levels
    layer.scale = scale
    layer.visible = visible


def depth_at(layer: Image, viewer: Any) -> float:
    """Depth on screen in nm, from the viewer's point and the shift."""
    record = record_of(layer)
    if record is None:
        raise ValueError(f"{layer.name} is not an EMGauss layer")
    position = layer.world_to_data(viewer.dims.point)[-3]
    first, last = float(record.model.z_nm[0]), float(record.model.z_nm[-1])
    return float(np.clip(first + position * record.shown_step_nm + record.shift.nm, first, last))


def go_to_depth(layer: Image, viewer: Any, z_nm: float) -> None:
    """Show exactly the depth ``z_nm``: the nearest step of the grid, shifted by the rest."""
    record = record_of(layer)
    if record is None:
        raise ValueError(f"{layer.name} is not an EMGauss layer")
    first, last = float(record.model.z_nm[0]), float(record.model.z_nm[-1])
    z_nm = min(max(z_nm, first), last)
    step = record.shown_step_nm
    index = min(round((z_nm - first) / step), layer.data[0].shape[0] - 1)
    rest = z_nm - (first + index * step)
    # Off the grid only; a rounding error must not make the cache forget the slice.
    record.shift.nm = rest if abs(rest) > 1e-6 * step else 0.0
    point = np.array(layer.world_to_data(viewer.dims.point), dtype=float)
    point[-3] = index
    axis = viewer.dims.ndim - 3
    viewer.dims.set_point(axis, float(layer.data_to_world(point)[-3]))


def refresh_painted(painter: LayerPainter) -> None:
    """Draw the layers of a painter again."""
    began = time.perf_counter()
    for viewer in viewers():
        for layer in viewer.layers:
            if record_of(layer) is not None and layer.visible and layer.data[0].painter is painter:
                refresh_shown(layer, thumbnail=True)
    painter.refresh_s = time.perf_counter() - began


def refresh_shown(layer: Image, *, thumbnail: bool = False) -> None:
    """Draw again after the pixels behind the layer changed; its size did not."""
    layer.refresh(extent=False, thumbnail=thumbnail)
