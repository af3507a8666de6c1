"""What a layer needs of a model, and models that are another one seen in some way. Knows neither Qt nor napari."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._render_service import Region

Depths = float | Sequence[float] | NDArray[np.floating[Any]]
Self = TypeVar("Self", bound="ModelView")


class Renderable(Protocol):
    """What a layer needs of a model: a fitted one, or an interpolation to compare with."""

    @property
    def version(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def dtype(self) -> Any: ...

    @property
    def z_nm(self) -> NDArray[np.float64]: ...

    @property
    def pixel_size_nm(self) -> tuple[float, float]: ...

    def render(
        self, z_nm: Depths, *, region: Region | None = None, shape: tuple[int, int] | None = None
    ) -> NDArray[Any]:
        """Slices at any depth; the contract is that of ``EmgaussModel.render``."""
        ...


class ModelView:
    """Another model, rendered differently; everything else is that model's.

    Parameters
    ----------
    model : Renderable
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def version(self) -> int:
        """Changes with the model's."""
        return int(self.model.version)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        shape: tuple[int, int, int] = self.model.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the grey values."""
        return np.dtype(self.model.dtype)

    @property
    def z_nm(self) -> NDArray[np.float64]:
        """Depths of the slices, nm."""
        return np.asarray(self.model.z_nm, dtype=np.float64)

    @property
    def pixel_size_nm(self) -> tuple[float, float]:
        """``(y, x)`` in nm."""
        size: tuple[float, float] = self.model.pixel_size_nm
        return size

    def render(
        self, z_nm: Depths, *, region: Region | None = None, shape: tuple[int, int] | None = None
    ) -> NDArray[Any]:
        """Slices at any depth."""
        return np.asarray(self.model.render(z_nm, region=region, shape=shape))

    def __deepcopy__(self: Self, memo: dict[int, Any]) -> Self:
        # Layer > Duplicate copies data and metadata deeply; two layers may well share one model.
        return self
