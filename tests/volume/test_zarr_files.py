"""Only an OME-Zarr that an export wrote, and only what it wrote of it, is ever replaced."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import zarr

from napari_emgauss._errors import ExportError
from napari_emgauss.volume import export
from napari_emgauss.volume.formats._zarr_files import owned_zarr

from .conftest import AnalyticModel


@pytest.fixture
def model() -> AnalyticModel:
    return AnalyticModel(dtype="uint8", pixel_size_nm=(4.0, 5.0))


@pytest.fixture(params=["ome-zarr", "ome-zarr-0.5"])
def written(request: pytest.FixtureRequest, model: AnalyticModel, tmp_path: Path) -> Path:
    return export(model, tmp_path / "a.ome.zarr", format=request.param)


def test_all_that_an_export_wrote_is_ours(written: Path) -> None:
    owned = owned_zarr(written)
    assert owned is not None and owned.foreign() is None
    owned.clear()
    assert not written.exists()


@pytest.mark.parametrize(
    "name", ["notes.txt", "labels/0/0", "0/9/9/9", "0/c/9/9/9", "0/00/0/0", "0/notes", "9/0/0/0", "0/0/0/0.npy", ".x"]
)
def test_a_foreign_file_keeps_the_folder_and_itself(model: AnalyticModel, written: Path, name: str) -> None:
    (written / name).parent.mkdir(parents=True, exist_ok=True)
    (written / name).write_text("mine")
    count = len(list(written.rglob("*")))
    form = "ome-zarr-0.5" if (written / "zarr.json").exists() else "ome-zarr"
    with pytest.raises(ExportError, match=f"also holds '{name}', which napari-emgauss did not write"):
        export(model, written, format=form, overwrite=True)
    assert len(list(written.rglob("*"))) == count
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_a_zarr_of_somebody_else_is_never_replaced(model: AnalyticModel, tmp_path: Path) -> None:
    target = tmp_path / "a.ome.zarr"
    zarr.open_group(str(target), mode="w", zarr_format=2).create_array("0", shape=(3, 4, 4), dtype="u1")
    for attributes in ({}, {"multiscales": []}, {"multiscales": [{"metadata": {"method": "mean"}}]}):
        (target / ".zattrs").write_text(json.dumps(attributes))
        with pytest.raises(ExportError, match="not OME-Zarr"):
            export(model, target, overwrite=True)


def test_a_link_in_the_place_of_a_chunk_is_foreign(written: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    chunk = next(path for path in written.rglob("0") if path.is_file())
    chunk.unlink()
    chunk.symlink_to(tmp_path / "precious")
    owned = owned_zarr(written)
    assert owned is not None and owned.foreign() == chunk


def test_what_tells_what_is_ours_goes_last(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    unlink = Path.unlink

    def record(self: Path, missing_ok: bool = False) -> None:
        gone.append(self.name)
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", record)
    owned = owned_zarr(written)
    assert owned is not None
    owned.clear()
    tells = [name.startswith(".z") or name == "zarr.json" for name in gone]
    assert tells == sorted(tells) and True in tells and False in tells


def test_an_export_never_replaces_the_stack_that_its_model_was_fitted_to(model: AnalyticModel, tmp_path: Path) -> None:
    raw = tmp_path / "raw.tif"
    raw.write_bytes(b"raw")
    (tmp_path / "link.tif").symlink_to(raw)
    model.provenance = {"source": str(raw)}  # type: ignore[attr-defined]
    for target in (raw, tmp_path / "link.tif"):
        with pytest.raises(ExportError, match="is the stack that the model was fitted to"):
            export(model, target, overwrite=True)
    assert raw.read_bytes() == b"raw"


def test_a_folder_that_was_copied_is_as_much_ours(model: AnalyticModel, written: Path, tmp_path: Path) -> None:
    copied = tmp_path / "b.ome.zarr"
    shutil.copytree(written, copied)
    export(model, copied, overwrite=True)
    assert owned_zarr(copied) is not None
