"""stack_from_array: what is accepted and what is refused, with which sentence."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest

from napari_emgauss._errors import StackError, VoxelSizeError
from napari_emgauss.stack import _check, stack_from_array

EMPTY = np.empty((0, 0, 0), np.uint16)
GOOD = np.random.default_rng(1).integers(0, 256, (5, 16, 18), dtype=np.uint8)


def with_slice(index: int, value: float, dtype: str = "float32") -> np.ndarray:
    values = GOOD.astype(dtype)
    values[index] = value
    return values


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (GOOD[0], "single image"),
        (GOOD[:2], "at least 3 slices"),
        (GOOD[None], "4 axes"),
        (np.zeros((5, 16, 18, 3), np.uint8), "RGB"),
        (np.zeros((16, 18, 3), np.uint8), "RGB"),
        (GOOD > 3, "mask"),
        (GOOD.astype(complex), "complex128"),
        (GOOD.astype(str), "grey values"),
        (GOOD[:, :0], "empty"),
        (GOOD[:, :3], "too small"),
        (with_slice(2, 0, "uint8"), r"Slice 2 is empty .*skip='2'"),
        (with_slice(4, 7, "uint8"), r"Slice 4 is constant \(all 7\)"),
        (with_slice(1, np.nan), "Slice 1 holds NaN"),
        (with_slice(3, np.inf), "Slice 3 holds NaN or infinite"),
    ],
)
def test_refuses(array: Any, match: str) -> None:
    with pytest.raises(StackError, match=match):
        stack_from_array(array, (40, 4, 4))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "voxel size is unknown"),
        ({"pixel_size_nm": 4}, "z step is unknown"),
        ({"voxel_size_nm": (40, 4)}, "three numbers"),
        ({"voxel_size_nm": ("a", 4, 4)}, "three numbers"),
        ({"voxel_size_nm": (40, -4, 4)}, "positive"),
        ({"voxel_size_nm": (40, 4, float("nan"))}, "positive"),
        ({"voxel_size_nm": (4, 4, 4)}, "isotropic already"),
        ({"voxel_size_nm": (3, 4, 4)}, "isotropic already"),
        ({"pixel_size_nm": (4, 0), "z_nm": range(5)}, "two positive"),
        ({"pixel_size_nm": 4, "z_nm": [0, 50, 100]}, "3 z positions were given for 5 slices"),
        ({"pixel_size_nm": 4, "z_nm": [0, 50, 40, 60, 70]}, "increase"),
    ],
)
def test_refuses_voxel_size(options: dict[str, Any], match: str) -> None:
    with pytest.raises(VoxelSizeError, match=match):
        stack_from_array(GOOD, **options)


def test_isotropic_on_request() -> None:
    assert stack_from_array(GOOD, (4, 4, 4), allow_isotropic=True).anisotropy_factor == 1.0


def test_uneven_depths() -> None:
    stack = stack_from_array(GOOD, z_nm=[0, 40, 95, 130, 200], pixel_size_nm=(4, 5))
    assert stack.z_nm.tolist() == [0, 40, 95, 130, 200]
    assert stack.pixel_size_nm == (4.0, 5.0)
    assert stack.metadata["voxel_size_source"] == "argument"


def test_skipping_makes_a_damaged_stack_good() -> None:
    stack = stack_from_array(with_slice(2, np.nan), (40, 4, 4), skip=[2])
    assert stack.z_nm.tolist() == [0, 40, 120, 160]


def test_skipping_too_many() -> None:
    with pytest.raises(StackError, match="at least 3 slices"):
        stack_from_array(GOOD, (40, 4, 4), skip="0-2")


def test_damage_on_request() -> None:
    stack = stack_from_array(with_slice(2, np.nan), (40, 4, 4), allow_damaged=True)
    assert np.isfinite([stack.normalisation.low, stack.normalisation.high]).all()


def test_a_list_will_do() -> None:
    assert stack_from_array(GOOD.tolist(), (40, 4, 4)).shape == (5, 16, 18)


def test_only_a_sample_of_a_large_stack_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def tell(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info:
            read.append(block_info[0]["chunk-location"][0])
        return block

    values = np.random.default_rng(2).integers(0, 60000, (200, 16, 18), dtype=np.uint16)
    lazy = da.from_array(values, chunks=(1, 16, 18)).map_blocks(
        tell, dtype=np.uint16, meta=np.empty((0, 0, 0), np.uint16)
    )
    monkeypatch.setattr(_check, "CHECK_ALL_BYTES", 1000)
    stack = stack_from_array(lazy, (40, 4, 4))
    assert len(set(read)) == 16
    assert {0, 199} <= set(read)
    np.testing.assert_array_equal(stack.slices[77], values[77])
