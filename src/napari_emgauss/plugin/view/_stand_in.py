"""Layers that show linear interpolation from the first second of a fit, until there is something of the fit to see."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_emgauss.plugin.process._request import FitRequest
from napari_emgauss.volume import VolumeModel

from ._channel_layers import COLOURMAPS
from ._continuous_layer import DepthShift, LayerRecord, layer_data_tuple, record_of, refresh_shown
from ._geometry import Placement
from ._linear_model import LinearModel

SUFFIX = " (linear so far)"


def add_stand_ins(
    viewer: Any, name: str, values: Any, request: FitRequest, placement: Placement, look: dict[str, Any]
) -> list[Any]:
    """Add a layer, or one for each channel, for what is being fitted.

    Parameters
    ----------
    viewer : napari.Viewer
    name : str
        Of the layer that the fit will have.
    values : array-like
        Data of the source layer, ``(z, y, x)`` or ``(channel, z, y, x)``, possibly lazy.
    request : FitRequest
        Which part of it is fitted.
    placement : Placement
        Where that lies.
    look : dict
        Contrast limits, colormap and gamma of the source.
    """
    shift, pixel_size_nm = DepthShift(), request.voxel_size_nm[1:]
    z_nm, channels = np.asarray(request.z_nm), request.channels or 1
    several = channels > 1
    added = []
    for channel in range(channels):
        which = None if request.channels is None else channel
        model = LinearModel(values, request.kept, request.region, z_nm, pixel_size_nm, which)
        record = LayerRecord("linear", model, placement, shift)
        theirs = {**look, "colormap": COLOURMAPS[channel], "blending": "additive"} if several else look
        suffix = f" channel {channel}" if several else ""
        data, keywords, _ = layer_data_tuple(record, f"{name}{suffix}{SUFFIX}", **theirs)
        added.append(viewer.add_image(data, **keywords))
    return added


def is_stand_in(layer: Any) -> bool:
    """Whether a layer still shows what stands in for a fit."""
    record = record_of(layer)
    return record is not None and record.kind == "linear" and layer.name.endswith(SUFFIX)


def replace_stand_in(layer: Any, model: VolumeModel) -> bool:
    """Show a fitted model in the same layer; False where it has another grid, and the layer is as it was."""
    record = record_of(layer)
    if record is None or not record.become(model):
        return False
    layer.name = layer.name.removesuffix(SUFFIX)
    refresh_shown(layer, thumbnail=True)
    return True
