"""Means over cells of a sampling that are larger than pixels, or lie across them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.stack import Region


def means_of_cells(image: NDArray[Any], box: Region, sampled: tuple[int, ...]) -> NDArray[np.float64]:
    """Mean of the pixels under each of ``sampled`` equal cells of a rectangle, weighted by what lies in the cell."""
    y0, y1, x0, x1 = box
    down = _shares(y0, y1, sampled[0], image.shape[-2])
    across = _shares(x0, x1, sampled[1], image.shape[-1])
    return np.asarray(down @ image.astype(np.float64) @ across.T)


def _shares(start: float, stop: float, cells: int, pixels: int) -> NDArray[np.float64]:
    """``(cells, pixels)``: the share of each pixel in each cell's mean."""
    edges = np.linspace(start, stop, cells + 1)
    pixel = np.arange(pixels)
    overlap = np.minimum(edges[1:, None], pixel + 1.0) - np.maximum(edges[:-1, None], pixel)
    overlap = np.maximum(overlap, 0.0)
    return np.asarray(overlap / overlap.sum(axis=1, keepdims=True))
