"""Which axes the levels of a pyramid halve, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_emgauss.stack import Selection, open_file, read_stack
from napari_emgauss.volume import export
from napari_emgauss.volume.formats._levels import plan_levels


@pytest.mark.parametrize(
    ("voxel", "sizes"),
    [
        ((4, 4, 4), [(4, 4, 4), (8, 8, 8), (16, 16, 16)]),
        ((4.02, 4, 4), [(4.02, 4, 4), (8.04, 8, 8), (16.08, 16, 16)]),  # isotropic but for the last whole step
        ((6, 4, 4), [(6, 4, 4), (6, 8, 8), (12, 16, 16)]),
        ((40, 4, 4), [(40, 4, 4), (40, 8, 8), (40, 16, 16)]),
        ((1, 4, 4), [(1, 4, 4), (2, 4, 4), (4, 4, 4)]),
        ((8, 4, 16), [(8, 4, 16), (8, 8, 16), (16, 16, 16)]),
    ],
)
def test_z_waits_until_y_and_x_are_as_coarse(voxel: Any, sizes: list[Any]) -> None:
    levels = plan_levels((600, 1200, 1200), voxel)
    assert [tuple(level.voxel_size(voxel)) for level in levels[:3]] == sizes
    assert levels[-1].halved is None
    assert max(levels[-1].shape) <= 256
    for z, y, x in (level.voxel_size(voxel) for level in levels):
        assert z == voxel[0] or z <= 1.01 * max(y, x)


def test_each_level_has_as_many_voxels_as_it_needs() -> None:
    levels = plan_levels((101, 1000, 999), (40, 4, 4))
    assert [level.shape for level in levels] == [(101, 1000, 999), (101, 500, 500), (101, 250, 250)]
    assert [level.factors for level in levels] == [(1, 1, 1), (1, 2, 2), (1, 4, 4)]


def test_neuroglancer_finds_every_scale_where_it_belongs(make_model: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorstore")
    model = make_model((4, 300, 201), pixel_size_nm=(4.0, 3.0))
    path = export(model, tmp_path / "a.precomputed", spacing_nm=5)
    info = json.loads((path / "info").read_text())
    assert [scale["key"] for scale in info["scales"]] == ["3_4_5", "6_8_5"]
    assert [scale["resolution"] for scale in info["scales"]] == [[3, 4, 5], [6, 8, 5]]
    assert [scale["size"] for scale in info["scales"]] == [[201, 300, 25], [101, 150, 25]]
    # The first slice lies at 1000 nm, which is 200 voxels of 5 nm.
    assert [scale["voxel_offset"] for scale in info["scales"]] == [[0, 0, 200], [0, 0, 200]]
    about = json.loads((path / "provenance").read_text())
    assert about["processing"][0]["first_depth_nm"] == 1000
    depths = 1000 + 5.0 * np.arange(25)
    np.testing.assert_array_equal(read_stack(path).slices[:], model.truth(depths))
    coarse = open_file(path, Selection("6_8_5"))
    # The model is linear: the mean of four pixels is its value between them, away from the halved last column.
    y, x = 1 + 2.0 * np.arange(150), 1 + 2.0 * np.arange(100)
    expected = model.value(depths[:, None, None], y[:, None], x)
    np.testing.assert_allclose(np.asarray(coarse.slices)[:, :, :100], expected, rtol=1e-6)


def test_a_depth_that_is_no_whole_number_of_voxels_is_told_beside(
    make_model: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("tensorstore")
    path = export(make_model(), tmp_path / "a.precomputed", spacing_nm=7)
    info = json.loads((path / "info").read_text())
    assert info["scales"][0]["voxel_offset"] == [0, 0, 0]
    assert json.loads((path / "provenance").read_text())["processing"][0]["first_depth_nm"] == 1000
