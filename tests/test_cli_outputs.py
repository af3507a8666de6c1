"""The command line writes over nothing that it reads, and settles all outputs before any work."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_emgauss._holding import hold_output
from napari_emgauss.cli import main
from napari_emgauss.cli._stopping import Stopped, signals_as_exceptions
from napari_emgauss.fitting import fit, preset
from napari_emgauss.stack import read_stack

QUICK = [
    *("--prior", "linear", "--device", "cpu", "--quiet", "--set", "pixels_per_gaussian=40.0"),
    *("--set", "warm_up_iterations=2", "--set", "joint_iterations=2", "--set", "teacher_student_iterations=3"),
]
NAME_TOO_LONG = "n" * 300
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


def write_stack(path: Path, **more: Any) -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 18, 22), dtype=np.uint8)
    sizes = {f"PhysicalSize{axis}": nm for axis, nm in zip("XYZ", (8, 8, 40), strict=True)}
    units = {f"{name}Unit": "nm" for name in sizes}
    tifffile.imwrite(path, images, metadata={"axes": "ZYX", **sizes, **units}, **more)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack and the model that was fitted to it."""
    folder = tmp_path_factory.mktemp("made")
    write_stack(folder / "raw.ome.tif")
    os.chdir(folder)
    assert main(["fit", "raw.ome.tif", "-o", "model.safetensors", *QUICK]) == 0
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("raw.ome.tif", "model.safetensors"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    (tmp_path / "z.txt").write_text("0\n40\n80\n120\n160\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """One sentence and exit code 2, while every file stays as it was."""
    before = {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file()}
    assert main(list(arguments)) == 2
    assert {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file()} == before
    told = capsys.readouterr().err.strip()
    assert "Traceback" not in told
    return told.splitlines()[-1]


OTHER_NAMES = {
    "itself": lambda path: path.name,
    "another spelling": lambda path: f"./{path.name}",
    "its whole path": lambda path: str(path),
    "a link": lambda path: make_link(path, soft=True),
    "a hard link": lambda path: make_link(path, soft=False),
}


def make_link(path: Path, *, soft: bool) -> str:
    link = path.with_name(f"link-{path.name}")
    link.symlink_to(path) if soft else os.link(path, link)
    return link.name


@posix_only
@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("called", OTHER_NAMES)
@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("fit raw.ome.tif -o OUT", "raw.ome.tif"),
        ("fit raw.ome.tif --tile 70 -o OUT", "raw.ome.tif"),
        ("fit raw.ome.tif --z-positions z.txt -o OUT", "z.txt"),
        ("export model.safetensors -q -o OUT --format ome-tiff", "model.safetensors"),
        ("export model.safetensors -q -o OUT", "raw.ome.tif"),
        ("export model.safetensors -q -o v.tif --confidence OUT", "raw.ome.tif"),
        ("render model.safetensors --z 40 -o OUT", "raw.ome.tif"),
        ("check raw.ome.tif --thickness --write-z OUT", "raw.ome.tif"),
        ("check raw.ome.tif --z-positions z.txt --thickness --write-z OUT", "z.txt"),
        ("score raw.ome.tif --json OUT", "raw.ome.tif"),
        ("evaluate raw.ome.tif --factor 2 --json OUT", "raw.ome.tif"),
        ("evaluate raw.ome.tif --factor 2 --masks z.txt --json OUT", "z.txt"),
        ("evaluate raw.ome.tif --factor 2 --labels z.txt --json OUT", "z.txt"),
        ("score raw.ome.tif --lpips-weights z.txt --json OUT", "z.txt"),
        ("evaluate raw.ome.tif --factor 2 --compare it=z.txt --json OUT", "z.txt"),
    ],
)
def test_no_output_is_an_input(
    here: Path, capsys: pytest.CaptureFixture[str], command: str, file: str, called: str, force: bool
) -> None:
    output = OTHER_NAMES[called](here / file)
    arguments = [output if word == "OUT" else word for word in command.split()]
    told = refused(capsys, *arguments, *(["--force"] if force else []))
    words = (
        ("never overwritten", "is never changed")
        if force
        else ("never overwritten", "is never changed", "already exists")
    )
    assert any(part in told for part in words), told


def test_other_files_of_an_ome_tiff_are_inputs_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = '<OME><Image><Pixels><TiffData><UUID FileName="second.ome.tif"/></TiffData></Pixels></Image></OME>'
    (here / "first.companion.ome").write_text(header)
    (here / "second.ome.tif").write_bytes(b"x")
    assert "never overwritten" in refused(capsys, "fit", "first.companion.ome", "-o", "second.ome.tif", "--force")


def test_a_folder_of_slices_takes_no_image_and_is_no_output(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "slices").mkdir()
    for number in range(4):
        (here / "slices" / f"{number}.tif").write_bytes((here / "raw.ome.tif").read_bytes())
    for output in ("slices/2.tif", "slices/new.tif"):
        told = refused(capsys, "fit", "slices", "-o", output, "--force")
        assert "is never changed" in told
    assert "never overwritten" in refused(capsys, "fit", "slices/*.tif", "-o", "slices/1.tif", "--force")
    for output in ("slices", "."):
        assert refused(capsys, "fit", "slices", "-o", output, "--tile", "70", "--force")


def test_two_outputs_are_two_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "evaluate", "raw.ome.tif", "--factor", "2", "--json", "a.png", "--figure", "./a.png")
    assert "written twice, by --json and --figure" in told
    assert "written twice" in refused(capsys, "sample", "-o", "a.tif", "--truth", "a.tif")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("--masks z.txt --labels z.txt", "two evaluations"),
        ("--masks z.txt --figure a.png", "--figure cannot be combined with --masks"),
        ("--labels z.txt --compare it=z.txt", "--compare cannot be combined with --labels"),
        ("--labels z.txt --lpips-weights z.txt", "--lpips-weights cannot be combined with --labels"),
    ],
)
def test_options_that_would_be_left_unheard_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str], options: str, wanted: str
) -> None:
    assert wanted in refused(capsys, "evaluate", "raw.ome.tif", "--factor", "2", *options.split())


@posix_only
@pytest.mark.parametrize("output", ["/dev/null", "folder", "none/a", NAME_TOO_LONG, f"{NAME_TOO_LONG}/a", ""])
@pytest.mark.parametrize(
    "command",
    [
        "fit raw.ome.tif -o OUT.safetensors",
        "export model.safetensors -q -o OUT.ome.tif",
        "export model.safetensors -q -o OUT.ome.zarr",
        "render model.safetensors --z 40 -o OUT.npy",
        "check raw.ome.tif --figure OUT.png",
        "score raw.ome.tif --json OUT",
    ],
)
def test_an_output_that_cannot_be_written_is_told_first(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, output: str
) -> None:
    for work in ("napari_emgauss.stack.read_stack", "napari_emgauss.tiles.load"):
        monkeypatch.setattr(work, lambda *_, **__: pytest.fail("the work began"))
    *words, last = command.split()
    target = output if output in ("/dev/null", "") else last.replace("OUT", output)
    if output == "folder":
        (here / target).mkdir()
        (here / target / "thesis.txt").write_text("x")
        if target.endswith(".zarr"):
            monkeypatch.undo()  # whether a Zarr is ours is looked at by the library, with the model at hand
            monkeypatch.chdir(here)
    refused(capsys, *words, target, "--force")


@posix_only
@pytest.mark.parametrize("output", ["/dev/null", "folder", "none/a", NAME_TOO_LONG, f"{NAME_TOO_LONG}/a", ""])
def test_a_folder_of_tiles_that_cannot_be_written_is_told_first(
    here: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    (here / "folder").mkdir()
    (here / "folder" / "thesis.txt").write_text("x")
    refused(capsys, "fit", "raw.ome.tif", "--tile", "70", "-o", output, "--force", *QUICK)


def test_a_fit_replaces_nothing_but_a_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "fit", "raw.ome.tif", "-o", "z.txt", "--force", *QUICK)
    assert "'z.txt' is not a napari-emgauss model" in told
    (here / "m.checkpoint.safetensors").write_text("mine")
    told = refused(capsys, "fit", "raw.ome.tif", "-o", "m.safetensors", "--force", *QUICK)
    assert "is not a napari-emgauss checkpoint" in told
    assert main(["fit", "raw.ome.tif", "-o", "model.safetensors", "--force", *QUICK]) == 0


def test_the_state_of_an_earlier_fit_is_not_replaced_by_the_way(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = preset("fast", prior="linear", device="cpu")
    updates = fit(read_stack("raw.ome.tif"), config, checkpoint="m.checkpoint.safetensors")
    next(update for update in updates if update.iteration > 1)
    updates.close()  # type: ignore[attr-defined]
    told = refused(capsys, "fit", "raw.ome.tif", "-o", "m.safetensors", *QUICK)
    assert "continue it with --resume, or start afresh with --force" in told
    assert main(["fit", "raw.ome.tif", "-o", "m.safetensors", "--force", *QUICK]) == 0
    assert not (here / "m.checkpoint.safetensors").exists()


@posix_only
def test_the_second_of_two_fits_to_one_file_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with hold_output(here / "m.safetensors"):
        told = refused(capsys, "fit", "raw.ome.tif", "-o", "./m.safetensors", *QUICK)
        assert f"Another run (process {os.getpid()} on " in told and "wait for it" in told
    with hold_output(here / "m.checkpoint.safetensors"):  # two names may share one checkpoint
        assert "Another run" in refused(capsys, "fit", "raw.ome.tif", "-o", "m.other", *QUICK)
    assert main(["fit", "raw.ome.tif", "-o", "m.safetensors", *QUICK]) == 0
    assert sorted(path.name for path in here.iterdir()) == [
        "m.safetensors",
        "model.safetensors",
        "raw.ome.tif",
        "z.txt",
    ]


def test_a_model_whose_place_fails_at_the_end_is_kept_elsewhere(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from napari_emgauss._errors import ModelFileError
    from napari_emgauss.render import EmgaussModel, load

    (here / "full").mkdir()
    save = EmgaussModel.save

    def fails_there(self: EmgaussModel, path: Any) -> None:
        if Path(path).parent.name == "full":
            raise ModelFileError(f"'{path}' could not be written: the disk is full.")
        save(self, path)

    monkeypatch.setattr(EmgaussModel, "save", fails_there)
    assert main(["fit", "raw.ome.tif", "-o", "full/m.safetensors", *QUICK]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the disk is full" in told and "is kept complete in" in told
    place = told.split("is kept complete in '")[1].split("'")[0]
    assert f"cp '{place}' 'full/m.safetensors'" in told
    assert load(place, device="cpu").shape == (5, 18, 22)


def test_what_nobody_foresaw_is_a_sentence_and_a_log(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("no such\nthing")

    monkeypatch.setattr("platformdirs.user_log_dir", lambda *_, **__: str(here / "logs"))
    monkeypatch.setattr("napari_emgauss.stack.read_stack", fail)
    assert main(["info", "raw.ome.tif"]) == 1
    told = capsys.readouterr().err.strip()
    assert len(told.splitlines()) == 1 and "Traceback" not in told
    (log,) = (here / "logs").iterdir()
    assert str(log) in told
    text = log.read_text()
    assert "emgauss info raw.ome.tif" in text and "Traceback" in text and "no such" in text


@posix_only
def test_a_signal_is_not_lost_where_python_can_only_ignore_what_it_raises() -> None:
    class Ends:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):
                pass

    with pytest.raises(Stopped), signals_as_exceptions():
        Ends()
        time.sleep(30)
