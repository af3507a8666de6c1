"""σ of what is shown where a model is shown in another way: one channel, other grey values, the user's own slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.stack import Region

from ._model_view import ModelView
from ._protocol import VolumeModel
from ._traits import traits_of

Change = Callable[
    [NDArray[np.float32], NDArray[np.float64], Region | None, tuple[int, int] | None], NDArray[np.float32]
]
"""σ ``(n, h, w)`` or ``(n, C, h, w)`` at depths, of a region sampled with a shape, to the same in another view."""


class ErrorView(ModelView):
    """σ of a model, in grey values of its source; lies where the model lies."""

    confidence = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return np.dtype(np.float32)

    @property
    def provenance(self) -> dict[str, Any]:
        """It has none of its own: it belongs to a model."""
        return {}


class ChangedError(ModelView):
    """σ of a view of a model: that of the model, changed.

    Parameters
    ----------
    error : VolumeModel
        σ of the model.
    change : callable
        What the view makes of it.
    channel : int, optional
        The only one that the view shows; all by default.
    """

    def __init__(self, error: VolumeModel, change: Change, channel: int | None = None) -> None:
        super().__init__(error)
        self._change, self._channel = change, channel

    @property
    def channels(self) -> int:
        """Of the view."""
        return super().channels if self._channel is None else 1

    def half_width(self, share: float, channel: int = 0) -> float:
        """How many σ on either side hold a share of the truth; see `ErrorBars.half_width`."""
        return float(self.model.half_width(share, channel if self._channel is None else self._channel))

    def _images(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        return self._change(super()._images(depths_nm, region, shape), depths_nm, region, shape)


def changed_error(model: VolumeModel, change: Change, channel: int | None = None) -> VolumeModel | None:
    """σ of a view of ``model``; None where nothing is known of the model's."""
    error = traits_of(model).error
    return None if error is None else ChangedError(error, change, channel)
