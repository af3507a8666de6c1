"""Masked pixels are taken from the nearest good slices, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack import DamagedRectangle, mask_damage, read_damage_mask, stack_from_array

Z = np.array([0.0, 40, 100, 120, 200])
# Each pixel is linear in z, so that interpolation restores it exactly.
RAMP = (Z[:, None, None] + 10 * np.arange(6)[:, None] + np.arange(7)).astype(np.float32)
STACK = stack_from_array(RAMP, z_nm=Z, pixel_size_nm=4)


def spoiled(mask: np.ndarray) -> object:
    values = RAMP.copy()
    values[mask != 0] = 999
    return stack_from_array(values, z_nm=Z, pixel_size_nm=4)


def test_a_rectangle_in_one_slice() -> None:
    mask = np.zeros(RAMP.shape, np.uint8)
    mask[2, 1:4, 2:5] = 3
    repaired = mask_damage(spoiled(mask), [DamagedRectangle(2, 1, 4, 2, 5)])  # type: ignore[arg-type]
    np.testing.assert_allclose(np.asarray(repaired.slices), RAMP, rtol=1e-6)
    assert repaired.metadata["masked_fraction"] == {"2": round(9 / 42, 6)}


def test_overlapping_damage_reaches_further() -> None:
    mask = np.zeros(RAMP.shape, np.uint8)
    mask[1:4, 2, 2] = 1
    mask[2, 2:5, 2:5] = 1
    repaired = mask_damage(spoiled(mask), mask)  # type: ignore[arg-type]
    np.testing.assert_allclose(np.asarray(repaired.slices), RAMP, rtol=1e-6)


def test_the_first_slice_copies_the_next() -> None:
    mask = np.zeros(RAMP.shape, bool)
    mask[0, 3, 3] = mask[4, 5, 1] = True
    repaired = mask_damage(spoiled(mask), mask)  # type: ignore[arg-type]
    assert repaired.slices[0, 3, 3] == RAMP[1, 3, 3]
    assert repaired.slices[4, 5, 1] == RAMP[3, 5, 1]


def test_nothing_masked_is_the_same_stack() -> None:
    assert mask_damage(STACK, np.zeros(RAMP.shape)) is STACK


def test_refuses() -> None:
    with pytest.raises(StackError, match="must be the same"):
        mask_damage(STACK, np.zeros((5, 6, 8)))
    always = np.zeros(RAMP.shape)
    always[:, 1, 1:3] = 1
    with pytest.raises(StackError, match="2 pixels are marked as damaged in every slice"):
        mask_damage(STACK, always)
    with pytest.raises(StackError, match="does not lie within"):
        mask_damage(STACK, [DamagedRectangle(5, 0, 1, 0, 1)])


def test_files(tmp_path: Path) -> None:
    mask = np.zeros(RAMP.shape, np.uint8)
    mask[2, 1:4, 2:5] = 3
    tifffile.imwrite(tmp_path / "m.tif", mask)
    np.save(tmp_path / "m.npy", mask)
    for name in ("m.tif", "m.npy"):
        np.testing.assert_array_equal(read_damage_mask(tmp_path / name), mask != 0)
    with pytest.raises(StackFileError, match=r"TIFF or \.npy"):
        read_damage_mask(tmp_path / "none.tif")
