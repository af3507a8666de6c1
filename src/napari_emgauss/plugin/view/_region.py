"""Which rectangle of a layer to fit: all of it, what is on screen, or a drawn rectangle."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_emgauss._errors import StackError
from napari_emgauss.plugin.process._request import PixelRegion

from ._layer_input import stack_shape

if TYPE_CHECKING:
    from napari.layers import Layer


class RegionKind(Enum):
    """What the user chose; the value is shown."""

    WHOLE = "whole slices"
    VIEW = "current view"
    SHAPE = "rectangle"


def region_of(kind: RegionKind, layer: Layer, viewer: Any, shapes: Layer | None = None) -> PixelRegion:
    """Pixels ``(y0, y1, x0, x1)`` of ``layer``.

    Raises
    ------
    StackError
        The view is no xy view, no rectangle is drawn, or it lies outside the layer.
    """
    _, height, width = stack_shape(layer)
    if kind is RegionKind.WHOLE:
        return 0, height, 0, width
    if kind is RegionKind.VIEW:
        return _clip(_view_corners(layer, viewer), height, width, "The current view")
    return _clip(_shape_corners(layer, shapes), height, width, "The rectangle")


def centre_of_view(layer: Layer, viewer: Any) -> tuple[int, int, int]:
    """Row, column and slice of ``layer`` in the middle of the canvas; in the middle of the layer in other views."""
    slices, height, width = stack_shape(layer)
    if not _is_plain(viewer):
        return height // 2, width // 2, slices // 2
    z, y, x = _to_data(layer, viewer, np.asarray(viewer.scene.camera.center[-2:], dtype=float))
    return round(float(y)), round(float(x)), round(float(z))


def _is_plain(viewer: Any) -> bool:
    """Whether the view is the xy view."""
    return viewer.dims.ndisplay == 2 and tuple(viewer.dims.order[-2:]) == (viewer.dims.ndim - 2, viewer.dims.ndim - 1)


def _to_data(layer: Layer, viewer: Any, yx: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Slice, row and column of ``layer`` at a point ``(y, x)`` of the world, at the depth on screen."""
    point = np.array(viewer.dims.point, dtype=float)
    point[-2:] = yx
    return np.asarray(layer.world_to_data(point), dtype=float)[-3:]


def _view_corners(layer: Layer, viewer: Any) -> np.ndarray[Any, Any]:
    """Corners of the canvas in pixels of the layer.

    From the camera: the layer's own ``corner_pixels`` are those of the step before.
    """
    if not _is_plain(viewer):
        raise StackError("The region “current view” needs the plain xy view: switch 3D off and roll the axes back.")
    camera = viewer.scene.camera
    centre = np.asarray(camera.center[-2:], dtype=float)
    half = np.asarray(viewer.canvas.viewbox_size(viewer.layers), dtype=float) / camera.zoom / 2
    corners = [_to_data(layer, viewer, centre + half * (dy, dx))[-2:] for dy in (-1, 1) for dx in (-1, 1)]
    return np.stack([np.min(corners, axis=0), np.max(corners, axis=0)])


def _shape_corners(layer: Layer, shapes: Layer | None) -> np.ndarray[Any, Any]:
    """Bounding box of the chosen shape (else of the last one) in pixels of the layer."""
    if shapes is None or not len(shapes.data):
        raise StackError("There is no rectangle: draw one in a Shapes layer, then choose that layer here.")
    chosen = max(shapes.selected_data, default=len(shapes.data) - 1)
    vertices = np.asarray(shapes.data[chosen], dtype=float)
    corners = []
    for vertex in vertices:
        world = np.asarray(shapes.data_to_world(vertex), dtype=float)
        # A shapes layer drawn on a 2D canvas may have fewer axes than the stack.
        full = np.concatenate([np.asarray(layer.extent.world)[0][: max(0, layer.ndim - len(world))], world])
        full = full[-layer.ndim :]
        corners.append(np.asarray(layer.world_to_data(full))[-2:])
    points = np.asarray(corners)
    return np.stack([points.min(axis=0), points.max(axis=0)])


def _clip(corners: np.ndarray[Any, Any], height: int, width: int, what: str) -> PixelRegion:
    y0, x0 = (int(v) for v in np.floor(corners[0] + 0.5))
    y1, x1 = (int(v) for v in np.ceil(corners[1] + 0.5))
    y0, y1 = max(0, y0), min(height, y1)
    x0, x1 = max(0, x0), min(width, x1)
    if y0 >= y1 or x0 >= x1:
        raise StackError(f"{what} shows nothing of the stack: move it over the image.")
    return y0, y1, x0, x1
