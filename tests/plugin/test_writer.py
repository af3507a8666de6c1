from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.layers import Image

from napari_emgauss import ExportError
from napari_emgauss.plugin._reader import get_reader
from napari_emgauss.plugin._writer import ome_sizes, write_ome_tiff
from napari_emgauss.plugin.view._layer_voxel_size import read_file_voxel_size


def _write(layer: Image, path: Path) -> str:
    data, meta, _ = layer.as_layer_data_tuple()
    (written,) = write_ome_tiff(str(path), data, meta)
    return written


@pytest.mark.parametrize(
    ("scale", "units"),
    [((40, 4, 5), ("nm",) * 3), ((0.04, 0.004, 0.005), ("um",) * 3), ((40, 4, 5), ("pixel",) * 3)],
)
def test_the_voxel_size_comes_back(values: np.ndarray, tmp_path: Path, scale: tuple, units: tuple) -> None:
    path = tmp_path / "a.ome.tif"
    _write(Image(values.astype(np.uint16) * 200, scale=scale, units=units), path)
    np.testing.assert_array_equal(tifffile.imread(path), values.astype(np.uint16) * 200)
    found = read_file_voxel_size(str(path))
    assert (found.z_nm, found.y_nm, found.x_nm) == pytest.approx((40, 4, 5))
    assert [one.name for one in tmp_path.iterdir()] == ["a.ome.tif"]


def test_an_unknown_voxel_size_stays_unknown(values: np.ndarray, tmp_path: Path) -> None:
    assert ome_sizes({"scale": (1, 1, 1), "units": ("pixel",) * 3}) == {}
    _write(Image(values), tmp_path / "a.ome.tif")
    assert read_file_voxel_size(str(tmp_path / "a.ome.tif")) is None


def test_the_finest_level_is_written(values: np.ndarray, tmp_path: Path) -> None:
    _write(Image([values, values[:, ::2, ::2]], multiscale=True), tmp_path / "a.ome.tif")
    assert tifffile.imread(tmp_path / "a.ome.tif").shape == values.shape


def test_a_continuous_layer_is_written_as_it_is_rendered(model_file: Path, tmp_path: Path, service: object) -> None:
    data, keywords, _ = get_reader(str(model_file))(str(model_file))[0]
    layer = Image(data, **keywords)
    path = _write(layer, tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(tifffile.imread(path)[9], np.asarray(data[0][9]))
    found = read_file_voxel_size(path)
    assert (found.z_nm, found.y_nm, found.x_nm) == pytest.approx((40 / 9, 4, 5))


@pytest.mark.parametrize("shape", [(24, 32), (2, 5, 24, 32)])
def test_what_is_no_volume_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ExportError, match="Only grey volumes"):
        _write(Image(np.zeros(shape, np.uint8)), tmp_path / "a.ome.tif")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_told(values: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not exist"):
        _write(Image(values), tmp_path / "no folder" / "a.ome.tif")


def test_no_layer_is_written_over_its_own_source(
    values: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.components import ViewerModel

    own, other = tmp_path / "own.ome.tif", tmp_path / "other.ome.tif"
    tifffile.imwrite(own, values)
    before = own.read_bytes()
    viewer = ViewerModel()
    (layer,) = viewer.open(own, plugin="napari")
    monkeypatch.setattr("napari_emgauss.plugin.view._viewers.viewers", lambda: [viewer])
    link = tmp_path / "link.ome.tif"
    link.symlink_to(own)
    for path in (own, link):
        with pytest.raises(ExportError, match="which an open layer was read from: choose another name"):
            _write(layer, path)
    mapped = Image(np.memmap(own, np.uint8, "r", len(before) - values.size, values.shape)[1:])
    viewer.layers.clear()
    with pytest.raises(ExportError, match="choose another name"):
        _write(mapped, own)
    assert own.read_bytes() == before
    _write(layer, other)
    np.testing.assert_array_equal(tifffile.imread(other), values)


def test_a_fitted_layer_is_not_written_over_its_stack(model_file: Path, tmp_path: Path, service: object) -> None:
    data, keywords, _ = get_reader(str(model_file))(str(model_file))[0]
    stack = tmp_path / "stack.ome.tif"
    stack.write_bytes(b"a stack")
    layer = Image(data, **keywords)
    layer.metadata["emgauss"].model.provenance["source"] = str(stack)
    with pytest.raises(ExportError, match="choose another name"):
        _write(layer, stack)
    assert stack.read_bytes() == b"a stack"
