"""σ of a tiled model: that of its tiles, blended as their images are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.stack import Frame, Region
from napari_emgauss.volume import ErrorView

if TYPE_CHECKING:
    from ._model import TiledModel


class TiledError(ErrorView):
    """σ at any depth in grey values; renders like the model.

    Parameters
    ----------
    model : TiledModel
        Of which at least one tile knows its error; a tile that does not, because it is of one grey, has none.
    """

    def __init__(self, model: TiledModel) -> None:
        super().__init__(model)

    def half_width(self, share: float, channel: int = 0) -> float:
        """How many σ hold a share of the truth, by the first tile that knows; see `ErrorBars.half_width`."""
        bars = self.model.first_error_bars()
        return float(bars.half_width(share, channel))

    def _images(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        frame = Frame.of(self)
        depths = frame.checked_depths(depths_nm).tolist()
        box, sampled = frame.sampling(frame.checked_region(region), shape)
        return np.asarray(self.model.blended_error(depths, box, sampled))
