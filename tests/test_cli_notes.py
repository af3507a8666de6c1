"""What was assumed of a file, or left out of it, is told by every command; progress suits where it is shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_emgauss.cli import main
from napari_emgauss.cli._progress import ProgressDisplay

VALUES = np.random.default_rng(3).integers(1, 255, (9, 24, 32), dtype=np.uint8)
SIZE = ["--voxel-size", "40", "5", "5"]
NOTE = "Note: the file numbers skip 5: the missing slices keep their places in depth."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "em"
    path.mkdir()
    for k, image in enumerate(VALUES):
        if k != 5:
            tifffile.imwrite(path / f"{k:03d}_aligned_v2.tif", image)
    return path


@pytest.mark.parametrize(
    "command",
    [
        ["check"],
        ["plan", "--prior", "linear", "--no-measure"],
        ["score", "--methods", "linear", "-q"],
        ["fit", "-q", "--prior", "linear", "--iterations-scale", "0.001", "-o", "m.safetensors"],
    ],
)
def test_notes_are_told_by_every_command(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *options = command
    assert main([name, str(folder), *SIZE, *options]) == 0
    assert capsys.readouterr().err.count(NOTE) == 1


def test_evaluate_tells_them_of_its_volume(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["evaluate", str(folder), "--factor", "2", "--methods", "linear", "-q", "--voxel-size", "5", "5", "5"])
        == 0
    )
    assert NOTE in capsys.readouterr().err


def test_what_is_known_is_told_without_a_voxel_size(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "8, 24, 32" in said and "skip 5" in said
    assert "voxel size is unknown" in said and "--voxel-size Z Y X" in said
    assert "nm)" not in said  # no length that nobody knows
    assert main(["check", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "of 8 slices look good" in said and "voxel size is unknown" in said
    assert main(["check", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [NOTE.removeprefix("Note: ").removesuffix(".")]
    assert main(["check", str(folder), "--thickness"]) == 2


def test_a_distance_between_slices_counts_missing_ones(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder), *SIZE, "--slice-distance", "40", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["depths (nm)"] == [0, 320] and facts["slice distance (nm)"] == [40, 80]


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    said = capsys.readouterr().err
    assert "\r" not in said
    return said.splitlines()


def test_a_log_gets_a_line_every_tenth_or_minute(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with ProgressDisplay("fit", clock=lambda: now) as display:
        for step in range(101):
            now += 0.5
            display.tell(step / 100, f"step {step}")
        display.say("once")
        display.say("once")
    assert lines_of(capsys) == [f"fit: {k} %, step {k}" for k in range(10, 101, 10)] + ["once"]
    now = 0.0
    with ProgressDisplay("fit", clock=lambda: now) as display:
        for step in range(10):
            now += 25.0
            display.tell(None, f"step {step}", stage="prior")
    # One a minute, and how far it came in the end.
    assert lines_of(capsys) == ["prior: step 2", "prior: step 5", "prior: step 8", "prior: step 9"]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay("fit", quiet=True) as display:
        display.tell(0.5)
        display.say("text")
    assert lines_of(capsys) == []


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with ProgressDisplay("fit") as display:
        display.tell(0.5, "half", stage="joint")
    said = capsys.readouterr().err
    assert "\r" in said and "fit:" in said
    monkeypatch.setenv("TERM", "dumb")
    with ProgressDisplay("fit") as display:
        display.tell(0.5, "half")
    assert lines_of(capsys) == ["fit: 50 %, half"]
