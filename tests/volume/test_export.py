"""Files out: what is in them, read back by other readers; and that nothing broken is ever left."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import ngff_zarr
import numpy as np
import pytest
import tifffile
import zarr

from napari_emgauss import ProgressUpdate
from napari_emgauss._errors import ConfigError, DepthError, ExportError
from napari_emgauss.stack import read_stack, read_voxel_size
from napari_emgauss.volume import export, export_format
from napari_emgauss.volume.formats import _levels, _registry, _tiff

from .conftest import AnalyticModel
from .writer_contract import plan_of

Make = Callable[..., AnalyticModel]
NAMES = ("a.ome.tif", "a.tif", "a.ome.zarr", "a.mrc")
PIXEL = (4.0, 3.0)
DEPTHS = 1000 + np.arange(0, 121, 5.0)


@pytest.fixture
def model(make_model: Make) -> AnalyticModel:
    return make_model(dtype="uint8", pixel_size_nm=PIXEL)


def test_ome_tiff(model: AnalyticModel, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    assert export(model, path, spacing_nm=5) == path
    with tifffile.TiffFile(path) as file:
        assert file.series[0].axes == "ZYX"
        assert not file.is_bigtiff
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        values = file.asarray()
    assert [pixels[f"PhysicalSize{axis}"] for axis in "ZYX"] == [5, 4, 3]
    assert {pixels[f"PhysicalSize{axis}Unit"] for axis in "ZYX"} == {"nm"}
    assert [plane["PositionZ"] for plane in pixels["Plane"]] == DEPTHS.tolist()
    np.testing.assert_array_equal(values, model.truth(DEPTHS))
    assert values.dtype == np.uint8


def test_imagej_tiff(model: AnalyticModel, tmp_path: Path) -> None:
    path = export(model, tmp_path / "a.tif", spacing_nm=5)
    with tifffile.TiffFile(path) as file:
        assert file.is_imagej
        metadata, page = file.imagej_metadata, file.pages[0]
        assert (metadata["spacing"], metadata["unit"], metadata["slices"]) == (5, "nm", 25)
        top, bottom = page.tags["XResolution"].value
        assert bottom / top == pytest.approx(3)
        top, bottom = page.tags["YResolution"].value
        assert bottom / top == pytest.approx(4)
        np.testing.assert_array_equal(file.asarray(), model.truth(DEPTHS))


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif"])
def test_our_own_reader_reads_it_back(model: AnalyticModel, tmp_path: Path, name: str) -> None:
    stack = read_stack(export(model, tmp_path / name, spacing_nm=5))
    assert stack.shape == (25, 6, 7)
    np.testing.assert_allclose(np.diff(stack.z_nm), 5)
    np.testing.assert_allclose(stack.pixel_size_nm, PIXEL)


def test_mrc(model: AnalyticModel, tmp_path: Path) -> None:
    path = export(model, tmp_path / "a.mrc", spacing_nm=5)
    assert mrcfile.validate(path)
    truth = model.truth(DEPTHS)
    with mrcfile.open(path) as file:
        assert (file.voxel_size.z, file.voxel_size.y, file.voxel_size.x) == (50, 40, 30)
        assert file.header.origin.z == 10000
        assert file.is_volume()
        assert file.data.dtype == np.uint16  # MRC has no unsigned bytes
        np.testing.assert_array_equal(file.data, truth)
        assert (file.header.dmin, file.header.dmax) == (truth.min(), truth.max())
        assert float(file.header.dmean) == pytest.approx(truth.mean(dtype=float))
        assert float(file.header.rms) == pytest.approx(truth.std(dtype=float))


@pytest.mark.parametrize(("format", "version"), [("ome-zarr", "0.4"), ("ome-zarr-0.5", "0.5"), ("ome-zarr-0.6", "0.6")])
def test_ome_zarr(make_model: Make, tmp_path: Path, format: str, version: str) -> None:
    model = make_model((4, 300, 201), pixel_size_nm=PIXEL)
    path = export(model, tmp_path / "a.ome.zarr", spacing_nm=5, format=format)
    images = ngff_zarr.from_ngff_zarr(str(path), validate=True, version=version).images
    assert [image.data.shape for image in images] == [(25, 300, 201), (25, 150, 101)]
    np.testing.assert_array_equal(np.asarray(images[0].data), model.truth(DEPTHS))
    assert images[0].scale == {"z": 5, "y": 4, "x": 3}
    assert images[0].translation == {"z": 1000, "y": 0, "x": 0}
    # z waits for y and x: a level of (10, 8, 6) nm would be as anisotropic as the first for no reason.
    assert images[1].scale == {"z": 5, "y": 8, "x": 6}
    assert images[1].translation == {"z": 1000, "y": 2, "x": 1.5}
    assert images[0].axes_units == dict.fromkeys("zyx", "nanometer")
    # The model is linear: a coarse voxel has the value at its own centre, away from the halved last cells.
    np.testing.assert_allclose(np.asarray(images[1].data)[:, :, :100], _linear(model, (25, 150, 100)), rtol=1e-6)


def _linear(model: AnalyticModel, shape: tuple[int, int, int]) -> Any:
    z, y, x = (np.arange(n) for n in shape)
    return model.value((1000 + 5 * z)[:, None, None], (1 + 2 * y)[:, None], 1 + 2 * x)


def test_ome_zarr_of_coarse_slices_halves_the_plane_first(make_model: Make, tmp_path: Path) -> None:
    model = make_model((3, 520, 300))
    path = export(model, tmp_path / "a.zarr", spacing_nm=16)
    group = zarr.open_group(str(path), mode="r")
    assert [group[name].shape for name in ("0", "1", "2")] == [(6, 520, 300), (6, 260, 150), (6, 130, 75)][:3]
    scales = [d["coordinateTransformations"][0]["scale"] for d in group.attrs["multiscales"][0]["datasets"]]
    assert scales == [[16, 4, 4], [16, 8, 8], [16, 16, 16]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_every_format_takes_every_type(make_model: Make, tmp_path: Path, name: str, dtype: str) -> None:
    model = make_model(dtype=dtype)
    path = export(model, tmp_path / name)
    truth = model.truth(1000 + np.arange(0, 121, 4.0))
    if name.endswith("zarr"):
        values = zarr.open_group(str(path), mode="r")["0"][:]
    elif name.endswith("mrc"):
        values = mrcfile.read(path)
    else:
        values = tifffile.imread(path)
    np.testing.assert_allclose(values, truth)
    if not name.endswith("mrc"):
        assert values.dtype == model.dtype


def test_voxel_size_is_the_true_one(make_model: Make, tmp_path: Path) -> None:
    model = make_model((3, 6, 7), step_nm=50.0, pixel_size_nm=(4.6, 4.6))
    path = export(model, tmp_path / "a.ome.tif")
    assert tifffile.imread(path).shape[0] == round(100 / 4.6) + 1
    assert read_voxel_size(path).z_nm == pytest.approx(100 / 22)


def test_z_range(model: AnalyticModel, tmp_path: Path) -> None:
    path = export(model, tmp_path / "a.ome.tif", spacing_nm=5, z_range_nm=(1015, 1030))
    np.testing.assert_array_equal(tifffile.imread(path), model.truth([1015, 1020, 1025, 1030]))


def test_plan_tells_the_size_before(model: AnalyticModel, tmp_path: Path) -> None:
    plan = plan_of(model, tmp_path / "a.ome.tif", spacing_nm=5)
    assert (plan.shape, plan.nbytes, plan.voxel_size_nm) == ((25, 6, 7), 25 * 6 * 7, (5, 4, 3))
    assert "25 x 6 x 7 uint8" in str(plan)
    assert list(tmp_path.iterdir()) == []


def test_formats_by_name(model: AnalyticModel, tmp_path: Path) -> None:
    names = {
        **{"a.ome.tif": "ome-tiff", "b.OME.TIFF": "ome-tiff", "c.tif": "imagej-tiff", "d.tiff": "imagej-tiff"},
        **{"e.zarr": "ome-zarr", "f.ome.zarr": "ome-zarr", "g.mrc": "mrc", "h.precomputed": "precomputed"},
    }
    for name, expected in names.items():
        assert plan_of(model, tmp_path / name).format == expected
    with pytest.raises(ExportError, match=r"end it in \.ome\.tif"):
        plan_of(model, tmp_path / "a.png")
    with pytest.raises(ConfigError, match="no export format 'png'"):
        plan_of(model, tmp_path / "a.tif", format="png")
    assert plan_of(model, tmp_path / "volume", format="mrc").format == "mrc"


def test_what_imagej_cannot_hold_becomes_ome(make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan_of(make_model(dtype="int16"), tmp_path / "a.tif").format == "ome-tiff"
    monkeypatch.setattr(_tiff, "CLASSIC_TIFF_BYTES", 1000)
    monkeypatch.setitem(_registry._FORMATS, "imagej-tiff", replace(export_format("imagej-tiff"), most_bytes=1000))
    model = make_model(dtype="uint8")
    path = export(model, tmp_path / "a.tif")
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        assert file.is_ome
        np.testing.assert_array_equal(file.asarray(), model.truth(1000 + np.arange(0, 121, 4.0)))


def test_filled_slices_are_marked(model: AnalyticModel, tmp_path: Path) -> None:
    model.provenance = {"stack": {"left_out_slices": [2]}, "name": "vnc"}  # type: ignore[attr-defined]
    path = export(model, tmp_path / "a.ome.tif")
    with tifffile.TiffFile(path) as file:
        about = json.loads(tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Description"])
    assert about["filled_slices"] == [2]
    assert about["observed_z_nm"] == [1000, 1040, 1080, 1120]
    path = export(model, tmp_path / "a.zarr")
    assert zarr.open_group(str(path), mode="r").attrs["multiscales"][0]["metadata"]["filled_slices"] == [2]


@pytest.mark.parametrize("name", NAMES)
def test_refuses_to_overwrite_unless_told(model: AnalyticModel, tmp_path: Path, name: str) -> None:
    path = export(model, tmp_path / name)
    with pytest.raises(ExportError, match="already exists"):
        export(model, path)
    model.offset, model.version = 20.0, 1
    export(model, path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    if name.endswith("zarr"):
        assert zarr.open_group(str(path), mode="r")["0"][0, 0, 0] == 122  # 100 + 20 + 2 * 0.5 + 3 * 0.5, to even
    elif name.endswith("tif"):
        assert tifffile.imread(path)[0, 0, 0] == 122


def test_a_folder_that_is_no_zarr_is_never_replaced(model: AnalyticModel, tmp_path: Path) -> None:
    precious = tmp_path / "a.zarr"
    precious.mkdir()
    (precious / "thesis.txt").write_text("x")
    with pytest.raises(ExportError, match=r"not OME-Zarr 0\.4 from napari-emgauss"):
        export(model, precious, overwrite=True)
    (tmp_path / "b.tif").mkdir()
    with pytest.raises(ExportError, match="is a folder"):
        export(model, tmp_path / "b.tif", overwrite=True)
    assert (precious / "thesis.txt").read_text() == "x"


class Cancelled(Exception):
    """Raised by a progress callback."""


@pytest.mark.parametrize("name", NAMES)
def test_cancel_leaves_nothing(model: AnalyticModel, tmp_path: Path, name: str) -> None:
    def stop(update: ProgressUpdate) -> None:
        if (update.fraction or 0.0) > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        export(model, tmp_path / name, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_tells_every_slice(model: AnalyticModel, tmp_path: Path) -> None:
    told: list[tuple[float | None, str]] = []
    export(
        model, tmp_path / "a.tif", spacing_nm=40, on_progress=lambda update: told.append((update.fraction, update.text))
    )
    assert told[0] == (0.0, "0 of 4 slices")
    assert told[-1] == (1.0, "4 of 4 slices")
    assert [f for f, _ in told] == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("40 requested and 16 written")])
def test_a_full_disk_leaves_nothing(model: AnalyticModel, tmp_path: Path, name: str, error: OSError) -> None:
    def full(update: ProgressUpdate) -> None:
        if (update.fraction or 0.0) > 0.5:
            raise error

    with pytest.raises(ExportError, match="could not be written: the disk is full"):
        export(model, tmp_path / name, on_progress=full)
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_told_before(model: AnalyticModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 100})())
    with pytest.raises(ExportError, match=r"needs 0\.00 MB"):
        export(model, tmp_path / "a.tif")
    assert model.boxes == []


def test_an_old_file_survives_a_failed_overwrite(model: AnalyticModel, tmp_path: Path) -> None:
    path = export(model, tmp_path / "a.tif")
    before = path.read_bytes()

    def stop(update: ProgressUpdate) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        export(model, path, overwrite=True, on_progress=stop)
    assert path.read_bytes() == before


def test_no_folder(model: AnalyticModel, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not exist: create it first"):
        export(model, tmp_path / "none" / "a.tif")


def test_bad_range(model: AnalyticModel, tmp_path: Path) -> None:
    with pytest.raises(DepthError, match="1000 to 1120 nm"):
        export(model, tmp_path / "a.tif", z_range_nm=(900, 1100))
    with pytest.raises(ConfigError, match="two depths"):
        export(model, tmp_path / "a.tif", z_range_nm=(1000,))


def test_mrc_has_no_room_for_channels(model: AnalyticModel, tmp_path: Path) -> None:
    model.channels = 2  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="one grey value per voxel, but this model has 2 channels: choose one"):
        export(model, tmp_path / "a.mrc")


def test_slices_are_rendered_in_batches_of_bounded_size(make_model: Make, tmp_path: Path) -> None:
    model = make_model((12, 6, 7))
    export(model, tmp_path / "a.tif")
    assert max(box[0] for box in model.boxes) == 16
    assert sum(box[0] for box in model.boxes) == 111


def test_ome_zarr_of_wide_slices_keeps_few_of_them(
    make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model((12, 261, 263))
    usual = export(model, tmp_path / "usual.ome.zarr")
    plane = 261 * 263 * model.dtype.itemsize
    monkeypatch.setattr(_levels, "_WAITING_BYTES", 5 * plane)
    monkeypatch.setattr(_levels, "_MEAN_PIXELS", 40 * 263)  # a slice in seven parts
    bounded = export(model, tmp_path / "bounded.ome.zarr")
    levels = sorted(zarr.open_group(str(usual), mode="r").array_keys())
    assert len(levels) > 1
    for level in levels:
        one, other = (zarr.open_array(str(path / level), mode="r") for path in (usual, bounded))
        assert other.chunks[0] * other.shape[1] * other.shape[2] * model.dtype.itemsize <= 5 * plane
        np.testing.assert_array_equal(one[:], other[:])
    assert zarr.open_array(str(bounded / "0"), mode="r").chunks[0] == 4
