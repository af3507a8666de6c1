"""The layers of a model: one for each of its channels. Knows neither Qt nor napari."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from napari_emgauss.plugin.process._remote_model import RemoteModel
from napari_emgauss.volume import channel_models

COLOURMAPS = ("magenta", "green", "cyan", "yellow")


def channel_layers(model: RemoteModel) -> Iterator[tuple[Any, str, dict[str, Any]]]:
    """What to make layers of: model, suffix of the layer's name, and its look where it is one of several channels."""
    if model.channels == 1:
        yield model, "", {}
        return
    for channel, one in enumerate(channel_models(model)):
        limits = model.info.channel_limits[channel] if model.info.channel_limits else model.info.limits
        look = {"contrast_limits": limits, "colormap": COLOURMAPS[channel], "blending": "additive"}
        yield one, f" channel {channel}", look
