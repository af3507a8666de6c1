"""A tiny analytic model: an image that is a known function of z, y and x."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


class AnalyticModel:
    """``100 + z_nm + 2 y + 3 x`` at pixel centres, so that every sample can be told by hand."""

    def __init__(
        self,
        shape: tuple[int, int, int] = (4, 6, 7),
        dtype: str = "float32",
        step_nm: float = 40.0,
        pixel_size_nm: tuple[float, float] = (4.0, 4.0),
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.z_nm = 1000 + step_nm * np.arange(shape[0])
        self.pixel_size_nm = pixel_size_nm
        self.version, self.channels, self.confidence = 0, 1, None
        self.provenance: dict[str, Any] = {}
        self.offset = 0.0
        self.boxes: list[tuple[int, int, int]] = []
        self._lock = threading.Lock()

    def value(self, z_nm: Any, y: Any, x: Any) -> Any:
        return 100 + self.offset + (np.asarray(z_nm) - 1000) + 2 * np.asarray(y) + 3 * np.asarray(x)

    def render(
        self,
        z_nm: Any,
        *,
        region: tuple[float, float, float, float] | None = None,
        shape: tuple[int, int] | None = None,
    ) -> NDArray[Any]:
        _, height, width = self.shape
        y0, y1, x0, x1 = (0.0, float(height), 0.0, float(width)) if region is None else region
        assert 0 <= y0 < y1 <= height
        assert 0 <= x0 < x1 <= width
        rows, columns = (round(y1 - y0), round(x1 - x0)) if shape is None else shape
        y = y0 + (np.arange(rows) + 0.5) * (y1 - y0) / rows
        x = x0 + (np.arange(columns) + 0.5) * (x1 - x0) / columns
        depths = np.atleast_1d(np.asarray(z_nm, float))
        assert ((depths >= self.z_nm[0]) & (depths <= self.z_nm[-1])).all()
        with self._lock:
            self.boxes.append((len(depths), rows, columns))
        box = self.value(depths[:, None, None], y[:, None], x)
        box = np.rint(box) if self.dtype.kind in "iu" else box
        out = box.astype(self.dtype)
        return out[0] if np.ndim(z_nm) == 0 else out

    def truth(self, depths: Any) -> NDArray[Any]:
        _, height, width = self.shape
        y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
        values = self.value(np.asarray(depths)[:, None, None], y[:, None], x)
        return (np.rint(values) if self.dtype.kind in "iu" else values).astype(self.dtype)


@pytest.fixture
def make_model() -> Callable[..., AnalyticModel]:
    return AnalyticModel
