"""Lazy slices must index like the NumPy array they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from napari_emgauss.stack import LazySlices
from napari_emgauss.stack._slices import SliceView

VALUES = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)


class CountingSlices(LazySlices):
    """Slices of an array that count how often one is read."""

    def __init__(self, values: NDArray[Any]) -> None:
        super().__init__(values.shape, values.dtype)
        self.values, self.reads = values, 0

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        self.reads += 1
        return self.values[index, rows, columns]


def ranges(size: int) -> st.SearchStrategy[slice]:
    ends = st.none() | st.integers(-size - 2, size + 2)
    return st.builds(slice, ends, ends, st.none() | st.integers(-3, 3).filter(bool))


def keys() -> st.SearchStrategy[Any]:
    z = ranges(5) | st.integers(-5, 4)
    y = ranges(6) | st.integers(-6, 5)
    x = ranges(7) | st.integers(-7, 6)
    return st.one_of(
        z, st.tuples(z), st.tuples(z, y), st.tuples(z, y, x), st.just(Ellipsis), st.tuples(z, st.just(Ellipsis), x)
    )


@given(keys())
def test_indexing_is_numpys(key: Any) -> None:
    np.testing.assert_array_equal(CountingSlices(VALUES)[key], VALUES[key])


@given(keys())
def test_view_indexing_is_numpys(key: Any) -> None:
    view = SliceView(CountingSlices(VALUES), [4, 0, 1, 2, 3], (0, 6, 0, 7))
    np.testing.assert_array_equal(view[key], VALUES[[4, 0, 1, 2, 3]][key])


@given(ranges(3), ranges(4))
def test_cropped_view_indexing_is_numpys(rows: slice, columns: slice) -> None:
    view = SliceView(VALUES, [0, 3], (2, 5, 1, 5))
    np.testing.assert_array_equal(view[:, rows, columns], VALUES[[0, 3], 2:5, 1:5][:, rows, columns])


def test_one_slice_is_one_read() -> None:
    slices = CountingSlices(VALUES)
    _ = slices[2, 1:3]
    assert slices.reads == 1
    _ = slices[1:4]
    assert slices.reads == 4


@pytest.mark.parametrize("key", [5, -6, (0, 0, 0, 0)])
def test_beyond_the_end(key: Any) -> None:
    with pytest.raises(IndexError):
        CountingSlices(VALUES)[key]
