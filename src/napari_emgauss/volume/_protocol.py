"""What a volume needs of a fitted model."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.stack import Region


class VolumeModel(Protocol):
    """What a volume needs of a fitted model. ``render`` may be called from several threads.

    `tests/volume/model_contract.py` says it once more, as tests that every such model inherits.
    """

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

    @property
    def channels(self) -> int:
        """Grey values of each pixel."""
        ...

    @property
    def provenance(self) -> dict[str, Any]:
        """Where it comes from, JSON-compatible; empty where nothing is known."""
        ...

    @property
    def confidence(self) -> VolumeModel | None:
        """How far what lies between slices may be trusted, 0 to 255 (uint8); None where nothing is known."""
        ...

    def render(self, z_nm: Any, *, region: Region | None = None, shape: tuple[int, int] | None = None) -> NDArray[Any]:
        """Slices at one depth or several (nm), of each a region sampled with ``shape`` rows and columns.

        ``(h, w)`` for one depth, ``(n, h, w)`` for several; with more channels than one ``(C, h, w)``,
        ``(n, C, h, w)``.

        Raises
        ------
        DepthError
            A depth or the region lies outside.
        """
        ...
