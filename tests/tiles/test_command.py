"""``emgauss plan`` and ``emgauss fit`` in tiles, as typed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from napari_emgauss import Stack, TiledModel, load, tiles
from napari_emgauss.cli import main
from napari_emgauss.tiles import STARTING_S, Slowness

QUICK = [
    *("--prior", "linear", "--seed", "3", "--device", "cpu", "--quiet"),
    *("--set", "warm_up_iterations=2", "--set", "joint_iterations=2", "--set", "teacher_student_iterations=3"),
    *("--set", "pixels_per_gaussian=40.0"),
]


@pytest.fixture
def file(small_stack: Stack, tmp_path: Path) -> str:
    path = tmp_path / "waves.tif"
    tifffile.imwrite(path, np.asarray(small_stack.slices), photometric="minisblack")
    return str(path)


VOXELS = ["--voxel-size", "40", "8", "8"]
TILES = ["--tile", "70", "--halo", "8", "--window", "4", "--overlap", "2"]


def test_plan_tells_tiles_memory_disk_and_time(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", file, *VOXELS, *TILES, "--no-measure"]) == 0
    text = capsys.readouterr().out
    assert "7 × 140 × 70 (uint8)" in text
    assert "6 (3 × 2 × 1 along z, y, x), the largest 4 × 78 × 70" in text
    names = ["stack", "tiles", "overlap", "memory", "disk", "time", "in", "the"]
    assert [line.split()[0] for line in text.splitlines()] == names
    assert "in one piece" in text and "without --no-measure on this one" in text


def test_plan_as_json_is_a_plan(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    from napari_emgauss.tiles import TilePlan

    assert main(["plan", file, *VOXELS, *TILES, "--workers", "2", "--json", "--no-measure"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(TilePlan.from_dict(told["plan"])) == told["estimate"]["tiles"] == 6
    assert told["workers"] == 2


def test_plan_with_too_little_memory_says_so(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", file, *VOXELS, "--memory", "100MB"]) == 2
    assert "0.1 GB is too little for a tile at a time: " in capsys.readouterr().err
    assert main(["plan", file, *VOXELS, "--memory", "800MB", "--workers", "1"]) == 2
    assert "0.8 GB is too little for 1 worker: " in capsys.readouterr().err
    assert main(["plan", file, *VOXELS, "--memory", "800MB", "--no-measure"]) == 0


def test_plan_tells_the_time_on_this_machine(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def measured(device: str, threads: int | None = None, *, networks: bool) -> Slowness:
        asked.append(networks)
        return Slowness(2.0, 3.0, 3.0) if threads == 1 else Slowness(20.0, 30.0, 30.0)

    def seconds(*more: str) -> tuple[float, float, float]:
        assert main(["plan", file, *VOXELS, *TILES, "--prior", "self:fast", "--json", *more]) == 0
        told = json.loads(capsys.readouterr().out)
        working = told["in_one_piece"]["seconds"] - STARTING_S  # which takes as long everywhere
        assert told["estimate"]["seconds"] > told["estimate"]["tile_seconds"] + STARTING_S
        return told["estimate"]["prior_seconds"], told["estimate"]["tile_seconds"], working

    monkeypatch.setattr(tiles, "measure_slowness", measured)
    theirs, ours = seconds("--no-measure"), seconds()
    # All cores learn the prior of all tiles, one fits a tile and asks that prior, all fit a stack in one piece.
    assert ours[0] == pytest.approx(30 * theirs[0])
    assert 2 * theirs[1] < ours[1] < 3 * theirs[1]
    assert 20 * theirs[2] < ours[2] < 30 * theirs[2]
    assert asked == [True, True]
    # Networks are not timed where there are none.
    seconds("--prior", "flow")
    assert asked[2:] == [False, False]


def test_plan_tells_what_a_training_that_ends_early_spares(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    note = "the shorter times are for stacks that a long training of the prior does nothing for"
    for prior, ranged in (("self", True), ("self:fast", False)):
        assert main(["plan", file, *VOXELS, *TILES, "--prior", prior, "--no-measure"]) == 0
        told = capsys.readouterr().out
        assert (note in told) == ranged
        for row in ("time", "in one piece"):
            (line,) = (line for line in told.splitlines() if line.startswith(row))
            assert (re.search(r"^\S.*?\d+ \w+ to \d+ \w+", line) is not None) == ranged, line


def test_fit_in_tiles_writes_a_folder_and_goes_on_with_it(
    file: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", file, *VOXELS, *TILES, *QUICK]) == 0
    assert "Wrote 'waves.emgauss' (6 tiles" in capsys.readouterr().err
    model = load("waves.emgauss")
    assert isinstance(model, TiledModel)
    assert model.provenance["fit"]["seed"] == 3
    written = (tmp_path / "waves.emgauss" / "index.json").read_bytes()
    (tmp_path / "waves.emgauss" / "tiles" / "z0001_y0001_x0000.safetensors").unlink()
    # Without a word about how to fit or cut, the folder's own ways are taken.
    assert main(["fit", file, *VOXELS, "--workers", "1", "-o", "waves.emgauss", "--quiet"]) == 0
    assert (tmp_path / "waves.emgauss" / "index.json").read_bytes() == written
    (tmp_path / "waves.emgauss" / "tiles" / "z0001_y0000_x0000.safetensors").unlink()
    assert main(["fit", file, *VOXELS, "-o", "waves.emgauss", "--quiet"]) == 0  # nor is one about tiles needed
    assert (tmp_path / "waves.emgauss" / "index.json").read_bytes() == written
    assert (tmp_path / "waves.emgauss" / "tiles" / "z0001_y0000_x0000.safetensors").exists()
    assert main(["fit", file, *VOXELS, *TILES, *QUICK, "--seed", "4"]) == 2
    assert "started with other settings (seed 3, not 4)" in capsys.readouterr().err
    assert main(["fit", file, *VOXELS, *TILES, *QUICK, "--seed", "4", "--force"]) == 0
    assert load("waves.emgauss").provenance["fit"]["seed"] == 4


def test_each_tile_that_is_being_fitted_is_shown(file: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    quick = [option for option in QUICK if option != "--quiet"]
    assert main(["fit", file, *VOXELS, *TILES, *quick, "-o", str(tmp_path / "model")]) == 0
    told = capsys.readouterr().err
    assert "6 tiles (3 x 2 x 1: z, y, x)." in told
    assert "Tile z0002_y0001_x0000: " in told
    assert "6/6" in told


def test_force_removes_nothing_but_tiles(file: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("years of work")
    assert main(["fit", file, *VOXELS, *TILES, *QUICK, "-o", str(tmp_path / "papers"), "--force"]) == 2
    assert "not a folder of tiles" in capsys.readouterr().err
    assert (tmp_path / "papers" / "thesis.txt").exists()


def test_force_costs_nothing_where_anything_is_wrong(
    file: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    assert main(["fit", file, *VOXELS, *TILES, *QUICK, "-o", str(folder)]) == 0

    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = content()
    again = ["fit", file, *VOXELS, *TILES, *QUICK, "-o", str(folder), "--force"]
    wrong = (
        ["fit", "mistyped.tif", *again[2:]],
        [*again, "--set", "nonsense=3"],
        [*again, "--scheduler", "tcp://127.0.0.1:1"],
        [*again, "--learn-shifts"],
        [*again, "--memory", "1MB"],
    )
    for arguments in wrong:
        assert main(arguments) == 2
        assert content() == before
    for name in ("notes.txt", "tiles/mine.txt", "tiles/z0009_y0000_x0000.safetensors", "papers/thesis.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
        capsys.readouterr()
        assert main(again) == 2
        assert f"also holds '{name}', which napari-emgauss did not write" in capsys.readouterr().err
        (folder / name).unlink()
        assert content() == before
    assert main([*again, "--seed", "4"]) == 0
    assert load(folder).provenance["fit"]["seed"] == 4


def test_a_folder_of_tiles_is_rendered_and_told_of_like_any_model(
    file: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = str(tmp_path / "model")
    assert main(["fit", file, *VOXELS, *TILES, *QUICK, "-o", folder]) == 0
    assert main(["render", folder, "--z", "100", "-o", str(tmp_path / "slice.tif"), "--device", "cpu"]) == 0
    assert np.array_equal(tifffile.imread(tmp_path / "slice.tif"), load(folder, device="cpu").render(100.0))
    assert main(["export", folder, "-o", str(tmp_path / "volume.ome.tif"), "--device", "cpu", "--quiet"]) == 0
    assert tifffile.imread(tmp_path / "volume.ome.tif").shape == (31, 140, 70)
    assert main(["info", folder]) == 0
    assert "EMGauss model" in capsys.readouterr().out


def test_a_fit_that_does_not_fit_into_memory_says_so_first(
    file: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10**8))
    assert main(["fit", file, *VOXELS, *QUICK, "-o", str(tmp_path / "a.safetensors")]) == 0
    assert "Warning: A single fit of this stack takes about" in capsys.readouterr().err
