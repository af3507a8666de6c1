"""The voxel size of a layer: what the layer says, what its file says, and how to put one on the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_emgauss.plugin.process._request import suspicion

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_emgauss.stack import VoxelSize

AXIS_LABELS = ("z", "y", "x")
UNITS = ("nm", "nm", "nm")
TYPED = "the values typed in here"
"""Origin of a voxel size that the user has typed into the dock."""


@dataclass(frozen=True)
class LayerVoxelSize:
    """Voxel size for the widget.

    Parameters
    ----------
    zyx_nm : tuple of float or None
        ``(z, y, x)`` in nm; None where nobody knows.
    origin : str
        Where it is from, for people.
    warning : str
        What is suspicious about it; empty when nothing is.
    """

    zyx_nm: tuple[float, float, float] | None
    origin: str
    warning: str = ""


def voxel_size_of_layer(layer: Layer) -> LayerVoxelSize:
    """What the layer itself says; reads no file.

    A scale of 1 in every axis means that nobody has said anything: napari's own TIFF reader leaves it so. A scale is
    checked by the rules that hold for files (:func:`napari_emgauss.stack.checked_voxel_size`); what was typed in here
    is not.
    """
    from napari_emgauss.stack import VoxelSize, checked_voxel_size, without_unit

    if layer.ndim < 3:
        return LayerVoxelSize(None, "unknown", "This is not a stack: it has no slices.")
    z, y, x = (abs(float(s)) for s in layer.scale[-3:])
    units = layer.units[-3:]
    origin = str(layer.metadata.get("emgauss_voxel_size_origin", "the layer's scale"))
    if all(_is_length(unit) for unit in units):
        factors = [_in_nm(unit) for unit in units]
        found = VoxelSize(z * factors[0], y * factors[1], x * factors[2], source=origin)
    elif np.allclose((z, y, x), 1):
        doubt = str(layer.metadata.get("emgauss_voxel_size_doubt", ""))
        why = f", because its file says {doubt}" if doubt else ""
        return LayerVoxelSize(
            None, "unknown", f"The voxel size is unknown{why}: type it in, or the result will be wrong."
        )
    else:
        found = without_unit((z, y, x), "the layer's scale", usual="nm")
        unit = "µm" if found.assumed else "nm"
        origin = f"the layer's scale, taken as {unit} because it has no unit"
    checked = checked_voxel_size(found)
    if checked.doubt and origin != TYPED:
        return LayerVoxelSize(None, "unknown", f"The layer's scale says {checked.doubt}: type in z, y and x in nm.")
    if not found.complete:
        return LayerVoxelSize(None, "unknown", "The voxel size is unknown: type it in, or the result will be wrong.")
    size = (float(found.z_nm or 0), float(found.y_nm or 0), float(found.x_nm or 0))
    warning = f"This is {checked.doubt}: check the units." if checked.doubt else suspicion(size)
    return LayerVoxelSize(size, origin, warning)


def needs_voxel_size(layer: Layer) -> bool:
    """Whether the layer's file should be asked: a grey volume with a file behind it and no scale of its own."""
    path = layer.source.path
    return (
        path is not None
        and layer.ndim == 3
        and not getattr(layer, "rgb", False)
        and voxel_size_of_layer(layer).zyx_nm is None
    )


def read_file_voxel_size(path: str) -> VoxelSize | None:
    """What the file says, or why it is not believed; None when it says nothing. For a worker thread."""
    from napari_emgauss._errors import EmgaussError
    from napari_emgauss.stack import read_voxel_size

    try:
        size = read_voxel_size(path)
    except (EmgaussError, OSError):
        return None
    return size if size.complete or size.doubt else None


def apply_voxel_size(layer: Layer, zyx_nm: tuple[float, float, float], origin: str) -> None:
    """Put a voxel size on a layer: scale, units, axis labels, and where it is from."""
    layer.scale = (*layer.scale[:-3], *zyx_nm)
    layer.units = (*layer.units[:-3], *UNITS)
    if not any(str(label) in AXIS_LABELS for label in layer.axis_labels[-3:]):
        layer.axis_labels = (*layer.axis_labels[:-3], *AXIS_LABELS)
    layer.metadata["emgauss_voxel_size_origin"] = origin


@contextlib.contextmanager
def same_slice(viewer: Any, layer: Layer) -> Iterator[None]:
    """Whatever happens to a layer's scale, the slice that is looked at stays."""
    before = layer.world_to_data(viewer.dims.point)
    yield
    if layer not in viewer.layers:
        return
    after = layer.data_to_world(before)
    hidden = set(viewer.dims.not_displayed)
    for k in range(1, min(len(after), viewer.dims.ndim) + 1):
        axis = viewer.dims.ndim - k
        if axis in hidden:
            viewer.dims.set_point(axis, float(after[-k]))


def _is_length(unit: Any) -> bool:
    return bool(unit.dimensionality == {"[length]": 1})


def _in_nm(unit: Any) -> float:
    return float((1 * unit).to("nanometer").magnitude)
