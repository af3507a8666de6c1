"""What of a layer can be fitted: its shape, its channels, or one sentence why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_emgauss._errors import StackError
from napari_emgauss.plugin.process._request import MOST_CHANNELS, SMALLEST_SIDE

if TYPE_CHECKING:
    from napari.layers import Layer


def layer_data(layer: Layer) -> Any:
    """The layer's finest data, an array-like that may be lazy."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


TIME_NAMES = ("t", "time", "frame", "frames", "timepoint", "timepoints")
FIRST_AXIS = "emgauss_first_axis"
"""Where ``layer.metadata`` keeps what the user says that a nameless first axis is."""


def first_axis_of(layer: Layer) -> str:
    """What the first of four axes is: ``channels``, ``time``, or nothing where nobody has said so."""
    label = str(layer.axis_labels[0]).strip().lower() if len(layer.axis_labels) == 4 else ""
    if label in TIME_NAMES:
        return "time"
    if label.startswith("c"):
        return "channels"
    return str(layer.metadata.get(FIRST_AXIS, ""))


def asks_for_first_axis(layer: Layer | None) -> bool:
    """Whether only the user can say what the first axis of a layer is."""
    if layer is None or getattr(layer, "rgb", False):
        return False
    shape = layer_data(layer).shape
    if len(shape) != 4 or not 2 <= int(shape[0]) <= MOST_CHANNELS:
        return False
    return first_axis_of(layer) == "" or FIRST_AXIS in layer.metadata


def hint_at_axes(layer: Layer) -> str:
    """What a stack looks like whose z is the last axis: many slices of narrow pictures; empty for others."""
    shape = layer_data(layer).shape
    if len(shape) != 3 or getattr(layer, "rgb", False) or min(shape) < 3:
        return ""
    slices, height, width = (int(n) for n in shape)
    if width * 4 <= min(slices, height):
        return f"{slices} slices of {height} × {width} pixels? It looks as if z were the last axis."
    return ""


def channels_of(layer: Layer) -> int | None:
    """Channels of a layer with the axes (channel, z, y, x); None where it has no such axis.

    napari puts layers together by their last axes, so only a first axis of channels leaves z, y and x where they are.
    """
    shape = layer_data(layer).shape
    if len(shape) != 4 or not 2 <= int(shape[0]) <= MOST_CHANNELS or first_axis_of(layer) != "channels":
        return None
    return int(shape[0])


def is_stack_like(layer: Layer | None) -> bool:
    """Whether a layer has slices, rows and columns, with or without channels."""
    return layer is not None and (len(layer_data(layer).shape) == 3 or channels_of(layer) is not None)


def stack_shape(layer: Layer) -> tuple[int, int, int]:
    """Slices, rows and columns of a layer."""
    depth, height, width = layer_data(layer).shape[-3:]
    return int(depth), int(height), int(width)


def check_layer(layer: Layer | None) -> None:
    """Say in one sentence why a layer cannot be fitted.

    Raises
    ------
    StackError
        No layer, no image, RGB, not three axes, too few slices, too small, or no grey values.
    """
    from napari.layers import Image

    if layer is None:
        raise StackError("There is no image layer to fit: open a stack first (Open… above, or File ▸ Open Sample).")
    kind = type(layer).__name__
    if not isinstance(layer, Image):
        raise StackError(f"“{layer.name}” is a {kind.lower()} layer: choose the image layer with the grey values.")
    if layer.rgb:
        raise StackError(f"“{layer.name}” is an RGB image: split it into channels (Layers ▸ Split RGB) and choose one.")
    if "emgauss" in layer.metadata:
        raise StackError(f"“{layer.name}” was made by EMGauss: choose the stack it was fitted to.")
    shape = tuple(int(n) for n in layer_data(layer).shape)
    if len(shape) < 3:
        raise StackError(
            f"“{layer.name}” is a single image: open the slices together as one stack (File ▸ Open Files as Stack)."
        )
    if asks_for_first_axis(layer) and not first_axis_of(layer):
        raise StackError(f"“{layer.name}” has four axes without names: choose under First axis what the first one is.")
    if not is_stack_like(layer) and len(shape) == 4 and first_axis_of(layer) == "time":
        raise StackError(
            f"“{layer.name}” is a series of stacks in time: split it first (Layers ▸ Split Stack), and fit one of them."
        )
    if not is_stack_like(layer):
        raise StackError(
            f"“{layer.name}” has {len(shape)} axes {shape}: split it into 3D stacks (z, y, x) first "
            f"(Layers ▸ Split Stack). Up to {MOST_CHANNELS} channels can stay together as the first of four axes."
        )
    shape = stack_shape(layer)
    dtype = np.dtype(layer_data(layer).dtype)
    if dtype.kind not in "uif":
        raise StackError(f"“{layer.name}” has values of type {dtype}: convert it to integers or floats first.")
    if shape[0] < 3:
        raise StackError(f"“{layer.name}” has {shape[0]} slices: a fit needs at least 3.")
    if min(shape[1:]) < SMALLEST_SIDE:
        raise StackError(
            f"“{layer.name}” has slices of {shape[1]}×{shape[2]} pixels: a fit needs at least "
            f"{SMALLEST_SIDE}×{SMALLEST_SIDE}."
        )
