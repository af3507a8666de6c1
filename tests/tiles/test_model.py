from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_emgauss import DepthError, EmgaussModel, ModelFileError
from napari_emgauss.model import ModelConfig
from napari_emgauss.stack import Normalisation
from napari_emgauss.tiles import TiledModel, TileSize, cut, load
from napari_emgauss.tiles._index import TileIndex, write_index, write_tile

Z_NM = np.arange(8) * 40.0
PLAN = cut((8, 130, 70), Z_NM, TileSize(70, 8, 5, 2))  # two depth windows, two tiles along y, one along x


def by_rows(tile: object) -> float:
    return 40.0 + 100.0 * tile.index[1]


@pytest.fixture
def folder(tmp_path: Path, write_tiles: Callable[..., Path]) -> Path:
    return write_tiles(tmp_path / "model", PLAN, Z_NM, by_rows)


def test_tiles_are_blended_by_their_weights(folder: Path) -> None:
    image = TiledModel(folder).render(100.0)
    assert image.shape == (130, 70) and image.dtype == np.uint8
    rows = np.arange(130) + 0.5
    x = np.clip((rows - 59) / 12, 0, 1)  # the border is at 65, the fade three quarters of 8 pixels either way
    expected = 40 + 100 * x * x * (3 - 2 * x)
    assert np.abs(image[:, 33] - expected).max() <= 0.51


def test_depth_windows_are_blended_over_their_shared_slices(tmp_path: Path, write_tiles: Callable[..., Path]) -> None:
    folder = write_tiles(tmp_path / "model", PLAN, Z_NM, lambda tile: 40.0 + 100.0 * tile.index[0])
    assert PLAN.slices[0].fade_out == (120.0, 160.0)
    images = TiledModel(folder).render([0.0, 120.0, 140.0, 160.0, 280.0])
    assert images.shape == (5, 130, 70)
    assert images[:, 40, 40].tolist() == [40, 40, 90, 140, 140]
    assert np.ptp(images.reshape(5, -1), axis=1).max() == 0


def test_a_region_is_that_part_of_the_whole(folder: Path) -> None:
    model = TiledModel(folder)
    whole = model.render(30.0)
    assert np.array_equal(model.render(30.0, region=(50, 80, 10, 35)), whole[50:80, 10:35])


def test_a_region_can_be_sampled_coarser_and_finer_than_pixels(folder: Path) -> None:
    model = TiledModel(folder)
    coarse = model.render(30.0, shape=(4, 3))  # cells are larger than the overlap of tiles
    assert coarse.shape == (4, 3)
    assert coarse[:, 1].tolist() == [40, 40, 140, 140]
    fine = model.render(30.0, region=(64.5, 65.5, 10, 11), shape=(2, 1))
    assert fine[:, 0].tolist() == pytest.approx([90 - 100 * 1.5 / 12 * 0.25, 90 + 100 * 1.5 / 12 * 0.25], abs=1)


def test_only_tiles_in_view_are_read(folder: Path) -> None:
    model = TiledModel(folder)
    assert len(model.cache) == 0
    model.render(20.0, region=(0, 40, 0, 70))
    assert [tile.index for tile in model.tiles_at(20.0, (0, 40, 0, 70))] == [(0, 0, 0)]
    assert len(model.cache) == 1 and (0, 0, 0) in model.cache
    (folder / "tiles" / "z0001_y0001_x0000.safetensors").unlink()
    model.render(20.0)  # the missing one lies deeper


