"""Stack: depths, selection, cropping, normalisation."""

from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss._errors import StackError, VoxelSizeError
from napari_emgauss.stack import Normalisation, Stack, stack_from_array

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.integers(0, 256, (9, 6, 7), dtype=np.uint8)


def make_stack(**options: object) -> Stack:
    return stack_from_array(VALUES, (40, 5, 4), **options)  # type: ignore[arg-type]


def test_geometry() -> None:
    stack = make_stack()
    assert stack.shape == (9, 6, 7)
    assert stack.z_nm.tolist() == [0, 40, 80, 120, 160, 200, 240, 280, 320]
    assert stack.pixel_size_nm == (5.0, 4.0)
    assert stack.t[[0, 2, 8]].tolist() == [0.0, 0.25, 1.0]
    assert stack.anisotropy_factor == pytest.approx(40 / 4.5)


def test_select_keeps_depths_and_remembers_numbers() -> None:
    stack = make_stack().select([1, 4, 8]).select([0, 2])
    assert stack.z_nm.tolist() == [40, 320]
    assert stack.metadata["selected_slices"] == [1, 8]
    np.testing.assert_array_equal(stack.slices[:], VALUES[[1, 8]])


def test_keep_every() -> None:
    stack = make_stack().keep_every(4)
    assert stack.z_nm.tolist() == [0, 160, 320]
    np.testing.assert_array_equal(stack.slices[:], VALUES[::4])
    with pytest.raises(StackError, match="at least 1"):
        stack.keep_every(0)


@pytest.mark.parametrize("indices", [[], [2, 1], [1, 1], [0, 9], [-1, 2]])
def test_select_refuses(indices: list[int]) -> None:
    with pytest.raises(StackError, match="increase"):
        make_stack().select(indices)


def test_crop_twice_counts_in_the_file() -> None:
    stack = make_stack().crop((1, 6, 2, 7)).crop((1, 4, 0, 2))
    assert stack.shape == (9, 3, 2)
    assert stack.metadata["region"] == [2, 5, 2, 4]
    np.testing.assert_array_equal(stack.slices[3], VALUES[3, 2:5, 2:4])
    np.testing.assert_array_equal(stack.in_memory().slices, VALUES[:, 2:5, 2:4])


@pytest.mark.parametrize("region", [(0, 7, 0, 7), (3, 3, 0, 7), (-1, 3, 0, 7), (0, 6, 5, 8)])
def test_crop_refuses(region: tuple[int, int, int, int]) -> None:
    with pytest.raises(StackError, match="does not lie within"):
        make_stack().crop(region)


def test_unit_slices_of_8_bit() -> None:
    stack = make_stack()
    assert (stack.normalisation.low, stack.normalisation.high) == (0.0, 255.0)
    np.testing.assert_allclose(stack.unit_slices(), VALUES / 255.0, atol=1e-7)
    np.testing.assert_array_equal(stack.normalisation.from_unit(stack.unit_slice(2)), VALUES[2])


def test_left_out_slices_keep_their_place() -> None:
    stack = make_stack(skip="0,3-4")
    assert stack.z_nm.tolist() == [40, 80, 200, 240, 280, 320]
    assert stack.metadata["left_out_slices"] == [0, 3, 4]
    np.testing.assert_array_equal(stack.slices[2], VALUES[5])


@pytest.mark.parametrize("name", ["uint16", "int16", "uint32", "float32", "float64", "int64", "uint64", "int8"])
def test_normalisation_round_trip(name: str) -> None:
    dtype = np.dtype(name)
    top = 1e5 if dtype.kind == "f" else min(float(np.iinfo(dtype).max), 2.0**40)
    values = (RANDOM.random((4, 6, 7)) * top).astype(dtype)
    stack = stack_from_array(values, (40, 4, 4))
    back = stack.normalisation.from_unit(stack.unit_slice(1))
    assert back.dtype == dtype
    span = stack.normalisation.high - stack.normalisation.low
    np.testing.assert_allclose(back.astype(float), values[1].astype(float), atol=span * 3e-7 + 0.5)


def test_from_unit_clips_to_the_dtype() -> None:
    line = Normalisation(100, 300, "uint8")
    assert line.from_unit(np.array([-1.0, 0.0, 0.5, 2.0])).tolist() == [0, 100, 200, 255]
    widest = Normalisation(0.0, float(2**63), "int64")
    assert widest.from_unit(np.array([2.0]))[0] > 2**62


def test_robust_limits_ignore_specks() -> None:
    values = RANDOM.integers(1000, 2000, (5, 40, 50)).astype(np.uint16)
    values[2, 3, 4] = 65535
    line = stack_from_array(values, (40, 4, 4)).normalisation
    assert 1000 <= line.low < 1020
    assert 1980 < line.high <= 2000


def test_background_does_not_collapse_the_limits() -> None:
    values = np.zeros((5, 60, 50), np.uint16)
    values[:, 3, 4] = 700  # fewer than one pixel in a thousand
    line = stack_from_array(values, (40, 4, 4)).normalisation
    assert (line.low, line.high) == (0.0, 700.0)


@pytest.mark.parametrize(
    ("z_nm", "match"),
    [([0, 1], "9 slices"), ([0, 1, 2, 3, 4, 5, 6, 7, 7], "increase"), ([0.0] * 8 + [np.nan], "finite")],
)
def test_bad_depths(z_nm: list[float], match: str) -> None:
    with pytest.raises((StackError, VoxelSizeError), match=match):
        Stack(VALUES, np.array(z_nm), (4, 4), Normalisation(0, 255, "uint8"))


def test_bad_pixel_size() -> None:
    with pytest.raises(VoxelSizeError, match="positive"):
        Stack(VALUES, np.arange(9.0), (4, 0), Normalisation(0, 255, "uint8"))


def test_late_nan_is_told() -> None:
    values = VALUES.astype(np.float32)
    values[4, 2, 3] = np.nan
    stack = stack_from_array(values, (40, 4, 4), allow_damaged=True)
    with pytest.raises(StackError, match="Slice 4 holds NaN"):
        stack.unit_slices()
