"""``emgauss repair``: what is good stays byte for byte, what was missing or damaged is filled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_emgauss.cli import main
from napari_emgauss.stack import read_stack
from napari_emgauss.tiles import load

TINY = ["--preset", "fast", "--prior", "linear", "--iterations-scale", "0.002", "-q"]
SHAPE = (8, 24, 28)


def grey_values() -> NDArray[np.uint8]:
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    noise = np.random.default_rng(0).integers(0, 30, SHAPE)
    values = (110 + 60 * np.sin(0.2 * z + 0.4 * x) * np.cos(0.3 * y) + noise).astype(np.uint8)
    values[3] = 0  # a lost section
    return values


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    sizes: dict[str, Any] = {"PhysicalSizeZ": 40, "PhysicalSizeY": 5, "PhysicalSizeX": 5}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "ZYX"}
    tifffile.imwrite("stack.ome.tif", grey_values(), metadata={"axes": "ZYX", **sizes, **units})
    damage = np.zeros(SHAPE, np.uint8)
    damage[5, 4:10, 6:16] = 1
    np.save("damage.npy", damage)
    return tmp_path


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["repair", *arguments]) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return told.strip().splitlines()[-1]


@pytest.mark.parametrize("skip", ["3", "auto"])
def test_bad_slices_and_pixels_are_filled_and_no_other(
    here: Path, capsys: pytest.CaptureFixture[str], skip: str
) -> None:
    damage = ["--damage-mask", "damage.npy"]
    assert main(["repair", "stack.ome.tif", "-o", "r.ome.tif", "--skip", skip, *damage, "--mask", "m.tif", *TINY]) == 0
    told = capsys.readouterr().err
    assert "Slices filled completely: 1; in part: 1; unchanged: 6" in told
    assert ("Slice 3 is filled: it is black" in told) == (skip == "auto")
    before, after = read_stack("stack.ome.tif", allow_damaged=True), read_stack("r.ome.tif")
    assert (after.shape, after.slices.dtype, after.pixel_size_nm) == (SHAPE, np.uint8, before.pixel_size_nm)
    np.testing.assert_allclose(after.z_nm, before.z_nm)
    filled = np.load("damage.npy") != 0
    filled[3] = True
    values = np.asarray(after.slices[:])
    np.testing.assert_array_equal(values[~filled], grey_values()[~filled])
    assert values[3].min() > 9, "a picture, not black"
    np.testing.assert_array_equal(tifffile.imread("m.tif"), filled)
    np.testing.assert_array_equal(tifffile.imread("stack.ome.tif"), grey_values())


def test_a_given_model_fills_if_it_was_fitted_to_the_same(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["stack.ome.tif", "-o", "r.ome.tif", "--model", "m.safetensors"]
    assert main(["fit", "stack.ome.tif", "-o", "m.safetensors", "--skip", "3", "--even-out", *TINY]) == 0
    assert "model was fitted to other slices" in error_of(capsys, *given, "--skip", "3,4")
    assert "another damage mask" in error_of(capsys, *given, "--skip", "3", "--damage-mask", "damage.npy")
    assert "leave out either it or the options of the fit" in error_of(
        capsys, *given, "--skip", "3", "--preset", "fast"
    )
    assert main(["repair", *given, "--skip", "3", "-q"]) == 0
    values, model = tifffile.imread("r.ome.tif"), load("m.safetensors", device="cpu")
    np.testing.assert_array_equal(np.delete(values, 3, 0), np.delete(grey_values(), 3, 0))
    # Filled in the brightness of its neighbours as they are in the file.
    gain, offset = (np.mean(line) for line in np.array(model.provenance["stack"]["intensity_lines"])[2:4].T)
    expected = (model.render(120.0).astype(float) - offset) / gain
    np.testing.assert_allclose(values[3], expected, atol=1.0)


def test_what_cannot_work_is_told_before_the_fit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack = ["stack.ome.tif", "-o", "r.ome.tif", *TINY]
    good = grey_values()
    good[3] = good[2]
    tifffile.imwrite("plain.tif", grey_values()[4:], photometric="minisblack")
    sizes = ["--voxel-size", "40", "5", "5"]
    assert "There is nothing to fill" in error_of(capsys, "plain.tif", "-o", "r.tif", *sizes, *TINY)
    assert "Slice 0 cannot be filled" in error_of(capsys, *stack, "--skip", "0,3")
    assert "never overwritten" in error_of(capsys, "stack.ome.tif", "-o", "stack.ome.tif", "--skip", "3", "--force")
    assert "written twice" in error_of(capsys, *stack, "--skip", "3", "--mask", "r.ome.tif")
    assert "end it in .ome.tif" in error_of(capsys, "stack.ome.tif", "-o", "r.docx", "--skip", "3")
    for more in (["--straighten"], ["--even-out", "histogram"]):
        assert "cannot stay as they are" in error_of(capsys, *stack, "--skip", "3", *more)
    assert "cannot stay as they are" in error_of(capsys, *stack, "--skip", "3", "--set", "slice_shifts=true")
    wide = good.astype(np.float64)
    np.save("wide.npy", wide)
    told = error_of(capsys, "wide.npy", "-o", "r.mrc", "--skip", "3", *sizes, *TINY)
    assert "would not be kept as they are" in told
    assert {path.name for path in here.iterdir()} == {"stack.ome.tif", "damage.npy", "plain.tif", "wide.npy"}
