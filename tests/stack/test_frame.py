"""What may be asked for within a stack: depths, rectangles and samplings."""

from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss import stack_from_array
from napari_emgauss._errors import DepthError
from napari_emgauss.stack import Frame

FRAME = Frame(np.array([100.0, 140.0, 200.0]), (4.0, 5.0), (3, 6, 8))


def test_a_stack_has_one() -> None:
    grey = np.arange(3 * 6 * 8, dtype=np.uint8).reshape(3, 6, 8)
    frame = Frame.of(stack_from_array(grey, (40.0, 4.0, 5.0)))
    assert frame.z_nm.tolist() == [0, 40, 80] and frame.pixel_size_nm == (4, 5) and frame.shape == (3, 6, 8)


def test_a_millionth_of_the_range_beyond_the_end_is_the_end() -> None:
    assert FRAME.checked_depth(200.00009) == 200.0 and FRAME.checked_depth(99.99991) == 100.0
    assert FRAME.checked_depths([100, 150.5]).tolist() == [100, 150.5] and FRAME.checked_depths(150).shape == (1,)


@pytest.mark.parametrize("depth", [200.001, 99.999, float("nan"), float("inf")])
def test_depths_outside_are_refused(depth: float) -> None:
    with pytest.raises(DepthError, match="outside the fitted volume; choose one from 100 to 200 nm"):
        FRAME.checked_depths([150.0, depth])


def test_no_region_is_the_whole_slice() -> None:
    assert FRAME.checked_region(None) == (0, 6, 0, 8) and FRAME.checked_region((0, 6, 0.5, 8)) == (0, 6, 0.5, 8)


@pytest.mark.parametrize(
    "region", [(0, 6.5, 0, 8), (-0.5, 6, 0, 8), (3, 3, 0, 8), (0, 6, 5, 4), (0, 6, 0, float("nan"))]
)
def test_regions_outside_or_empty_are_refused(region: tuple[float, float, float, float]) -> None:
    with pytest.raises(DepthError, match="outside the fitted slices of 6 x 8 pixels, or empty"):
        FRAME.checked_region(region)


def test_sampling_is_one_cell_a_pixel_unless_told() -> None:
    assert FRAME.sampling(None, None) == ((0, 6, 0, 8), (6, 8))
    assert FRAME.sampling((1, 3.6, 0, 0.2), None) == ((1, 3.6, 0, 0.2), (3, 1))
    assert FRAME.sampling((-1, 7, 0, 8), (2, 4)) == ((-1, 7, 0, 8), (2, 4))
    with pytest.raises(DepthError, match="at least one row and one column, not 0 x 4"):
        FRAME.sampling(None, (0, 4))


def test_centres_lie_in_the_middle_of_cells() -> None:
    rows, columns = FRAME.centres((0, 6, 2, 4), (2, 4))
    assert rows.tolist() == [1.5, 4.5] and columns.tolist() == [2.25, 2.75, 3.25, 3.75]
