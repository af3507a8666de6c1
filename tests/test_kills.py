"""Commands that are killed at random points: never a half file, never a lost state, and the next run clears up.

Kills come after a random time, the same on every run of the tests; where in the work they fall is up to the machine. A
killed command must leave what was there before, or the whole result; a command that is asked to end must leave
nothing half-written.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_emgauss._parts import is_part
from napari_emgauss.cli import main
from napari_emgauss.stack import read_stack

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

QUICK = [
    *("--prior", "linear", "--device", "cpu", "--quiet", "--set", "pixels_per_gaussian=40.0"),
    *("--set", "warm_up_iterations=20", "--set", "joint_iterations=20", "--set", "teacher_student_iterations=160"),
]
TILES = ["--tile", "70", "--halo", "8"]
LIBRARIES = "import sys, time; from napari_emgauss.cli import main; import napari_emgauss.tiles, napari_emgauss.volume"
# What makes a command last, and tell when it is at work: a line of output for each slice, or step.
SLOW_EXPORT = """
import napari_emgauss.volume._export as _export
from napari_emgauss.render import EmgaussModel
render = EmgaussModel.render
def slow(self, *arguments, **more):
    print("at work", flush=True)
    time.sleep(0.2)
    return render(self, *arguments, **more)
EmgaussModel.render = slow
_export._BATCH_BYTES = 1
"""
SLOW_FIT = """
import napari_emgauss.fitting._fit as _fit
from napari_emgauss.fitting._trainer import Trainer
step = Trainer.step
def slow(self):
    print("at work", flush=True)
    time.sleep(0.02)
    return step(self)
Trainer.step = slow
"""
# A state is written as soon as the last one is, so that a kill falls into the writing of one.
OFTEN = """
import napari_emgauss.fitting._keeper as _keeper
assert _keeper.INTERVAL_S and _keeper.WRITING_SHARE
_keeper.INTERVAL_S, _keeper.WRITING_SHARE = 0.0, 1e9
"""


def write_stack(path: Path, width: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 24, width), dtype=np.uint8)
    sizes = {f"PhysicalSize{axis}": nm for axis, nm in zip("XYZ", (8, 8, 40), strict=True)}
    tifffile.imwrite(path, images, metadata={"axes": "ZYX", **sizes, **{f"{name}Unit": "nm" for name in sizes}})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack, a wide one, and a model of the first."""
    from napari_emgauss.fitting import preset, run_fit

    folder = tmp_path_factory.mktemp("made")
    write_stack(folder / "raw.ome.tif", 30)
    write_stack(folder / "wide.ome.tif", 150)
    config = preset("fast", prior="linear", device="cpu", iterations_scale=0.02, pixels_per_gaussian=40.0)
    run_fit(read_stack(folder / "raw.ome.tif"), config).save(folder / "model.safetensors")
    return folder


def start(folder: Path, arguments: list[str], *before: str) -> subprocess.Popen[bytes]:
    """Start a command and wait until it is at work."""
    code = "\n".join([LIBRARIES, *before, f"sys.exit(main({arguments!r}))"])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder.parent / "told").open("wb") as told:
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, stderr=told, env=environment
        )
    assert process.stdout is not None and process.stdout.readline() == b"at work\n", told_in(folder)
    return process


def told_in(folder: Path) -> str:
    """What the command that ran last in a folder told on stderr."""
    return (folder.parent / "told").read_text(encoding="utf-8")


def end(process: subprocess.Popen[bytes], number: int, after_s: float) -> int:
    """Send a signal after a while; the exit code."""
    time.sleep(after_s)
    process.send_signal(number)
    process.communicate(timeout=120)
    return process.returncode


def parts_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if is_part(path.name))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


FORMATS = ["v.ome.tif", "v.tif", "v.ome.zarr", "v.mrc"]


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_that_is_killed_leaves_the_old_file_and_the_next_one_sweeps(
    made: Path, here: Path, name: str
) -> None:
    arguments = ["export", str(made / "model.safetensors"), "-o", name, "-q", "--device", "cpu", "--force"]
    assert main(arguments) == 0

    def content() -> dict[Path, bytes]:
        files = [path for path in here.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files if not any(map(is_part, path.relative_to(here).parts))}

    before = content()
    process = start(here, arguments, SLOW_EXPORT)
    assert end(process, signal.SIGKILL, random.Random(name).uniform(0, 0.8)) == -signal.SIGKILL
    assert content() == before
    assert len(parts_in(here)) == 1
    assert main(arguments) == 0
    assert content().keys() == before.keys()
    assert names_in(here) == [name]


