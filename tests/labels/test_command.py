"""``emgauss labels`` and ``emgauss points`` from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from napari_emgauss.cli import main

MODEL = Path(__file__).parents[1] / "data" / "model.safetensors"  # 6 slices of 20 x 26, 40 nm apart, pixels of 8 nm


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    values = np.zeros((6, 20, 26), np.uint16)
    values[[0, 2, 4], 4:15, 5:17] = 300
    tifffile.imwrite(tmp_path / "labels.tif", values, photometric="minisblack")
    return tmp_path / "labels.tif"


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    return captured.err.strip().splitlines()[-1]


def test_up_and_down(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tifffile.imread(labels)
    assert main(["labels", str(MODEL), str(labels), "-o", "up.ome.tif", "-q", "--method", "distances"]) == 0
    up = tifffile.imread("up.ome.tif")
    assert up.shape == (26, 20, 26) and up.dtype == np.uint16
    np.testing.assert_array_equal(up[[0, 10, 20]], given[[0, 2, 4]])
    np.testing.assert_array_equal(up[5], given[0])  # the same square above and below
    assert not up[21:].any()  # behind the last labelled slice nothing is known
    assert main(["labels", str(MODEL), "up.ome.tif", "--down", "-o", "down.ome.tif"]) == 0
    np.testing.assert_array_equal(tifffile.imread("down.ome.tif")[[0, 2, 4]], given[[0, 2, 4]])


def test_labels_with_pixels_of_another_size_are_doubted(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They may be of another stack of the same shape; a file that says nothing of its pixels is not."""

    def told(size_nm: float | None, *arguments: str) -> str:
        meta = {} if size_nm is None else dict.fromkeys(("PhysicalSizeX", "PhysicalSizeY"), size_nm / 1000)
        given = tifffile.imread(labels)
        tifffile.imwrite("other.ome.tif", given, photometric="minisblack", metadata={"axes": "ZYX", **meta})
        assert main(["labels", str(MODEL), "other.ome.tif", "-o", "o.tif", "--force", "-q", *arguments]) == 0
        return capsys.readouterr().err

    doubt = "says that its pixels are 4 x 4 nm large, those of the stack are 8 x 8 nm"
    for door in (["--method", "nearest"], ["--down", "--spacing", "40"]):
        assert doubt in told(4.0, *door)
        assert "says that its pixels" not in told(8.0, *door) + told(None, *door)


def test_the_default_method_looks_at_the_model(labels: Path) -> None:
    assert main(["labels", str(MODEL), str(labels), "--z", "40", "100", "-o", "two.tif"]) == 0
    two = tifffile.imread("two.tif")
    assert two.shape == (2, 20, 26) and set(np.unique(two)) == {0, 300}
    assert (two[0, 6:13, 7:15] == 300).all()  # well within the square, whatever the picture shows


def test_into_the_image_s_zarr(labels: Path) -> None:
    assert main(["export", str(MODEL), "-o", "iso.ome.zarr", "-q"]) == 0
    command = ["labels", str(MODEL), str(labels), "-o", "iso.ome.zarr", "-q", "--method", "nearest", "--name", "cells"]
    assert main(command) == 0
    assert zarr.open_group("iso.ome.zarr", mode="r")["labels/cells/0"].shape == (26, 20, 26)


def test_the_image_says_which_grid_the_labels_beside_it_have(labels: Path) -> None:
    assert main(["export", str(MODEL), "-o", "iso.ome.zarr", "-q", "--z-range", "40", "160", "--spacing", "10"]) == 0
    command = ["labels", str(MODEL), str(labels), "-o", "iso.ome.zarr", "-q", "--method", "nearest"]
    assert main(command) == 0
    values = zarr.open_group("iso.ome.zarr", mode="r")["labels/labels/0"][:]
    np.testing.assert_array_equal(values[[4, 12]], tifffile.imread(labels)[[2, 4]])  # 80 and 160 nm


