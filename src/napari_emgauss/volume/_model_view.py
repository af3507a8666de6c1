"""Models that are another one, seen in some way."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.stack import Region

from ._protocol import VolumeModel
from ._traits import ModelTraits, traits_of

Self = TypeVar("Self", bound="ModelView")


class ModelView:
    """Another model, rendered differently; everything else is that model's.

    Parameters
    ----------
    model : VolumeModel
        The other one.
    """

    def __init__(self, model: VolumeModel) -> None:
        self.model: Any = model

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "model":
            raise AttributeError(name)
        return getattr(self.model, name)

    @property
    def version(self) -> int:
        """Changes with the model's."""
        return int(self.model.version)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Observed slices, rows, columns."""
        shape: tuple[int, int, int] = self.model.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the grey values."""
        return np.dtype(self.model.dtype)

    @property
    def z_nm(self) -> NDArray[np.float64]:
        """Depths of the observed slices, nm."""
        return np.asarray(self.model.z_nm, dtype=np.float64)

    @property
    def pixel_size_nm(self) -> tuple[float, float]:
        """In-plane pixel size ``(y, x)``, nm."""
        size: tuple[float, float] = self.model.pixel_size_nm
        return size

    @property
    def channels(self) -> int:
        """Grey values of each pixel."""
        return int(self.model.channels)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the model comes from."""
        provenance: dict[str, Any] = self.model.provenance
        return provenance

    @property
    def confidence(self) -> VolumeModel | None:
        """The model's."""
        confidence: VolumeModel | None = self.model.confidence
        return confidence

    @property
    def traits(self) -> ModelTraits:
        """The model's."""
        return traits_of(self.model)

    def render(self, z_nm: Any, *, region: Region | None = None, shape: tuple[int, int] | None = None) -> NDArray[Any]:
        """Slices at any depth; see `VolumeModel.render`."""
        images = self._images(np.atleast_1d(np.asarray(z_nm, dtype=np.float64)), region, shape)
        return images[0] if np.ndim(z_nm) == 0 else images

    def _images(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        """One image for each of several depths: what views differ in."""
        return np.asarray(self.model.render(depths_nm, region=region, shape=shape))

    def __deepcopy__(self: Self, memo: dict[int, Any]) -> Self:
        # Duplicating a viewer's layer copies its data and metadata deeply; two layers may well share one model.
        return self
