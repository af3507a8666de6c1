"""A volume whose labels are known everywhere in closed form: tubes in a textured block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_emgauss.stack import Frame

Centres = Callable[[float], list[tuple[int, float, float, float]]]


class TubeModel:
    """Round tubes with dark outlines: renders, and labels, any depth exactly.

    ``centres(z)`` gives ``(label, y, x, radius)`` of every tube at a depth in nm; pixels are 1 nm.
    """

    channels = 1
    version = 0
    confidence = None

    def __init__(
        self, centres: Centres, depth: int = 3, size: tuple[int, int] = (48, 64), step_nm: float = 8.0
    ) -> None:
        self.centres, self.size = centres, size
        self.z_nm = np.arange(depth) * step_nm
        self.pixel_size_nm = (1.0, 1.0)
        self.shape = (depth, *size)
        self.dtype = np.dtype(np.uint8)
        self.provenance: dict[str, Any] = {}

    def labels_at(self, z_nm: float) -> NDArray[np.uint32]:
        rows, columns = np.indices(self.size)
        out = np.zeros(self.size, np.uint32)
        for label, y, x, radius in self.centres(z_nm):
            out[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = label
        return out

    def grey_at(self, z_nm: float) -> NDArray[np.uint8]:
        rows, columns = np.indices(self.size)
        out = np.full(self.size, 150.0)
        for _, y, x, radius in self.centres(z_nm):
            distance = np.hypot(rows - y, columns - x) - radius
            out -= 110 * np.exp(-((distance / 1.5) ** 2))
            out += 40 * (distance < 0)
        return np.clip(out, 0, 255).astype(np.uint8)

    def render(self, z_nm: Any, *, region: Any = None, shape: Any = None) -> NDArray[Any]:
        rows, columns = Frame.of(self).centres(region, shape)
        picked = np.ix_(rows.astype(int), columns.astype(int))
        images = np.stack([self.grey_at(float(z))[picked] for z in np.atleast_1d(z_nm)])
        return images[0] if np.ndim(z_nm) == 0 else images

    def observed_labels(self) -> NDArray[np.uint32]:
        return np.stack([self.labels_at(float(z)) for z in self.z_nm])


@pytest.fixture
def straight() -> TubeModel:
    return TubeModel(lambda z: [(7, 24, 20, 9), (70_000, 24, 45, 7)])


@pytest.fixture
def oblique() -> TubeModel:
    """A tube that moves by its own radius from slice to slice."""
    return TubeModel(lambda z: [(3, 24, 14 + z, 8)])
