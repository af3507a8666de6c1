"""One channel of a model of several, where a volume of one grey value is wanted."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError

from ._protocol import VolumeModel

# Whoever asks for one channel asks for the others next: the last few answers are kept for them.
_KEPT = 4


def channel_count(model: Any) -> int:
    """Grey values per pixel that a model renders; 1 for models that do not tell."""
    return int(getattr(model, "channels", 1))


def channel_models(model: VolumeModel) -> list[VolumeModel]:
    """One model for each channel, sharing their renderings; a model of one channel is that itself."""
    count = channel_count(model)
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
        raise ConfigError(f"There is no channel {channel}: the model has {len(models)}, counted from 0.")
    return models[channel]


class _Answers:
    """What a model rendered lately."""

    def __init__(self, model: VolumeModel) -> None:
        self.model = model
        self._kept: OrderedDict[Any, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

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


class ChannelModel:
    """A model that shows one channel; everything else is that of the model behind it."""

    channels = 1

    def __init__(self, answers: _Answers, channel: int) -> None:
        self._answers, self.channel = answers, channel

    @property
    def z_nm(self) -> NDArray[np.float64]:
        """Depths of the observed slices, nm."""
        return self._answers.model.z_nm

    @property
    def pixel_size_nm(self) -> tuple[float, float]:
        """In-plane pixel size ``(y, x)``, nm."""
        return self._answers.model.pixel_size_nm

    @property
    def version(self) -> int:
        """Changes whenever the parameters do."""
        return self._answers.model.version

    @property
    def shape(self) -> tuple[int, int, int]:
        """Observed slices, rows, columns."""
        return self._answers.model.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the grey values."""
        return self._answers.model.dtype

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the model is from, and which channel this is."""
        return {**getattr(self._answers.model, "provenance", {}), "channel": self.channel}

    def render(
        self,
        z_nm: Any,
        *,
        region: tuple[float, float, float, float] | None = None,
        shape: tuple[int, int] | None = None,
    ) -> NDArray[Any]:
        """Slices at depths in this channel: ``(h, w)`` or ``(n, h, w)``; see `VolumeModel.render`."""
        depths = np.atleast_1d(np.asarray(z_nm, dtype=np.float64))
        images = self._answers.render(depths, region, shape)[:, self.channel]
        return images[0] if np.ndim(z_nm) == 0 else images
