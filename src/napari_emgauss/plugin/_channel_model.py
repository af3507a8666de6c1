"""One channel of a model that has several, as a layer shows it. Knows neither Qt nor napari."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._model_view import Depths, ModelView
from ._remote_model import RemoteModel
from ._render_service import Region

COLOURMAPS = ("magenta", "green", "cyan", "yellow")


class ChannelModel(ModelView):
    """A channel; everything but its pixels is the whole model's.

    Parameters
    ----------
    model : RemoteModel
    channel : int
    """

    def __init__(self, model: RemoteModel, channel: int) -> None:
        super().__init__(model)
        self.channel = channel

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "model":
            raise AttributeError(name)
        return getattr(self.model, name)

    def render(
        self, z_nm: Depths, *, region: Region | None = None, shape: tuple[int, int] | None = None
    ) -> NDArray[Any]:
        """Slices of the channel."""
        images = super().render(z_nm, region=region, shape=shape)
        return np.ascontiguousarray(images[..., self.channel, :, :])


def channel_models(model: RemoteModel) -> Iterator[tuple[Any, str, dict[str, Any]]]:
    """What to make layers of: model, suffix of the layer's name, and its look where it is one of several channels."""
    if model.info.channels == 1:
        yield model, "", {}
        return
    for channel in range(model.info.channels):
        limits = model.info.channel_limits[channel] if model.info.channel_limits else model.info.limits
        look = {"contrast_limits": limits, "colormap": COLOURMAPS[channel], "blending": "additive"}
        yield ChannelModel(model, channel), f" channel {channel}", look
