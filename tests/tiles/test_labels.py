"""Labels carried through a model made of tiles: one volume, without seams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_emgauss.labels import CarriedLabels, CarryMethod, bring_back, export_labels, label_slices
from napari_emgauss.tiles import TileSize, cut, load
from napari_emgauss.volume import export, grid_depths

Z_NM = np.arange(8) * 40.0
PLAN = cut((8, 130, 70), Z_NM, TileSize(70, 8, 5, 2))  # two depth windows, two tiles along y, one along x


@pytest.mark.parametrize("method", ["model", "distances", "nearest"])
def test_an_object_across_tiles_keeps_its_id_and_its_outline(
    write_tiles: Callable[..., Path], tmp_path: Path, method: CarryMethod
) -> None:
    model = load(write_tiles(tmp_path / "tiles", PLAN, Z_NM, lambda tile: 120.0), device="cpu")
    labels = np.zeros((8, 130, 70), np.uint32)
    labels[:, 10:120, 8:60] = 70_000  # through every tile
    labels[:, 60:68, 20:24] = 5
    labels[1:7] = 0  # two slices are labelled, in different windows of depth
    carried = CarriedLabels(label_slices(labels, model), model, method=method)
    assert carried.labels.labelled == (0, 7)
    path = tmp_path / "iso.ome.zarr"
    export(model, path, spacing_nm=20)
    export_labels(carried, path, name="cells")
    values = zarr.open_group(str(path), mode="r")["labels/cells/0"][:]
    # Nothing changes along z, and no tile shows anything that would move.
    np.testing.assert_array_equal(values, np.broadcast_to(labels[0], values.shape))
    back = bring_back(values, grid_depths(model, spacing_nm=20), model.z_nm)
    np.testing.assert_array_equal(back[[0, 7]], labels[[0, 7]])
