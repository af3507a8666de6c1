"""Places in nm, on slices, and on the isotropic grid."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_emgauss._errors import ConfigError, DepthError
from napari_emgauss.volume import PointGrids


def model(**provenance: Any) -> Any:
    return SimpleNamespace(
        z_nm=np.array([0.0, 40.0, 120.0]), pixel_size_nm=(4.0, 5.0), shape=(3, 10, 10), provenance=provenance
    )


def test_uneven_slices_and_a_left_out_one() -> None:
    grids = PointGrids.of(model(stack={"left_out_slices": [2], "left_out_z_nm": [80.0]}), spacing_nm=10)
    # Slice 3 of the source is the one at 120 nm; pixel centres are whole numbers.
    np.testing.assert_allclose(grids.slices_to_nm([[3, 0, 2], [1.5, 1, 1]]), [[120, 2.0, 12.5], [60, 6.0, 7.5]])
    np.testing.assert_allclose(grids.nm_to_grid([[60, 6.0, 7.5]]), [[6, 1, 1]])
    np.testing.assert_allclose(grids.convert([[1.5, 1, 1]], "slices", "grid"), [[6, 1, 1]])
    np.testing.assert_allclose(grids.convert([[6, 1, 1]], "grid", "slices"), [[1.5, 1, 1]])


def test_learned_shifts_are_taken_off() -> None:
    grids = PointGrids.of(model(slice_shifts_px=[[0, 0], [1, -2], [0, 0]]), spacing_nm=40)
    np.testing.assert_allclose(grids.convert([[1, 5, 5]], "slices", "grid"), [[1, 4, 7]])
    np.testing.assert_allclose(grids.convert([[1, 4, 7]], "grid", "slices"), [[1, 5, 5]])


def test_half_a_slice_beyond_the_ends_is_within() -> None:
    grids = PointGrids.of(model(), spacing_nm=40)
    np.testing.assert_allclose(grids.slices_to_nm([[-0.5, 0, 0]])[0, 0], -20)
    with pytest.raises(DepthError, match="Point 1 is at slice 3"):
        grids.slices_to_nm([[0, 0, 0], [3, 0, 0]])


def test_what_are_no_places_is_refused() -> None:
    grids = PointGrids.of(model(), spacing_nm=40)
    with pytest.raises(ConfigError, match="three finite numbers"):
        grids.slices_to_nm([[0, 0]])
    with pytest.raises(ConfigError, match="nm, slices or grid"):
        grids.convert([[0, 0, 0]], "pixels", "nm")


def test_slices_that_were_straightened_and_a_part_of_the_source() -> None:
    stack = {
        "jitter_removed_px": [[0, 0], [1, -2], [0, 0]],
        "region": [100, 110, 200, 210],
        "selected_slices": [5, 6, 8],
        "left_out_slices": [7],
        "left_out_z_nm": [80.0],
    }
    grids = PointGrids.of(model(stack=stack, slice_shifts_px=[[0, 0], [0, 1], [0, 0]]), spacing_nm=40)
    # Slice 6 is the one at 40 nm; what is on it lies off by 1 row and -2 + 1 columns.
    np.testing.assert_allclose(grids.convert([[6, 105, 205]], "slices", "grid"), [[1, 4, 6]])
    np.testing.assert_allclose(grids.convert([[1, 4, 6]], "grid", "slices"), [[6, 105, 205]])
    # Slice 7 was left out; half of what its neighbour lies off.
    np.testing.assert_allclose(grids.convert([[7, 105, 205]], "slices", "grid"), [[2, 4.5, 5.5]])


@pytest.mark.parametrize("noted", [[[1, 2]], "nonsense", [[1, "a"]] * 3, [[np.nan, 0]] * 3])
def test_offsets_that_make_no_sense_are_none(noted: Any) -> None:
    grids = PointGrids.of(model(slice_shifts_px=noted), spacing_nm=40)
    np.testing.assert_allclose(grids.convert([[1, 5, 5]], "slices", "grid"), [[1, 5, 5]])
