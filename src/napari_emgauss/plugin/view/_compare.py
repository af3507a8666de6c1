"""Layers to compare with: linear interpolation of the same part, and the difference from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_emgauss._errors import StackError
from napari_emgauss.stack import StackRecord
from napari_emgauss.volume import Provenance, companion_row

from ._continuous_layer import LayerRecord, layer_data_tuple, record_of
from ._layer_input import layer_data
from ._linear_model import DifferenceModel, LinearModel

DIFFERENCE_COLOURMAP = "PiYG"
CONFIDENCE_COLOURMAP = "viridis"
ERROR_COLOURMAP = "inferno"

_FIT_AGAIN = "fit the stack again, with a prior, to have it"


def source_candidates(viewer: Any, layer: Any) -> list[Any]:
    """Stacks in the viewer that ``layer`` may have been fitted to, the likeliest first."""
    from napari.layers import Image

    record = record_of(layer)
    if record is None:
        return []
    _, region = fitted_part(record)
    fitting = [
        other
        for other in viewer.layers
        if isinstance(other, Image) and record_of(other) is None and _holds(other, record, region)
    ]
    name = Provenance.from_json(record.model.provenance).name or layer.name.removesuffix(" EMGauss")
    return sorted(fitting, key=lambda other: other.name != name)


def fitted_part(record: LayerRecord) -> tuple[int, tuple[int, int, int, int]]:
    """First slice and rectangle ``(y0, y1, x0, x1)`` in the stack that was fitted; all of it where it is not told."""
    told = stack_record(record)
    _, height, width = record.model.shape
    y0, y1, x0, x1 = told.region or (0, height, 0, width)
    return int(told.first_slice), (int(y0), int(y1), int(x0), int(x1))


def fitted_slices(record: LayerRecord) -> list[int]:
    """Slices of the layer that were fitted, in order: all but those that were left out."""
    return stack_record(record).fitted_numbers(record.model.shape[0])


def stack_record(record: LayerRecord) -> StackRecord:
    """What the model's provenance says of its stack."""
    return Provenance.from_json(record.model.provenance).stack


def add_linear(viewer: Any, layer: Any, source: Any) -> Any:
    """Add a layer with linear interpolation of ``source`` beside ``layer``.

    Raises
    ------
    StackError
        ``source`` is not the stack that ``layer`` was fitted to.
    """
    record = _checked(layer, source)
    name = f"{layer.name.removesuffix(' EMGauss')} linear"
    return _add(viewer, layer, record, "linear", _linear(record, source), name, _look(layer))


def side_by_side(viewer: Any, layer: Any) -> list[Any]:
    """The stack, linear interpolation and ``layer`` in a grid whose views move together.

    Returns
    -------
    list of Layer
        Other layers, which were visible and are hidden now: each would have a place in the grid.

    Raises
    ------
    StackError
        The stack is not among the layers.
    """
    record = _record(layer)
    candidates = source_candidates(viewer, layer)
    if not candidates:
        raise StackError(f"The stack that “{layer.name}” was fitted to is not open: open it, then compare.")
    source = candidates[0]
    linear = next((one for one in viewer.layers if _is_linear_of(one, record)), None)
    if linear is None:
        linear = add_linear(viewer, layer, source)
    for place, one in enumerate((source, linear, layer)):
        viewer.layers.move(viewer.layers.index(one), place)
        one.visible = True
    hidden = [one for one in list(viewer.layers)[3:] if one.visible]
    for one in hidden:
        one.visible = False
    grid = viewer.canvas.grid
    grid.stride, grid.shape, grid.enabled = 1, (1, 3), True
    viewer.layers.selection.active = layer
    viewer.reset_view()
    return hidden


def one_view(viewer: Any, hidden: list[Any]) -> None:
    """All layers over each other again, and those shown that :func:`side_by_side` has hidden."""
    viewer.canvas.grid.enabled = False
    for layer in hidden:
        if layer in viewer.layers:
            layer.visible = True
    viewer.reset_view()


