"""What a volume needs of a fitted model."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class VolumeModel(Protocol):
    """What a volume needs of a fitted model. ``render`` may be called from several threads."""

    @property
    def z_nm(self) -> NDArray[np.float64]:
        """Depths of the observed slices, nm."""
        ...

    @property
    def pixel_size_nm(self) -> tuple[float, float]:
        """In-plane pixel size ``(y, x)``, nm."""
        ...

    @property
    def version(self) -> int:
        """Changes whenever the parameters do."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Observed slices, rows, columns."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the grey values."""
        ...

    def render(
        self,
        z_nm: Any,
        *,
        region: tuple[float, float, float, float] | None = None,
        shape: tuple[int, int] | None = None,
    ) -> NDArray[Any]:
        """Slices at depths, of each a region ``(y0, y1, x0, x1)`` (pixels) sampled with ``shape`` cells."""
        ...
