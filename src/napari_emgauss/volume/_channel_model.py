"""One channel of a model of several, where a volume of one grey value is wanted."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss.stack import Region

from ._error import changed_error
from ._model_view import ModelView
from ._protocol import VolumeModel
from ._traits import ModelTraits

# Whoever asks for one channel asks for the others next: the last few answers are kept for them.
_KEPT = 4


def channel_models(model: VolumeModel) -> list[VolumeModel]:
    """One model for each channel, sharing their renderings; a model of one channel is that itself."""
    count = model.channels
    if count == 1:
        return [model]
    answers = _Answers(model)
    return [ChannelModel(answers, channel) for channel in range(count)]


def one_channel(model: VolumeModel, channel: int) -> VolumeModel:
    """Channel ``channel`` of a model.

    Raises
    ------
    ConfigError
        There is no such channel.
    """
    models = channel_models(model)
    if not 0 <= channel < len(models):
        raise ConfigError(f"There is no channel {channel}: the model has {len(models)} channels, counted from 0.")
    return models[channel]


class _Answers:
    """What a model rendered lately."""

    def __init__(self, model: VolumeModel) -> None:
        self.model = model
        self._kept: OrderedDict[Any, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[_Answers], tuple[VolumeModel]]:
        """In another process nothing was rendered yet."""
        return _Answers, (self.model,)

    def render(self, z_nm: NDArray[np.float64], region: Any, shape: Any) -> NDArray[Any]:
        """``(n, C, h, w)``."""
        key = (self.model.version, z_nm.tobytes(), region, shape)
        with self._lock:
            if key in self._kept:
                return self._kept[key]
        images = np.asarray(self.model.render(z_nm, region=region, shape=shape))
        with self._lock:
            self._kept[key] = images
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return images


class ChannelModel(ModelView):
    """One channel; everything else is that of the model behind it."""

    def __init__(self, answers: _Answers, channel: int) -> None:
        super().__init__(answers.model)
        self._answers, self.channel = answers, channel

    @property
    def channels(self) -> int:
        """One."""
        return 1

    @property
    def traits(self) -> ModelTraits:
        """The model's, with the error of this channel."""
        return replace(super().traits, error=changed_error(self.model, self._of_channel, self.channel))

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the model is from, and which channel this is."""
        return {**super().provenance, "channel": self.channel}

    def _images(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        # A copy: a cache that keeps one channel must not keep the others with it.
        return np.ascontiguousarray(self._answers.render(depths_nm, region, shape)[:, self.channel])

    def _of_channel(self, sigma: NDArray[np.float32], *_: Any) -> NDArray[np.float32]:
        return np.ascontiguousarray(sigma[:, self.channel])
