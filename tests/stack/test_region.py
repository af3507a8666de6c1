"""A region, a range of depths: nothing else is read, and nothing else decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_emgauss._errors import StackError
from napari_emgauss.cli import main
from napari_emgauss.stack import LazySlices, mask_damage, read_stack
from napari_emgauss.stack._array import build_stack
from napari_emgauss.stack._voxel_size import VoxelSize

VALUES = np.random.default_rng(3).integers(0, 4000, (12, 30, 40), dtype=np.uint16)
SIZE = (50.0, 5.0, 4.0)


class Watched(LazySlices):
    """Remembers what is asked for."""

    def __init__(self) -> None:
        super().__init__(VALUES.shape, VALUES.dtype)
        self.asked: set[tuple[int, int, int, int, int]] = set()

    def read_slice(self, index: int, rows: slice, columns: slice) -> Any:
        y, x = range(*rows.indices(30)), range(*columns.indices(40))
        self.asked.add((index, y.start, y.stop, x.start, x.stop))
        return VALUES[index, rows, columns]


def build(slices: Any, **more: Any) -> Any:
    options: dict[str, Any] = dict.fromkeys(("z_positions_nm", "source", "metadata", "normalisation"))
    return build_stack(
        slices, VoxelSize(*SIZE), name="a", skip="", allow_isotropic=False, allow_damaged=False, **options, **more
    )


def test_nothing_else_is_read() -> None:
    watched = Watched()
    stack = build(watched, region=(10, 20, 5, 25), z_range_nm=(100, 250))
    np.testing.assert_array_equal(stack.slices[:], VALUES[2:6, 10:20, 5:25])
    assert watched.asked == {(k, 10, 20, 5, 25) for k in (2, 3, 4, 5)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VALUES)
    return path


def test_what_is_read_keeps_its_depths_numbers_and_place(file: Path) -> None:
    stack = read_stack(file, voxel_size_nm=SIZE, region=(10, 20, 5, 25), z_range_nm=(100, 250), skip="1,4")
    assert stack.z_nm.tolist() == [100, 150, 250]
    assert stack.numbers_in_file == [2, 3, 5]
    assert stack.metadata["region"] == [10, 20, 5, 25]
    assert stack.metadata["left_out_slices"] == [4]  # slice 1 is not among those that were asked for
    alone = read_stack(file, voxel_size_nm=SIZE).crop((10, 20, 5, 25)).slices[:][[2, 3, 5]]
    np.testing.assert_array_equal(stack.slices[:], alone)
    # The grey-value limits are those of the region.
    low, high = np.percentile(alone, (0.1, 99.9))
    assert (stack.normalisation.low, stack.normalisation.high) == pytest.approx((low, high), abs=40)


def test_ranges_that_cannot_be(file: Path) -> None:
    with pytest.raises(StackError, match=r"From 100 to 160 nm there are 2 slices.*lie from 0 to 550 nm"):
        read_stack(file, voxel_size_nm=SIZE, z_range_nm=(100, 160))
    with pytest.raises(StackError, match="two depths in nm, the lower first"):
        read_stack(file, voxel_size_nm=SIZE, z_range_nm=(300, 100))
    with pytest.raises(StackError, match="does not lie within 30 x 40 pixels"):
        read_stack(file, voxel_size_nm=SIZE, region=(0, 31, 0, 40))


def test_a_mask_of_the_whole_file_fits_a_part(file: Path) -> None:
    mask = np.zeros(VALUES.shape, np.uint8)
    mask[3, 12, 6] = 1
    stack = read_stack(file, voxel_size_nm=SIZE, region=(10, 20, 5, 25), z_range_nm=(100, 250))
    masked = mask_damage(stack, mask)
    assert masked.metadata["masked_fraction"] == {"3": 0.005}
    assert np.argwhere(masked.damage[:]).tolist() == [[1, 2, 1]]


def test_on_the_command_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = ["--voxel-size", "50", "5", "4", "--region", "10", "20", "5", "25", "--z-range", "100", "250"]
    assert main(["info", str(file), "--json", *part]) == 0
    assert '"shape (z, y, x)": [\n  4,\n  10,\n  20\n ]' in capsys.readouterr().out
    mask = file.with_name("mask.txt")
    mask.write_text("3 rectangle 12 13 6 7\n")
    assert main(["info", str(file), *part, "--damage-mask", str(mask)]) == 0
