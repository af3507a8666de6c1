"""The layer of carried labels beside the continuous one, and the way back to the slices of the stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_emgauss._errors import StackError
from napari_emgauss.labels import BackMethod, bring_back, depths_covered, move_slice
from napari_emgauss.plugin.process._remote_labels import FittedLabels
from napari_emgauss.stack import Region
from napari_emgauss.volume import Provenance

from ._compare import fitted_part, fitted_slices, source_candidates, stack_record
from ._continuous_layer import LayerRecord, layer_data_tuple, record_of
from ._label_painter import LabelPainter
from ._layer_input import layer_data
from ._prompt_volume import LayerPainter

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_emgauss.volume import LazyVolume


@dataclass
class LabelRecord(LayerRecord):
    """What makes a layer one of carried labels; ``model`` is the :class:`RemoteLabels` behind it."""

    worked = Signal(bool)
    """Whether labels are being worked out now."""

    def __post_init__(self) -> None:
        self.busy = False
        super().__post_init__()

    def _new_painter(self) -> LayerPainter:
        return LabelPainter(self._on_news, self._nearest, self._on_busy)

    def _views(self, z_step_nm: float) -> list[LazyVolume]:
        from napari_emgauss.volume import LazyVolume

        views = super()._views(z_step_nm)
        if len(views) == 1:  # napari takes a list of one for no pyramid at all, where it holds labels
            _, height, width = views[0].shape
            halves = (-(-height // 2), -(-width // 2))
            views.append(LazyVolume(self.shifted, views[0].z_nm, in_plane_shape=halves, cache=self.cache))
        return views

    def _nearest(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        z = self.model.z_nm
        near: NDArray[Any] = self.model.nearest(
            np.clip(depths_nm + self.shift.nm, z[0], z[-1]), region=region, shape=shape
        )
        return near

    def _on_busy(self, busy: bool) -> None:
        from napari_emgauss.plugin._background import call_in_window

        if busy != self.busy:
            self.busy = busy
            call_in_window(lambda: self.worked.emit(busy))


def label_record_of(layer: Any) -> LabelRecord | None:
    """The record of a layer of carried labels; None when it is none."""
    record = record_of(layer)
    return record if isinstance(record, LabelRecord) else None


def fitted_labels(layer: Layer, continuous: Layer, *, unlabelled: int | None, chosen: str) -> FittedLabels:
    """Labels of a layer on what ``continuous`` was fitted to.

    Raises
    ------
    StackError
        There is no such layer, or it lies on another stack.
    """
    record = record_of(continuous)
    if record is None:
        raise StackError("There is no EMGauss layer to carry labels through: fit a stack, or open a model.")
    if layer is None:
        raise StackError("There is no layer of labels: add one on the stack and label at least two of its slices.")
    told = stack_record(record).layer_shape
    shape = tuple(int(n) for n in layer_data(layer).shape)
    slices, (y0, y1, x0, x1) = fitted_slices(record), fitted_part(record)[1]
    if shape == tuple(record.model.shape):  # labels of the fitted slices alone
        told, slices, (y0, y1, x0, x1) = (), list(range(shape[0])), (0, shape[1], 0, shape[2])
    if len(shape) != 3 or (told and tuple(told) != shape) or slices[-1] >= shape[0] or y1 > shape[1] or x1 > shape[2]:
        expected = tuple(told) if told else record.model.shape
        raise StackError(
            f"“{layer.name}” has the shape {_sizes(shape)}, but the stack that “{continuous.name}” was fitted to has "
            f"{_sizes(expected)}: choose labels of the same slices."
        )
    return FittedLabels(
        layer_data(layer),
        slices,
        (y0, y1, x0, x1),
        layer.name,
        unlabelled=unlabelled,
        chosen=chosen,
        offsets_px=_offsets_px(record),
    )


def _offsets_px(record: LayerRecord) -> NDArray[np.float64]:
    """By how much each fitted slice was moved."""
    return Provenance.from_json(record.model.provenance).offsets_px(record.model.shape[0])


def add_carried(viewer: Any, labels: Any, source: Layer, continuous: Layer) -> Any:
    """Add a layer with labels at all depths: where the continuous layer lies, with the look of the source."""
    record = record_of(continuous)
    if record is None:
        raise StackError("The EMGauss layer has been removed: choose another one.")
    ours = LabelRecord("labels", labels, record.placement, record.shift, record.shown_step_nm)
    look = {"colormap": source.colormap, "opacity": source.opacity, "blending": source.blending}
    point = tuple(viewer.dims.point)
    data, keywords, _ = layer_data_tuple(ours, f"{source.name} carried", **look)
    added = viewer.add_labels(data, **keywords)
    for name in ("contour", "selected_label", "show_selected_label"):
        setattr(added, name, getattr(source, name))
    ours.z_step_nm = record.z_step_nm
    if len(point) == viewer.dims.ndim:
        viewer.dims.set_point(range(viewer.dims.ndim), point)
    return added


def grid_of(volume: Layer, continuous: Layer) -> NDArray[np.float64]:
    """``(N,)`` depths of the slices of a layer on the isotropic grid.

    They are where the layer lies, if it lies within the continuous one; a layer without a place (opened from a file
    that says none) reaches from the first fitted slice to the last.

    Raises
    ------
    StackError
        The layer has not the rows and columns of the fitted part.
    """
    record = record_of(continuous)
    if record is None:
        raise StackError("There is no EMGauss layer that says where the slices lie: fit a stack, or open a model.")
    if volume is None:
        raise StackError("There is no layer on the isotropic grid to bring back: carry labels, or open a volume.")
    shape = tuple(int(n) for n in layer_data(volume).shape)
    z, (_, height, width) = record.model.z_nm, record.model.shape
    if len(shape) != 3 or shape[1:] != (height, width) or shape[0] < 2:
        raise StackError(
            f"“{volume.name}” has the shape {_sizes(shape)}, but the isotropic grid of “{continuous.name}” has slices "
            f"of {height} × {width} pixels: choose a volume on that grid."
        )
    first, last = _reach(volume, continuous, record, shape) or (float(z[0]), float(z[-1]))
    return np.linspace(first, last, shape[0])


def _reach(volume: Layer, continuous: Layer, record: LayerRecord, shape: tuple[int, ...]) -> tuple[float, float] | None:
    """First and last depth, nm, of a layer that lies on the continuous one; None where it lies elsewhere."""
    corners = [(0.0, 0.0, 0.0), tuple(n - 1.0 for n in shape)]
    places = np.array([continuous.world_to_data(volume.data_to_world(corner)) for corner in corners])[:, -3:]
    if not np.allclose(places[:, 1:], np.array(corners)[:, 1:], atol=0.5):
        return None
    z = record.model.z_nm
    first, last = (float(z[0] + index * record.shown_step_nm) for index in places[:, 0])
    slack = 0.5 * record.shown_step_nm
    if not z[0] - slack <= first < last <= z[-1] + slack:
        return None
    return max(first, float(z[0])), min(last, float(z[-1]))


@dataclass(frozen=True)
class OnSlices:
    """What was brought back.

    Parameters
    ----------
    values : ndarray
        On the slices of the source layer where there is one, else on those that were fitted.
    placement : mapping
        Keywords of the layer to add.
    not_reached : tuple of int
        Fitted slices, as the source counts them, that the volume does not reach.
    """

    values: NDArray[Any]
    placement: dict[str, Any]
    not_reached: tuple[int, ...] = ()


def on_slices(
    volume: Layer,
    grid_nm: NDArray[np.float64],
    continuous: Layer,
    stack: Layer | None,
    method: BackMethod,
    unlabelled: int = 0,
) -> OnSlices:
    """A volume on the isotropic grid brought back to the slices of the stack; takes a while, for a worker thread."""
    record = record_of(continuous)
    if record is None:
        raise StackError("The EMGauss layer has been removed: choose another one.")
    z, offsets = record.model.z_nm, _offsets_px(record)
    carried = label_record_of(volume)
    if carried is not None and method == "nearest":  # exactly at the slices, wherever its grid lies
        found = np.stack([move_slice(carried.model.render(float(d)), -off) for d, off in zip(z, offsets, strict=True)])
        reached = np.ones(len(z), bool)
    else:
        values = layer_data(volume)
        found = bring_back(values, grid_nm, z, method=method, offsets_px=offsets, unlabelled=unlabelled)
        reached = depths_covered(grid_nm, z)
    numbers = fitted_slices(record)
    missing = tuple(numbers[k] for k in np.flatnonzero(~reached))
    if stack is None:
        placement = record.placement.layer_arguments(float(z[-1] - z[0]) / (len(z) - 1))
        return OnSlices(found, placement, missing)
    _, (y0, y1, x0, x1) = fitted_part(record)
    nothing = np.nan if found.dtype.kind == "f" else unlabelled
    whole = np.full(tuple(int(n) for n in layer_data(stack).shape[-3:]), nothing, found.dtype)
    whole[numbers, y0:y1, x0:x1] = found
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    return OnSlices(whole, {name: getattr(stack, name) for name in names}, missing)


def stack_of(viewer: Any, continuous: Layer) -> Any:
    """The layer that a continuous layer was fitted to; None where it is not in the viewer."""
    return next(iter(source_candidates(viewer, continuous)), None)


def _sizes(shape: tuple[int, ...]) -> str:
    return " × ".join(str(n) for n in shape)