def _is_linear_of(layer: Any, record: LayerRecord) -> bool:
    theirs = record_of(layer)
    return theirs is not None and theirs.kind == "linear" and theirs.shift is record.shift


def add_difference(viewer: Any, layer: Any, source: Any) -> Any:
    """Add a layer with ``layer`` minus linear interpolation of ``source``.

    Raises
    ------
    StackError
        As for :func:`add_linear`.
    """
    record = _checked(layer, source)
    model = DifferenceModel(record.model, _linear(record, source))
    low, high = layer.contrast_limits
    reach = 0.25 * float(high - low)
    look = {"contrast_limits": (-reach, reach), "colormap": DIFFERENCE_COLOURMAP}
    return _add(viewer, layer, record, "difference", model, f"{layer.name} − linear", look)


def add_confidence(viewer: Any, layer: Any, confidence: Any) -> Any:
    """Add a layer with how far the prior trusted what it inferred in ``layer``.

    Raises
    ------
    StackError
        The model does not know.
    """
    record = _record(layer)
    if confidence is None:
        raise StackError(companion_row("confidence").told_missing(f"“{layer.name}”", _FIT_AGAIN))
    look = {"contrast_limits": (0, 255), "colormap": CONFIDENCE_COLOURMAP, "opacity": 0.5}
    return _add(viewer, layer, record, "confidence", confidence, f"{layer.name} confidence", look)


def add_error(viewer: Any, layer: Any, error: Any) -> Any:
    """Add a layer with the error bars of ``layer``: σ in grey values.

    Raises
    ------
    StackError
        The model has none.
    """
    record = _record(layer)
    if error is None:
        raise StackError(
            companion_row("error").told_missing(f"“{layer.name}”", f"wait while it is being fitted, or {_FIT_AGAIN}")
        )
    z = error.z_nm
    middle = np.asarray(error.render(float(z[len(z) // 2 - 1] + z[len(z) // 2]) / 2))
    look = {"contrast_limits": (0, max(2 * float(middle.mean()), 1e-6)), "colormap": ERROR_COLOURMAP, "opacity": 0.5}
    return _add(viewer, layer, record, "error", error, f"{layer.name} error bars", look)


def _record(layer: Any) -> LayerRecord:
    record = record_of(layer)
    if record is None:
        raise StackError("Choose an EMGauss layer first.")
    return record


def _checked(layer: Any, source: Any) -> LayerRecord:
    record = _record(layer)
    if source is None:
        raise StackError("Open the stack that was fitted, then choose it here.")
    _, region = fitted_part(record)
    if not _holds(source, record, region):
        raise StackError(f"“{source.name}” is not the stack that “{layer.name}” was fitted to: their sizes differ.")
    return record


def _holds(source: Any, record: LayerRecord, region: tuple[int, int, int, int]) -> bool:
    shape = tuple(int(n) for n in layer_data(source).shape)
    if len(shape) != 3 or getattr(source, "rgb", False):
        return False
    told = stack_record(record).layer_shape
    if told and tuple(told) != shape:
        return False
    _, height, width = record.model.shape
    y0, y1, x0, x1 = region
    inside = fitted_slices(record)[-1] < shape[0] and y1 <= shape[1] and x1 <= shape[2]
    return inside and (y1 - y0, x1 - x0) == (height, width)


def _linear(record: LayerRecord, source: Any) -> LinearModel:
    _, region = fitted_part(record)
    return LinearModel(layer_data(source), fitted_slices(record), region, record.model.z_nm, record.model.pixel_size_nm)


def _look(layer: Any) -> dict[str, Any]:
    return {"contrast_limits": tuple(layer.contrast_limits), "colormap": layer.colormap, "gamma": layer.gamma}


def _add(viewer: Any, layer: Any, record: LayerRecord, kind: Any, model: Any, name: str, look: dict[str, Any]) -> Any:
    ours = LayerRecord(kind, model, record.placement, record.shift, record.shown_step_nm)
    data, keywords, _ = layer_data_tuple(ours, name, **look)
    added = viewer.add_image(data, **keywords)
    ours.z_step_nm = record.z_step_nm
    return added
