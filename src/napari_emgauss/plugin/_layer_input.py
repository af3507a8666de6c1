"""From a layer and the widget's settings to a request that can be fitted, or one sentence why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_emgauss._errors import StackError, VoxelSizeError

from ._shared_array import SharedArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer

PixelRegion = tuple[int, int, int, int]

SMALLEST_SIDE = 16
"""Rows and columns that a fit needs at least."""


@dataclass(frozen=True)
class FitRequest:
    """One fit as the user asked for it.

    Parameters
    ----------
    name : str
        Of the layer.
    source : str or None
        Its file.
    voxel_size_nm : tuple of float
        ``(z, y, x)`` in nm.
    region : tuple of int
        ``(y0, y1, x0, x1)`` in pixels of the layer.
    slices : tuple of int
        First and last slice, both included.
    preset, device : str
        As in the widget.
    overrides : dict
        Advanced settings that differ from the preset.
    layer_shape : tuple of int or None
        Of the whole layer, to know it again later.
    """

    name: str
    source: str | None
    voxel_size_nm: tuple[float, float, float]
    region: PixelRegion
    slices: tuple[int, int]
    preset: str = "default"
    device: str = "auto"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    layer_shape: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns to fit."""
        y0, y1, x0, x1 = self.region
        return self.slices[1] - self.slices[0] + 1, y1 - y0, x1 - x0

    @property
    def origin(self) -> tuple[int, int, int]:
        """First slice, row and column in the layer."""
        return self.slices[0], self.region[0], self.region[2]


def layer_data(layer: Layer) -> Any:
    """The layer's finest data, an array-like that may be lazy."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


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
    if len(shape) > 3:
        raise StackError(
            f"“{layer.name}” has {len(shape)} axes {shape}: split it into 3D stacks (z, y, x) first "
            "(Layers ▸ Split Stack)."
        )
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


def check_request(request: FitRequest) -> None:
    """Say in one sentence why a request cannot be fitted.

    Raises
    ------
    StackError, VoxelSizeError
        Too small a region, too few slices, an impossible voxel size, or more than the memory holds.
    """
    from ._layer_voxel_size import suspicion

    depth, height, width = request.shape
    if depth < 3:
        raise StackError(f"The z range holds {max(depth, 0)} slices: a fit needs at least 3.")
    if min(height, width) < SMALLEST_SIDE:
        raise StackError(
            f"The region is {height}×{width} pixels: a fit needs at least {SMALLEST_SIDE}×{SMALLEST_SIDE}."
        )
    z_nm, y_nm, x_nm = request.voxel_size_nm
    if min(request.voxel_size_nm) <= 0:
        raise VoxelSizeError("The voxel size is unknown: type in z, y and x in nm.")
    if z_nm <= 1.02 * (y_nm + x_nm) / 2:
        raise VoxelSizeError(suspicion(request.voxel_size_nm))


def copy_slices(layer_values: Any, request: FitRequest, should_stop: Callable[[], bool]) -> SharedArray:
    """Copy the wanted part into shared memory, slice by slice, so that a lazy array is never read whole.

    For a worker thread. Stops early, with what there is, when ``should_stop()`` turns true.

    Raises
    ------
    StackError
        A slice holds NaN, or cannot be read.
    """
    first, _, (y0, y1, x0, x1) = request.slices[0], request.slices[1], request.region
    dtype = np.dtype(layer_values.dtype)
    try:
        shared = SharedArray.empty(request.shape, dtype)
    except (MemoryError, OSError) as error:
        raise StackError("There is not enough memory for this region: choose a smaller one.") from error
    target = shared.array()
    for k in range(request.shape[0]):
        if should_stop():
            break
        try:
            values = np.asarray(layer_values[first + k, y0:y1, x0:x1])
        except Exception as error:
            raise StackError(f"Slice {first + k} of “{request.name}” cannot be read: {error}") from error
        if dtype.kind == "f" and not np.isfinite(values).all():
            raise StackError(
                f"Slice {first + k} of “{request.name}” holds NaN or infinite values: leave it out of the z range, or "
                "replace them."
            )
        target[k] = values
    return shared
