"""A folder of tiles in the window: opened, shown, saved and exported like a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_emgauss import TileSize, load
from napari_emgauss.plugin._reader import get_reader
from napari_emgauss.plugin.process._export_child import ExportRequest
from napari_emgauss.plugin.process._export_job import export_job
from napari_emgauss.plugin.process._job import JobDone
from napari_emgauss.plugin.process._remote_model import RemoteModel
from napari_emgauss.tiles import cut
from napari_emgauss.tiles._index import TileIndex, write_index, write_tile


@pytest.fixture
def folder(model_file: Path, tmp_path: Path) -> Path:
    """The small model as a folder with one tile."""
    model = load(model_file, device="cpu")
    path = tmp_path / "block.emgauss"
    path.mkdir()
    plan = cut(model.shape, model.z_nm, TileSize())
    index = TileIndex(plan, model.z_nm, model.pixel_size_nm, model.normalisation, {"name": "a stack"})
    tile = plan.tile((0, 0, 0))
    write_index(path, index.with_tile(tile, write_tile(path, tile, model_file.read_bytes(), model.gaussian_count)))
    return path


def test_a_folder_of_tiles_becomes_a_layer(folder: Path, service: object) -> None:
    reader = get_reader(str(folder))
    assert reader is not None
    ((levels, keywords, kind),) = reader(str(folder))
    assert kind == "image" and keywords["name"] == "block"
    assert np.array_equal(np.asarray(levels[0][9]), load(folder, device="cpu").render(float(levels[0].z_nm[9])))


def test_other_folders_are_not_ours(tmp_path: Path) -> None:
    assert get_reader(str(tmp_path)) is None


def test_saving_copies_the_folder(folder: Path, service: Any, tmp_path: Path) -> None:
    model = RemoteModel.open(service, folder)
    assert model.info.gaussians == 60 and model.info.channels == 1
    model.save(tmp_path / "copy.emgauss")
    assert np.array_equal(load(tmp_path / "copy.emgauss", device="cpu").render(40.0), model.render(40.0))


def test_exporting_leaves_the_folder_where_it_is(folder: Path, service: Any, tmp_path: Path) -> None:
    model = RemoteModel.open(service, folder)
    job = export_job(model, ExportRequest(str(tmp_path / "volume.ome.tif"), 40.0, dtype="uint16", device="cpu"))
    assert isinstance([message for message in job.messages() if message is not None][-1], JobDone)
    assert np.array_equal(load(folder, device="cpu").render(40.0), model.render(40.0))
    assert tifffile.imread(tmp_path / "volume.ome.tif").dtype == np.uint16
