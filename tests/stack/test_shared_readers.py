"""Readers that several threads share let one at a time at what only one may use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_emgauss.stack import Selection, open_file
from napari_emgauss.stack._array_slices import ArraySlices
from napari_emgauss.stack._intensity import WholeSliceFilter
from napari_emgauss.stack.formats import _tiff_slices

VALUES = np.arange(8 * 6 * 7, dtype=np.uint16).reshape(8, 6, 7)


class OneAtATime:
    """Notices when a second thread comes in while the first is still there."""

    def __init__(self) -> None:
        self.visits, self.crowded = 0, False
        self._inside = threading.Semaphore(1)

    @contextmanager
    def visit(self) -> Iterator[None]:
        alone = self._inside.acquire(blocking=False)
        self.crowded |= not alone
        self.visits += 1
        time.sleep(0.003)  # long enough for the others to come
        yield
        if alone:
            self._inside.release()


def read_by_all(slices: Any) -> None:
    """Each of four threads reads every slice, each beginning elsewhere."""
    with ThreadPoolExecutor(4) as threads:
        orders = [np.roll(np.arange(len(VALUES)), 2 * k) for k in range(4)]
        for found in threads.map(lambda order: [np.asarray(slices[int(k)]) for k in order], orders):
            assert len(found) == len(VALUES)


@pytest.fixture
def door() -> OneAtATime:
    return OneAtATime()


def test_blocks_of_a_chunked_array(door: OneAtATime) -> None:
    class Chunked:
        shape, dtype, chunks = VALUES.shape, VALUES.dtype, (4, 6, 7)

        def __getitem__(self, key: Any) -> NDArray[Any]:
            with door.visit():
                return VALUES[key]

    slices = ArraySlices(Chunked, (), Selection(), "ZYX", "array")
    read_by_all(slices)
    np.testing.assert_array_equal(slices[5], VALUES[5])
    assert door.visits > 2 and not door.crowded


def test_filters_of_whole_slices(door: OneAtATime) -> None:
    class Same(WholeSliceFilter):
        def filtered(self, plane: NDArray[Any], index: int) -> NDArray[np.float64]:
            with door.visit():
                return plane.astype(np.float64)

    read_by_all(Same(VALUES))
    assert door.visits > 8 and not door.crowded


def test_pages_of_a_tiff(door: OneAtATime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, compression="zlib")
    read_window: Callable[..., Any] = _tiff_slices.read_window

    def watched(*arguments: Any) -> Any:
        with door.visit():
            return read_window(*arguments)

    monkeypatch.setattr(_tiff_slices, "read_window", watched)
    read_by_all(open_file(tmp_path / "a.tif", Selection()).slices)
    assert door.visits == 4 * len(VALUES) and not door.crowded
