"""Labels in files, read back by others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from ngff_zarr.validate import validate

from napari_emgauss._errors import ExportError
from napari_emgauss.labels import CarriedLabels, _carry as carrying, export_labels, label_slices
from napari_emgauss.volume import export, grid_depths

from .conftest import TubeModel


@pytest.fixture
def large() -> TubeModel:
    return TubeModel(lambda z: [(7, 100, 90 + z, 40), (70_000, 220, 200, 30)], size=(300, 280))


def carried(model: TubeModel) -> CarriedLabels:
    return CarriedLabels(label_slices(model.observed_labels(), model, name="neurites.tif"), model, method="distances")


@pytest.mark.parametrize("format", ["ome-zarr", "ome-zarr-0.5", "ome-zarr-0.6"])
def test_labels_go_beside_the_image(tmp_path: Path, large: TubeModel, format: str) -> None:
    path = tmp_path / "iso.ome.zarr"
    export(large, path, format=format)
    labels = carried(large)
    written = export_labels(labels, path)
    assert written == path / "labels" / "neurites"
    group = zarr.open_group(str(path), mode="r")
    image, made = group["0"], group["labels/neurites/0"]
    assert made.shape == image.shape and made.chunks == image.chunks and made.dtype == np.uint32
    np.testing.assert_array_equal(made[:], labels.render(grid_depths(large)))
    assert set(np.unique(group["labels/neurites/1"][:])) == {0, 7, 70_000}  # coarser levels invent no label
    listed = dict(group["labels"].attrs)
    about = dict(group["labels/neurites"].attrs)
    if format == "ome-zarr":
        assert listed["labels"] == ["neurites"] and about["image-label"]["source"]["image"] == "../../"
        mine, its = about["multiscales"][0], dict(group.attrs)["multiscales"][0]
    else:
        assert listed["ome"]["labels"] == ["neurites"] and "image-label" in about["ome"]
        mine, its = about["ome"]["multiscales"][0], dict(group.attrs)["ome"]["multiscales"][0]
    assert mine["datasets"] == its["datasets"]  # the same levels at the same places
    # The rules of NGFF itself, of the image of labels and of what makes it one.
    version = format.removeprefix("ome-zarr").removeprefix("-") or "0.4"
    for kind in ("image", "label"):
        validate(about, version, kind)
    with pytest.raises(ExportError, match="already exists"):
        export_labels(labels, path)
    export_labels(labels, path, name="again")
    again = dict(zarr.open_group(str(path / "labels"), mode="r").attrs)
    assert (again["labels"] if format == "ome-zarr" else again["ome"]["labels"]) == ["neurites", "again"]


def test_labels_of_another_grid_are_refused_and_leave_nothing(tmp_path: Path, large: TubeModel) -> None:
    path = tmp_path / "iso.ome.zarr"
    export(large, path, spacing_nm=2)
    with pytest.raises(ExportError, match="has 9 x 300 x 280 voxels, but the labels 17"):
        export_labels(carried(large), path, spacing_nm=1)
    assert not (path / "labels").exists()


def test_a_group_of_labels_that_was_there_stays_where_nothing_is_written(tmp_path: Path, large: TubeModel) -> None:
    path = tmp_path / "iso.ome.zarr"
    export(large, path)
    (path / "labels").mkdir()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_labels(carried(large), path, on_progress=stop)
    assert (path / "labels").is_dir() and not list((path / "labels").iterdir())


def test_labels_as_a_file_of_their_own(tmp_path: Path, large: TubeModel) -> None:
    labels = carried(large)
    export_labels(labels, tmp_path / "labels.ome.tif")
    read = tifffile.imread(tmp_path / "labels.ome.tif")
    assert read.dtype == np.uint32
    np.testing.assert_array_equal(read, labels.render(grid_depths(large)))


def test_large_slices_are_written_part_by_part(
    tmp_path: Path, large: TubeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = carried(large).render(grid_depths(large))
    monkeypatch.setattr(carrying, "_BLOCK", 100)
    monkeypatch.setattr(carrying, "_HALO", 96)
    prepared: list[int] = []
    prepare = CarriedLabels._prepare

    def counted(self: CarriedLabels, gap: int, *rest: object) -> object:
        prepared.append(gap)
        return prepare(self, gap, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(CarriedLabels, "_prepare", counted)
    labels = CarriedLabels(carried(large).labels, large, method="distances", cache_bytes=1)
    export_labels(labels, tmp_path / "labels.ome.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.ome.tif"), whole)
    # Nothing is kept in memory here, and still no part of a gap is prepared again for a whole new slice.
    assert len(prepared) == 2 * 9 * 7


@pytest.mark.parametrize(("highest", "expected"), [(200, "uint8"), (60_000, "uint16"), (2**31, "uint32")])
def test_a_type_that_the_format_lacks_becomes_the_smallest_that_holds_the_ids(
    tmp_path: Path, large: TubeModel, highest: int, expected: str
) -> None:
    values = np.where(large.observed_labels() == 70_000, highest, 7).astype(np.int64)
    labels = CarriedLabels(label_slices(values, large, labelled="0-2"), large, method="distances")
    notes: list[str] = []
    export_labels(labels, tmp_path / "labels.ome.tif", on_note=notes.append)
    read = tifffile.imread(tmp_path / "labels.ome.tif")
    assert read.dtype == expected and read.max() == highest
    assert notes == [f"OME-TIFF has no int64: the labels are written as {expected}, which holds all of them."]


def test_ids_that_a_format_cannot_hold_are_refused(tmp_path: Path, large: TubeModel) -> None:
    values = np.where(large.observed_labels() == 7, 2**40, 7).astype(np.int64)
    labels = CarriedLabels(label_slices(values, large, labelled="0-2"), large, method="distances")
    with pytest.raises(ExportError, match="reach from 0 to 1099511627776: choose another format, such as OME-Zarr"):
        export_labels(labels, tmp_path / "labels.ome.tif")
    assert not list(tmp_path.iterdir())


def test_labels_take_the_grid_levels_and_chunks_of_the_image(tmp_path: Path, large: TubeModel) -> None:
    path = tmp_path / "iso.ome.zarr"
    export(large, path, spacing_nm=2, z_range_nm=(4, 12))
    # Of somebody else, say: other chunks, and a level that halves rows and columns alone.
    image = zarr.open_group(str(path), mode="r+", zarr_format=2)
    levels = {"0": (5, 300, 280), "1": (5, 150, 140)}
    for name, shape in levels.items():
        del image[name]
        image.create_array(
            name, shape=shape, chunks=(2, 70, 80), dtype="u1", chunk_key_encoding={"name": "v2", "separator": "/"}
        )
    about = dict(image.attrs)["multiscales"][0]
    about["datasets"] = [about["datasets"][0], {**about["datasets"][0], "path": "1"}]
    image.attrs["multiscales"] = [about]
    labels = carried(large)
    export_labels(labels, path)
    group = zarr.open_group(str(path / "labels" / "neurites"), mode="r")
    assert sorted(group.array_keys()) == ["0", "1"]
    for name, shape in levels.items():
        assert group[name].shape == shape and group[name].chunks == (2, 70, 80)
    np.testing.assert_array_equal(group["0"][:], labels.render([4, 6, 8, 10, 12]))
    np.testing.assert_array_equal(group["1"][:], group["0"][:, ::2, ::2])


def test_the_image_of_another_model_is_refused(tmp_path: Path, large: TubeModel) -> None:
    path = tmp_path / "iso.ome.zarr"
    deeper = TubeModel(large.centres, depth=5, size=large.size)
    export(deeper, path)
    with pytest.raises(ExportError, match="reaches from 0 to 32 nm, but the model from 0 to 16 nm"):
        export_labels(carried(large), path)
    assert not (path / "labels").exists()


def test_labels_alone_are_replaced_and_not_put_into_each_other(tmp_path: Path, large: TubeModel) -> None:
    path = tmp_path / "alone.ome.zarr"
    labels = carried(large)
    export_labels(labels, path)
    with pytest.raises(ExportError, match="already exists"):
        export_labels(labels, path)
    assert export_labels(labels, path, overwrite=True) == path
    assert not (path / "labels").exists()


def test_a_zarr_without_an_image_is_refused(tmp_path: Path, large: TubeModel) -> None:
    zarr.open_group(str(tmp_path / "other.ome.zarr"), mode="w", zarr_format=2)
    with pytest.raises(ExportError, match="not an OME-Zarr with an image"):
        export_labels(carried(large), tmp_path / "other.ome.zarr")


def test_a_full_disk_is_told_before_a_gap_is_worked_out(
    tmp_path: Path, large: TubeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "_BLOCK", 100)
    monkeypatch.setattr(carrying, "_HALO", 96)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    with pytest.raises(ExportError, match="no room for the labels of a gap"):
        export_labels(carried(large), tmp_path / "labels.ome.tif")
    assert not list(tmp_path.iterdir())