def test_tiles_show_slices_as_thick_as_their_models_do(tmp_path: Path) -> None:
    """One tile: what it shows is what its model shows, and not a plane."""
    z_nm = np.arange(4) * 40.0
    plan = cut((4, 20, 24), z_nm, TileSize(70, 8, 5, 2))
    models = []
    for thickness in (0.0, 1.0):
        config = ModelConfig(field="spline", thickness_gaps=thickness)
        torch.manual_seed(2)
        model = EmgaussModel(config, z_nm, (8.0, 8.0), (20, 24), Normalisation(0.0, 255.0, "uint8"), 90, device="cpu")
        with torch.no_grad():
            cloud = model.cloud_list[0]
            cloud.means.copy_(torch.rand(90, 2) * torch.tensor([24.0, 20.0]))
            cloud.values.copy_(torch.rand(cloud.values.shape))
            cloud.log_scales.fill_(0.7)
            for knot in cloud.field.parameters():
                knot.add_(0.5 * torch.randn(knot.shape))
        models.append(model)
    plane, thick = models
    thick.save(tmp_path / "one.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    index = TileIndex(plan, z_nm, (8.0, 8.0), thick.normalisation, {})
    (tile,) = plan
    write_index(
        folder, index.with_tile(tile, write_tile(folder, tile, (tmp_path / "one.safetensors").read_bytes(), 90))
    )
    depths = [0.0, 50.0, 120.0]
    shown = TiledModel(folder, device="cpu").render(depths)
    np.testing.assert_array_equal(shown, thick.render(depths))
    assert np.abs(shown.astype(int) - plane.render(depths)).max() > 3


def test_memory_for_tiles_is_bounded(folder: Path) -> None:
    one = TiledModel(folder)
    one.render(20.0, region=(0, 40, 0, 70))
    model = TiledModel(folder, cache_bytes=one.cache.nbytes)
    model.render(Z_NM)
    assert 0 < model.cache.nbytes <= one.cache.nbytes
    assert len(model.cache) == 1


@pytest.mark.parametrize("pixels", [3 * 130 * 70, 1000])  # three depths at once, and fourteen rows
def test_many_depths_come_out_as_one_by_one(folder: Path, monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    model = TiledModel(folder)
    depths = np.linspace(0, 280, 11)
    together = model.render(depths)
    monkeypatch.setattr("napari_emgauss.tiles._model._SCRATCH_PIXELS", pixels)
    in_batches = model.render(depths)
    assert np.array_equal(together, np.stack([model.render(float(z)) for z in depths]))
    assert np.array_equal(together, in_batches)


def test_threads_may_render_at_once(folder: Path) -> None:
    model = TiledModel(folder, cache_bytes=0)
    expected = model.render(130.0)
    start = threading.Barrier(3, timeout=20)

    def render(_: int) -> np.ndarray:
        start.wait()
        return model.render(130.0)

    with ThreadPoolExecutor(3) as pool:
        assert all(np.array_equal(image, expected) for image in pool.map(render, range(3)))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"z_nm": -1.0}, "outside the fitted volume"),
        ({"z_nm": float("nan")}, "outside the fitted volume"),
        ({"z_nm": 1.0, "region": (0, 131, 0, 5)}, "outside the fitted slices of 130 x 70"),
        ({"z_nm": 1.0, "region": (5, 5, 0, 5)}, "or empty"),
        ({"z_nm": 1.0, "shape": (0, 5)}, "at least one row"),
    ],
)
def test_what_lies_outside_is_refused(folder: Path, arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(DepthError, match=sentence):
        TiledModel(folder).render(**arguments)


def test_it_has_what_others_ask_of_a_model(folder: Path) -> None:
    model = TiledModel(folder)
    assert model.shape == (8, 130, 70)
    assert model.dtype == np.uint8
    assert model.z_nm.tolist() == Z_NM.tolist()
    assert model.pixel_size_nm == (8.0, 8.0)
    assert model.gaussian_count == 4 * 6
    assert model.provenance == {"name": "made by hand"}
    assert model.version == model.snapshot().version == 0


def test_a_lazy_volume_over_it_looks_at_the_tiles_in_view_only(folder: Path) -> None:
    from napari_emgauss.volume import LazyVolume

    model = TiledModel(folder)
    volume = LazyVolume(model)
    assert volume.shape == (36, 130, 70)
    assert np.array_equal(np.asarray(volume[2, 0:30]), model.render(float(volume.z_nm[2]))[:30])
    fresh = TiledModel(folder)
    np.asarray(LazyVolume(fresh)[2, 0:30])
    assert len(fresh.cache) == 1


def test_load_opens_folders_and_files(folder: Path) -> None:
    assert isinstance(load(folder), TiledModel)
    assert isinstance(load(folder / "index.json"), TiledModel)
    one = load(folder / "tiles" / "z0000_y0000_x0000.safetensors")
    assert isinstance(one, EmgaussModel) and one.shape == (5, 73, 70)
    with pytest.raises(ModelFileError, match="no model file"):
        load(folder / "nothing.safetensors")


def test_save_copies_the_folder(folder: Path, tmp_path: Path) -> None:
    model = TiledModel(folder)
    model.save(tmp_path / "copy")
    copy = TiledModel(tmp_path / "copy")
    assert np.array_equal(copy.render(55.0), model.render(55.0))
    assert (tmp_path / "copy" / "index.json").read_bytes() == (folder / "index.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "model"]
    with pytest.raises(ModelFileError, match="already exists"):
        model.save(tmp_path / "copy")


def test_an_unfinished_model_is_refused_unless_asked_for(tmp_path: Path, write_tiles: Callable[..., Path]) -> None:
    folder = write_tiles(tmp_path / "model", PLAN, Z_NM, lambda tile: 100.0 if tile.index[1] == 0 else None)
    with pytest.raises(ModelFileError, match="2 of 4 tiles are missing"):
        load(folder)
    image = TiledModel(folder, allow_incomplete=True).render(50.0)
    # The tile that is there is shown alone as far as it reaches, with its full grey value.
    assert image[:70, 5].tolist() == [100] * 70
    assert image[71:, 5].max() == 0


def test_new_tiles_of_a_running_fit_are_found(tmp_path: Path, write_tiles: Callable[..., Path]) -> None:
    folder = write_tiles(tmp_path / "model", PLAN, Z_NM, lambda tile: 100.0 if tile.index[1] == 0 else None)
    model = TiledModel(folder, allow_incomplete=True)
    assert not model.refresh()
    assert model.version == 0
    whole = write_tiles(tmp_path / "whole", PLAN, Z_NM, lambda tile: 100.0)
    for path in (whole / "tiles").iterdir():
        path.replace(folder / "tiles" / path.name)
    (whole / "index.json").replace(folder / "index.json")
    assert model.refresh()
    assert model.version == 1
    assert model.render(50.0)[:, 5].tolist() == [100] * 130


def test_a_damaged_tile_is_never_shown(folder: Path) -> None:
    path = folder / "tiles" / "z0000_y0001_x0000.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    model = TiledModel(folder)
    assert model.render(20.0, region=(0, 40, 0, 70)).shape == (40, 70)
    with pytest.raises(ModelFileError, match=r"y0001_x0000\.safetensors' was changed since it was written"):
        model.render(20.0)
    path.write_bytes(data[:100])
    with pytest.raises(ModelFileError, match="cut short"):
        model.render(20.0)
    path.unlink()
    with pytest.raises(ModelFileError, match="is missing: run the fit again"):
        model.render(20.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is damaged"),
        ("{}", "is damaged"),
        ('{"format": "something"}', "not a tiled EMGauss model but 'something'"),
        ('{"format": "napari-emgauss-tiles", "format_version": 99}', "newer napari-emgauss"),
    ],
)
def test_a_damaged_or_foreign_index_is_refused(folder: Path, text: str, sentence: str) -> None:
    (folder / "index.json").write_text(text)
    with pytest.raises(ModelFileError, match=sentence):
        TiledModel(folder)


def test_a_folder_without_index_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"has no index\.json"):
        load(tmp_path)


def test_it_travels_to_other_processes_as_its_folder(folder: Path) -> None:
    model = TiledModel(folder, cache_bytes=12345, device="cpu")
    expected = model.render(20.0)
    sent = pickle.dumps(model)
    assert len(sent) < 500
    again = pickle.loads(sent)
    assert (again.device, again.cache.max_bytes) == ("cpu", 12345)
    assert np.array_equal(again.render(20.0), expected)


def test_it_comes_out_as_a_dask_array(folder: Path) -> None:
    import dask.array as da

    from napari_emgauss.volume import LazyVolume

    model = TiledModel(folder)
    volume = da.from_array(LazyVolume(model), chunks=(4, 32, 64))
    assert volume.shape == (36, 130, 70)
    part = volume[7, 30:100].compute(scheduler="threads", num_workers=2)
    assert np.abs(part.astype(int) - model.render(7 * 8.0)[30:100]).max() <= 1