def test_a_volume_of_a_part_of_the_depth_comes_down(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tifffile.imread(labels)
    part = ("--z-range", "40", "160")
    assert main(["labels", str(MODEL), str(labels), "-o", "up.ome.tif", "-q", "--method", "nearest", *part]) == 0
    capsys.readouterr()
    down = ["labels", str(MODEL), "up.ome.tif", "--down", "-o", "down.ome.tif", "--unlabelled", "9", *part]
    assert main(down) == 0
    assert "The volume does not reach slices 0,5: they are 9." in capsys.readouterr().err
    found = tifffile.imread("down.ome.tif")
    assert (found[[0, 5]] == 9).all()
    np.testing.assert_array_equal(found[[2, 4]], given[[2, 4]])
    # The file of an export says itself where it lies.
    assert main([*down[:-3], "--force"]) == 0
    assert "'up.ome.tif' says that it reaches from 40 to 160 nm." in capsys.readouterr().err
    np.testing.assert_array_equal(tifffile.imread("down.ome.tif"), found)
    np.save("up.npy", tifffile.imread("up.ome.tif"))
    silent = ["labels", MODEL, "up.npy", "--down", "-o", "silent.ome.tif"]
    assert "has 16 slices, but the isotropic grid has 26: give the --spacing" in error_of(capsys, *silent)


def test_a_zarr_of_a_part_of_the_depth_comes_down(labels: Path) -> None:
    part = ["-q", "--method", "nearest", "--z-range", "40", "160"]
    assert main(["labels", str(MODEL), str(labels), "-o", "up.ome.zarr", *part]) == 0
    assert main(["labels", str(MODEL), "up.ome.zarr", "--down", "-o", "down.ome.tif"]) == 0
    np.testing.assert_array_equal(tifffile.imread("down.ome.tif")[[2, 4]], tifffile.imread(labels)[[2, 4]])


def test_ids_of_a_type_that_the_format_lacks(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tifffile.imread(labels).astype(np.int64)
    np.save("labels.npy", given)
    assert main(["labels", str(MODEL), "labels.npy", "-o", "up.ome.tif", "-q", "--method", "nearest"]) == 0
    assert "OME-TIFF has no int64: the labels are written as uint16" in capsys.readouterr().err
    np.testing.assert_array_equal(tifffile.imread("up.ome.tif")[[0, 10]], given[[0, 2]])
    up = np.repeat(given[[0]], 26, axis=0)
    np.save("up.npy", up)
    assert main(["labels", str(MODEL), "up.npy", "--down", "-o", "down.ome.tif"]) == 0
    assert tifffile.imread("down.ome.tif").dtype == np.uint16


def test_score(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["labels", str(MODEL), str(labels), "--score", "--method", "distances", "--json", "score.json", "-q"]
    assert main(command) == 0
    assert "distances  1.0000 (1.0000 to 1.0000)" in capsys.readouterr().out
    (found,) = json.loads(Path("score.json").read_text(encoding="utf-8"))
    assert found["hidden"] == [2] and found["methods"]["distances"]["voxels"]["mean"] == 1.0


def test_points_keep_their_other_columns(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("points.csv").write_text('index,axis-0,axis-1,axis-2,name\n0,2.5,3,4,"a, b"\n', encoding="utf-8")
    assert main(["points", str(MODEL), "points.csv", "-o", "out.csv", "--from", "slices", "--to", "grid"]) == 0
    expected = 'index,axis-0,axis-1,axis-2,name\n0,12.5,3,4,"a, b"\n'  # 100 nm, 8 nm a slice
    assert Path("out.csv").read_text(encoding="utf-8") == expected


def test_what_is_wrong_is_said_in_one_sentence(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say = error_of
    np.save("up.npy", np.zeros((26, 20, 26), np.uint8))
    assert "give a file with -o FILE, or add --score" in say(capsys, "labels", MODEL, labels)
    assert "choose one of them" in say(capsys, "labels", MODEL, labels, "--score", "--down", "-o", "x.tif")
    assert "is the labels" in say(capsys, "labels", MODEL, labels, "-o", labels, "--force")
    assert "is the model" in say(capsys, "labels", MODEL, labels, "-o", MODEL, "--force")
    tifffile.imwrite("grey.tif", np.zeros((6, 20, 26), np.float32), photometric="minisblack")
    assert "not labels" in say(capsys, "labels", MODEL, "grey.tif", "-o", "x.ome.tif")
    tifffile.imwrite("colour.tif", np.zeros((6, 20, 26, 3), np.uint8), photometric="rgb")
    assert "colour" in say(capsys, "labels", MODEL, "colour.tif", "-o", "x.ome.tif")
    tifffile.imwrite("empty.tif", np.zeros((6, 20, 26), np.uint8), photometric="minisblack")
    assert "no labelled slice: label at least two" in say(capsys, "labels", MODEL, "empty.tif", "-o", "x.ome.tif")
    assert "There is no channel 1" in say(capsys, "labels", MODEL, labels, "-o", "x.ome.tif", "--channel", 1)
    assert "uint16, which has no value -1" in say(capsys, "labels", MODEL, labels, "-o", "x.tif", "--unlabelled=-1")
    assert "no value -1" in say(capsys, "labels", MODEL, "up.npy", "--down", "-o", "x.tif", "--unlabelled=-1")
    tifffile.imwrite("few.tif", np.ones((6, 20, 20), np.uint8), photometric="minisblack")
    assert "6 x 20 x 26" in say(capsys, "labels", MODEL, "few.tif", "-o", "x.ome.tif")
    Path("bad.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    ways = ("--from", "nm", "--to", "grid")
    assert "name three of them z, y and x" in say(capsys, "points", MODEL, "bad.csv", "-o", "o.csv", *ways)
    Path("word.csv").write_text("z,y,x\n1,2,three\n", encoding="utf-8")
    assert "not a number" in say(capsys, "points", MODEL, "word.csv", "-o", "o.csv", *ways)
    assert not list(Path().glob("x.*")) and not Path("o.csv").exists()
