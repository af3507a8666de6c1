"""Voxel sizes that cannot be: asked about, wherever they come from."""

from __future__ import annotations

from typing import Any

import pytest

from napari_emgauss import VoxelSizeError
from napari_emgauss.stack import VoxelSize, checked_voxel_size, stack_from_array, without_unit


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ((352777.78, 352777.78, 352777.78), "72 dots per inch"),
        ((None, 84666.67, 84666.67), "300 dots per inch"),
        ((None, 264583.3, 264583.3), "96 dots per inch"),
        ((40, 0.004, 0.004), "y is smaller than an atom"),
        ((0.04, 5, 5), "z is smaller than an atom"),
        ((40, 5e6, 5e6), "y is more than a millimetre"),
        ((50000, 5, 5), "slices 1e\\+04 pixels apart, as if z were in another unit"),
        ((1, 50, 50), "slices 0.02 pixels apart"),
    ],
)
def test_doubtful_sizes_are_unknown_and_it_is_said_why(sizes: Any, why: str) -> None:
    size = checked_voxel_size(VoxelSize(*sizes, source="ImageJ metadata"))
    assert (size.z_nm, size.y_nm, size.x_nm) == (None, None, None)
    assert why.replace("\\", "") in size.doubt
    assert size.source == "ImageJ metadata"


@pytest.mark.parametrize(
    "sizes", [(50, 5, 5), (0.05, 0.05, 0.05), (9e5, 1e5, 1e5), (1000, 5, 5), (1, 5, 5), (None, 4.5, 4.25), (None,) * 3]
)
def test_sizes_that_can_be_are_taken(sizes: Any) -> None:
    size = VoxelSize(*sizes, source="x")
    assert checked_voxel_size(size) == (size if any(sizes) else VoxelSize())


@pytest.mark.parametrize(
    ("numbers", "usual", "nm", "said"),
    [
        ((0.04, 0.004, 0.004), "nm", (40, 4, 4), True),
        ((0.04, 0.004, 0.004), "", (40, 4, 4), True),
        ((0.5, 0.1, 0.1), "nm", (500, 100, 100), True),  # nothing is cut half a nanometre thin
        ((40, 4, 4), "nm", (40, 4, 4), False),
        ((40, 4, 4), "", (None, None, None), False),  # nm, or µm as well
        ((1e-9, 1e-9, 1e-9), "", (None, None, None), False),
    ],
)
def test_numbers_without_a_unit(numbers: Any, usual: str, nm: Any, said: bool) -> None:
    size = without_unit(numbers, "HDF5 attributes", usual=usual)
    assert (size.z_nm, size.y_nm, size.x_nm) == pytest.approx(nm)
    assert bool(size.assumed) == said
    if said:
        assert "has no unit and is taken as \u00b5m" in size.assumed


def test_a_size_typed_in_micrometres_is_refused_and_large_ones_pass() -> None:
    import numpy as np

    values = np.random.default_rng(0).integers(1, 255, (5, 16, 18), dtype=np.uint8)
    with pytest.raises(VoxelSizeError, match=r"smaller than an atom \(in \u00b5m this would be 40 x 5 x 5 nm"):
        stack_from_array(values, (0.04, 0.005, 0.005))
    assert stack_from_array(values, (3e6, 1e6, 1e6)).pixel_size_nm == (1e6, 1e6)  # magnetic resonance
