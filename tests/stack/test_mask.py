"""Masked pixels are taken from the nearest good slices, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack import DamagedRectangle, mask_damage, read_damage_mask, stack_from_array
from napari_emgauss.stack._alignment import move_slices

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
    with pytest.raises(StackError, match="give a mask of the stack's shape"):
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
        np.testing.assert_array_equal(np.asarray(read_damage_mask(tmp_path / name)), mask)
    with pytest.raises(StackFileError, match=r"cannot be read .*\.txt of drawn shapes"):
        read_damage_mask(tmp_path / "none.tif")


def test_drawn_damage_by_hand(tmp_path: Path) -> None:
    drawn = tmp_path / "damage.txt"
    drawn.write_text("# slice, kind, ...\n1 rectangle 2 4 0 3\n2, fold, 2, 0, 5, 9, 5\n3 hole 1 1 1 5 5 1\n")
    mask = np.asarray(read_damage_mask(drawn, (4, 10, 8)))
    wanted = np.zeros((4, 10, 8), bool)
    wanted[1, 2:4, 0:3] = True  # ends excluded
    wanted[2, :, 4:7] = True  # two pixels wide: at most one from the middle
    for y in range(1, 6):
        wanted[3, y, 1 : 7 - y] = True  # a right triangle
    np.testing.assert_array_equal(mask, wanted)


def test_shapes_as_napari_saves_them(tmp_path: Path) -> None:
    rows = ["index,shape-type,vertex-index,axis-0,axis-1,axis-2"]
    for vertex, (y, x) in enumerate([(2, 1), (2, 5), (6, 5), (6, 1)]):
        rows.append(f"0,rectangle,{vertex},3.0,{y},{x}")
    rows += ["1,path,0,1,0,0", "1,path,1,1,0,40"]
    (tmp_path / "shapes.csv").write_text("\n".join(rows))
    mask = np.asarray(read_damage_mask(tmp_path / "shapes.csv", (5, 12, 41)))
    assert mask[3].sum() == 5 * 5
    assert mask[3, 2:7, 1:6].all()
    assert mask[1, :5].all()  # 8 pixels wide where nothing is said
    assert not mask[1, 5:].any()
    assert not mask[[0, 2, 4]].any()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 rectangle 2 4 0", "Line 1 of d.txt does not describe damage"),
        ("\nx fold 2 0 0 1 1", "Line 2"),
        ("1 blob 0 0 1 1", "Line 1"),
        ("1 fold -2 0 0 1 1", "Line 1"),
        ("1 rectangle nan 4 0 3", "Line 1"),
        ("1 polygon 0 0 1 1", "Line 1"),
        ("", "holds no shape"),
        ("9 rectangle 2 4 0 3", "slice 9, which does not exist"),
        ("1 rectangle 20 24 0 3", "outside"),
    ],
)
def test_drawn_damage_refuses(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "d.txt").write_text(text)
    with pytest.raises(StackError, match=said):
        read_damage_mask(tmp_path / "d.txt", (4, 10, 8))


def test_damage_stays_with_its_slices_and_pixels() -> None:
    mask = np.zeros(RAMP.shape, np.uint8)
    mask[2, 1:4, 2:5] = 3
    repaired = mask_damage(spoiled(mask), mask)  # type: ignore[arg-type]
    sound = repaired.select([0, 2, 4]).crop((1, 6, 0, 4)).sound_pixels()
    assert sound is not None
    np.testing.assert_array_equal(sound, (mask == 0)[[0, 2, 4], 1:6, :4])
    assert STACK.sound_pixels() is None


def test_a_mask_of_the_whole_file_fits_a_stack_without_some_slices() -> None:
    mask = np.zeros(RAMP.shape, np.uint8)
    mask[3, 1:4, 2:5] = 1
    stack = stack_from_array(RAMP, z_nm=Z, pixel_size_nm=4, skip="1")
    repaired = mask_damage(stack, mask)
    assert repaired.metadata["masked_fraction"] == {"3": round(9 / 42, 6)}  # as the file numbers it
    sound = repaired.sound_pixels()
    assert sound is not None
    assert [int((~one).sum()) for one in sound] == [0, 0, 9, 0]


def test_damage_moves_with_its_slice() -> None:
    mask = np.zeros(RAMP.shape, np.uint8)
    mask[2, 1:4, 2:5] = 1
    moved = move_slices(mask_damage(STACK, mask), np.array([[0, 0], [0, 0], [1, 2], [0, 0], [0, 0]]))
    sound = moved.sound_pixels()
    assert sound is not None
    assert not sound[2, 2:5, 4:7].any()
    assert sound[2].sum() == 42 - 9