@pytest.mark.parametrize(
    ("name", "number"), list(zip(FORMATS, ("SIGTERM", "SIGHUP", "SIGTERM", "SIGINT"), strict=True)), ids=str
)
def test_an_export_that_is_asked_to_end_leaves_nothing(made: Path, here: Path, name: str, number: str) -> None:
    arguments = ["export", str(made / "model.safetensors"), "-o", name, "-q", "--device", "cpu"]
    process = start(here, arguments, SLOW_EXPORT)
    assert end(process, signal.Signals[number], random.Random(name).uniform(0, 0.8)) == 128 + signal.Signals[number]
    assert "Traceback" not in told_in(here)
    assert names_in(here) == []


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_a_fit_that_is_asked_to_end_keeps_a_state_that_goes_on(made: Path, here: Path, number: str) -> None:
    process = start(here, ["fit", str(made / "raw.ome.tif"), "-o", "m.safetensors", *QUICK], SLOW_FIT)
    assert end(process, signal.Signals[number], 1.0) == 128 + signal.Signals[number]
    assert "the state is kept in 'm.checkpoint.safetensors'" in told_in(here)
    assert names_in(here) == ["m.checkpoint.safetensors"]
    assert main(["fit", str(made / "raw.ome.tif"), "-o", "m.safetensors", "--quiet", "--resume"]) == 0
    assert names_in(here) == ["m.safetensors"]


def test_a_fit_that_is_killed_leaves_a_whole_state_or_none(made: Path, here: Path) -> None:
    arguments = ["fit", str(made / "raw.ome.tif"), "-o", "m.safetensors", *QUICK]
    process = start(here, arguments, SLOW_FIT, OFTEN)
    patience = time.monotonic() + 60
    while not (here / "m.checkpoint.safetensors").exists() and time.monotonic() < patience:
        time.sleep(0.01)
    # From now on one state follows another, and the kill falls into any.
    assert end(process, signal.SIGKILL, random.Random(0).uniform(0, 1)) == -signal.SIGKILL
    assert (here / "m.checkpoint.safetensors").exists()
    # The lock of a dead fit holds nobody, and what it left half-written goes.
    assert main([*arguments, "--resume"]) == 0
    assert names_in(here) == ["m.safetensors"]


def test_tiles_that_are_killed_go_on_to_the_same_bytes(made: Path, here: Path) -> None:
    quick = [*QUICK[:-1], "teacher_student_iterations=3"]
    arguments = ["fit", str(made / "wide.ome.tif"), *TILES, *quick]
    assert main([*arguments, "-o", "whole"]) == 0

    def content(folder: str) -> dict[str, bytes]:
        files = [*(here / folder / "tiles").iterdir(), here / folder / "index.json"]
        return {path.name: path.read_bytes() for path in files}

    process = start(here, [*arguments, "-o", "killed"], SLOW_FIT)
    end(process, signal.SIGKILL, random.Random(1).uniform(0.5, 2.0))
    assert main([*arguments, "-o", "killed"]) == 0
    assert content("killed") == content("whole")
    assert len(content("whole")) > 2 and not parts_in(here)


def test_a_fit_survives_the_loss_of_its_terminal(made: Path, here: Path) -> None:
    import pty

    arguments = ["fit", str(made / "raw.ome.tif"), "-o", "m.safetensors", *QUICK]
    code = "\n".join([LIBRARIES, SLOW_FIT, f"sys.exit(main({arguments!r}))"])
    controller, terminal = pty.openpty()
    # A session of its own, whose terminal this one becomes: closing it is what a dropped connection does.
    taken = f"import fcntl, os, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{code}"
    process = subprocess.Popen(
        [sys.executable, "-c", taken], cwd=here, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    seen = b""
    while b"at work" not in seen:
        seen += os.read(controller, 1000)
    os.close(controller)
    assert process.wait(120) == 128 + signal.SIGHUP
    assert names_in(here) == ["m.checkpoint.safetensors"]
