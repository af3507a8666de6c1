"""Public volumes: what their files say, and no false alarms. Skipped where the files are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_emgauss._errors import VoxelSizeError
from napari_emgauss.stack import check_alignment, find_damage, read_stack, suggested_skip

DATA = Path(__file__).parents[3] / "shared" / "data"
FILES = {
    "fib25": ((250, 250, 250), (8, 8, 8)),
    "epfl": ((153, 256, 256), (5, 5, 5)),
    "vnc": ((20, 512, 512), (50, 4.6, 4.6)),
    "mousebrain": ((270, 193, 271), (50_000, 40_000, 40_000)),
}


def path_of(name: str) -> Path:
    path = DATA / f"{name}.ome.tif"
    if not path.exists():
        pytest.skip(f"{path.name} is not in ../shared/data")
    return path


@pytest.mark.parametrize("name", FILES)
def test_shape_and_voxel_size(name: str) -> None:
    stack = read_stack(path_of(name), allow_isotropic=True)
    shape, size = FILES[name]
    assert stack.shape == shape
    np.testing.assert_allclose((stack.z_nm[1] - stack.z_nm[0], *stack.pixel_size_nm), size)


def test_isotropic_volumes_are_refused() -> None:
    with pytest.raises(VoxelSizeError, match="isotropic already"):
        read_stack(path_of("fib25"))


@pytest.mark.parametrize(("name", "every"), [("fib25", 8), ("epfl", 5), ("vnc", 1)])
def test_good_slices_are_left_alone(name: str, every: int) -> None:
    stack = read_stack(path_of(name), allow_isotropic=True).keep_every(every)
    assert suggested_skip(find_damage(stack)) == []


def test_change_is_not_taken_for_misalignment() -> None:
    stack = read_stack(path_of("fib25"), allow_isotropic=True).keep_every(8)
    assert check_alignment(stack).warning() is None


def test_damage_in_real_tissue_is_found() -> None:
    stack = read_stack(path_of("vnc"))
    values = np.array(stack.slices[:])
    values[5], values[9], values[14] = 0, values[8], values[14] // 8
    from napari_emgauss.stack import stack_from_array

    damaged = stack_from_array(values, (50, 4.6, 4.6), allow_damaged=True)
    found = {report.index: report.reasons for report in find_damage(damaged) if report.state != "good"}
    assert {5, 9, 14} <= set(found)
    assert "black" in found[5][0]
    assert "copy of slice 8" in found[9][0]
