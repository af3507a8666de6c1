"""The command line from end to end, in one process: what is written, what is said, and with which exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile

from napari_emgauss.cli import main
from napari_emgauss.cli._arguments import literal, named_file, setting

TINY = ["--preset", "fast", "--prior", "linear", "--iterations-scale", "0.002"]


def write_stack(path, shape=(6, 18, 22), voxel_nm=(40, 5, 5), seed=0):
    z, y, x = np.mgrid[: shape[0], : shape[1], : shape[2]]
    noise = np.random.default_rng(seed).integers(0, 40, shape)
    values = (100 + 60 * np.sin(0.5 * z + 0.4 * x) * np.cos(0.3 * y) + noise).astype(np.uint8)
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", voxel_nm, strict=True)}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "ZYX"}
    tifffile.imwrite(path, values, metadata={"axes": "ZYX", **sizes, **units})
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    stack = write_stack(folder / "stack.ome.tif")
    target = folder / "model.safetensors"
    assert main(["fit", str(stack), "-o", str(target), "--quiet", *TINY]) == 0
    return target


def error_of(capsys, *arguments):
    """The one line that a command with bad input says."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert "Traceback" not in captured.err
    return lines[-1]


def test_fit_render_export(model_file, here, capsys):
    assert main(["render", str(model_file), "--z", "123.4", "-o", "slice.tif"]) == 0
    image = tifffile.imread("slice.tif")
    assert (image.shape, image.dtype) == ((18, 22), np.uint8)
    assert image.std() > 0

    assert main(["export", str(model_file), "-o", "iso.ome.tif", "--quiet"]) == 0
    assert tifffile.imread("iso.ome.tif").shape == (41, 18, 22)  # 200 nm in steps of 5, both ends
    assert "iso.ome.tif" in capsys.readouterr().err
    np.testing.assert_array_equal(
        tifffile.imread("iso.ome.tif", key=0), rendered(model_file, here, 0.0)
    )  # the first slice lies at the first depth


def rendered(model_file, folder, z_nm):
    target = folder / f"at_{z_nm:g}.npy"
    assert main(["render", str(model_file), "--z", str(z_nm), "-o", str(target)]) == 0
    return np.load(target)


def test_export_spacing_and_range(model_file, here):
    arguments = ["export", str(model_file), "-o", "part.tif", "--spacing", "20", "--z-range", "40", "120", "--quiet"]
    assert main(arguments) == 0
    assert tifffile.imread("part.tif").shape == (5, 18, 22)


def test_render_several_depths_and_a_region(model_file, here):
    arguments = ["render", str(model_file), "--z", "10", "20.5", "30", "-o", "three.tif"]
    assert main([*arguments, "--region", "2", "10", "4", "16", "--shape", "16", "24"]) == 0
    with tifffile.TiffFile("three.tif") as file:
        assert file.asarray().shape == (3, 16, 24)
        # 8 pixels of 5 nm in 16 samples are 2.5 nm each, or 4 million to the cm
        assert file.pages[0].tags["YResolution"].value[0] / file.pages[0].tags["YResolution"].value[1] == 4e6


def test_png(model_file, here):
    assert main(["render", str(model_file), "--z", "100", "-o", "slice.png"]) == 0
    assert (here / "slice.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_overwritten_without_force(model_file, here, capsys):
    (here / "slice.tif").write_bytes(b"precious")
    assert "--force" in error_of(capsys, "render", model_file, "--z", 1, "-o", "slice.tif")
    assert (here / "slice.tif").read_bytes() == b"precious"
    assert "--force" in error_of(capsys, "export", model_file, "-o", "slice.tif")
    assert "--force" in error_of(capsys, "fit", "no-stack.tif", "-o", "slice.tif")
    assert main(["render", str(model_file), "--z", "1", "-o", "slice.tif", "--force"]) == 0
    assert tifffile.imread("slice.tif").shape == (18, 22)


def test_bad_input_is_one_sentence_and_exit_code_2(model_file, here, capsys):
    write_stack(here / "iso.ome.tif", voxel_nm=(5, 5, 5))
    tifffile.imwrite("bare.tif", np.arange(5 * 18 * 22, dtype=np.uint16).reshape(5, 18, 22))
    write_stack(here / "two.ome.tif", shape=(2, 18, 22))
    assert "voxel" in error_of(capsys, "fit", "bare.tif").lower()
    assert "isotropic" in error_of(capsys, "fit", "iso.ome.tif")
    assert "3 slices" in error_of(capsys, "fit", "two.ome.tif")
    assert "missing.tif" in error_of(capsys, "fit", "missing.tif")
    assert "0 to 200" in error_of(capsys, "render", model_file, "--z", 500, "-o", "a.tif")
    assert "does not exist" in error_of(capsys, "render", model_file, "--z", 5, "-o", "nowhere/a.tif")
    assert ".png" in error_of(capsys, "render", model_file, "--z", 5, "-o", "a.jpeg")
    assert "preset" in error_of(capsys, "fit", "two.ome.tif", "--voxel-size", 40, 5, 5, "--preset", "turbo")
    assert "resume" in error_of(capsys, "fit", "two.ome.tif", "--resume")
    (here / "foreign.safetensors").write_bytes(b"not a model")
    assert "foreign.safetensors" in error_of(capsys, "info", "foreign.safetensors")
    assert sorted(path.name for path in here.glob(".*")) == []  # no temporary file is left


def test_an_unknown_setting_is_named_with_the_nearest(here, capsys):
    write_stack(here / "s.ome.tif")
    assert "warm_up_iterations" in error_of(capsys, "fit", "s.ome.tif", "--set", "warmup_iterations=5")


@pytest.mark.parametrize(
    "arguments",
    [[], ["fitt"], ["fit"], ["render", "m", "-o", "a.tif", "--z", "deep"], ["evaluate", "v.tif", "--factor", "0"]],
)
def test_wrong_usage_is_exit_code_2_as_well(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_voxel_size_depths_and_skipped_slices(here, capsys):
    tifffile.imwrite("bare.tif", tifffile.imread(write_stack(here / "s.ome.tif")))
    (here / "z.txt").write_text("# depths in nm\n0\n40\n85\n120\n160\n210\n")
    arguments = [
        "info",
        "bare.tif",
        "--voxel-size",
        "40",
        "5",
        "5",
        "--z-positions",
        "z.txt",
        "--skip",
        "1,3-4",
        "--json",
    ]
    assert main(arguments) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["shape (z, y, x)"] == [3, 18, 22]
    assert facts["depths (nm)"] == [0, 210]
    assert main(["info", "s.ome.tif", "--region", "2", "12", "3", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shape (z, y, x)"] == [6, 10, 17]
    (here / "z.txt").write_text("0\n40\ndeep\n")
    line = error_of(capsys, "info", "bare.tif", "--voxel-size", 40, 5, 5, "--z-positions", "z.txt")
    assert "deep" in line


def test_corrections_are_made_and_remembered(here, capsys):
    write_stack(here / "s.ome.tif", shape=(6, 40, 44))
    arguments = ["info", "s.ome.tif", "--even-out", "--denoise", "gaussian", "--straighten", "--json"]
    assert main(arguments) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["intensity_correction"] == "linear"
    assert facts["denoising"]["method"] == "gaussian"
    assert "jitter_removed_px" in facts
    damage = np.zeros((6, 40, 44), np.uint8)
    damage[2, :10, :11] = 1
    np.save("damage.npy", damage)
    assert main(["info", "s.ome.tif", "--damage-mask", "damage.npy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["masked_fraction"] == {"2": 110 / 1760}


def test_check_suggests_and_leaves_nothing_out(here, capsys):
    path = write_stack(here / "s.ome.tif", shape=(9, 64, 70))
    assert main(["check", str(path)]) == 0
    assert "9 of 9 slices look good" in capsys.readouterr().out
    values = tifffile.imread(path)
    values[4] = 0
    np.save("damaged.npy", values)
    assert main(["check", "damaged.npy", "--voxel-size", "40", "5", "5"]) == 0
    out = capsys.readouterr().out
    assert "slice 4 (z = 160 nm): bad" in out
    assert "--skip 4" in out
    assert main(["check", "damaged.npy", "--voxel-size", "40", "5", "5", "--json", "--thickness"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["suggested_skip"] == [4]
    assert len(found["z_positions_nm"]) == 9  # one for every slice of the file, the black one included
    assert np.all(np.diff(found["z_positions_nm"]) > 0)
    command = ["damaged.npy", "--voxel-size", "40", "5", "5", "--skip", "0,4"]
    assert main(["check", *command, "--thickness", "--write-z", "z.txt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["z_positions_nm"] == pytest.approx(np.loadtxt("z.txt"), abs=0.01)
    assert main(["info", *command, "--z-positions", "z.txt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shape (z, y, x)"][0] == 7
    assert "give both" in error_of(capsys, "check", *command, "--write-z", "other.txt")


def test_distances_between_slices(here, capsys):
    write_stack(here / "s.ome.tif")
    assert main(["info", "s.ome.tif", "--slice-distance", "50", "2=100", "4=75", "--skip", "5", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["depths (nm)"] == [0, 250]
    assert facts["slice distance (nm)"] == [50, 100]
    assert facts["left_out_z_nm"] == [325]
    assert "one distance in nm, then SLICE=NM" in error_of(capsys, "info", "s.ome.tif", "--slice-distance", "2=100")
    assert "no slice after slice 5" in error_of(capsys, "info", "s.ome.tif", "--slice-distance", "50", "5=60")


def test_check_numbers_slices_as_the_file_does(here, capsys):
    values = tifffile.imread(write_stack(here / "s.ome.tif", shape=(9, 64, 70)))
    values[5], values[7] = 0, values[6]
    np.save("damaged.npy", values)
    command = ["check", "damaged.npy", "--voxel-size", "40", "5", "5", "--skip", "1,2"]
    assert main([*command, "--figure", "check.png", "--thickness"]) == 0
    out = capsys.readouterr().out
    assert "slice 5 (z = 200 nm): bad: is black" in out
    assert "slice 7 (z = 280 nm): bad: is a copy of slice 6" in out
    assert "Already left out: 1,2." in out
    assert "Suggestion: --skip 1,2,5,7" in out
    assert (here / "check.png").read_bytes().startswith(b"\x89PNG")
    assert "already exists" in error_of(capsys, *command, "--figure", "check.png")
    # The mask of the whole file goes with the skipped stack.
    (here / "folds.txt").write_text("6 fold 6 0 10 63 30")
    assert main(["info", *command[1:], "--damage-mask", "folds.txt", "--skip", "1,2,5,7", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["masked_fraction"]) == ["6"]


def test_settings_on_top_of_a_preset(here, capsys):
    write_stack(here / "s.ome.tif")
    arguments = ["fit", "s.ome.tif", "-o", "m.safetensors", "-q", *TINY, "--seed", "7", "--set", "max_gaussians=40"]
    assert main(arguments) == 0
    assert main(["info", "m.safetensors", "--json"]) == 0
    captured = capsys.readouterr()
    settings = json.loads(captured.out)["provenance"]["fit"]
    assert (settings["seed"], settings["max_gaussians"], settings["prior"]) == (7, 40, "linear")
    assert "Renders with" in captured.err


def test_presets(capsys):
    assert main(["presets"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["setting", "paper", "fast", "default", "best"]
    priors = {line.split()[0] for line in table[table.index("Priors, for --prior:") + 2 :]}
    assert {"linear", "ensemble", "self[:fast|default|best]", "ema"} < priors
    assert main(["presets", "paper", "--json"]) == 0
    paper = json.loads(capsys.readouterr().out)
    assert (paper["prior"], paper["field"], paper["warm_up_iterations"]) == ("ema", "mlp", 2000)
    assert "did you mean 'paper'" in error_of(capsys, "presets", "papre")


def test_sample_is_a_stack_that_can_be_fitted(here, capsys, monkeypatch):
    from napari_emgauss.stack import PhantomConfig, sample_stack, sample_truth

    small = PhantomConfig(shape=(41, 36, 44), factor=10)  # the full one takes seconds to draw
    monkeypatch.setattr("napari_emgauss.stack.sample_stack", lambda: sample_stack(small))
    monkeypatch.setattr("napari_emgauss.stack.sample_truth", lambda: sample_truth(small))
    assert main(["sample", "-o", "stack.ome.tif", "--truth", "truth.ome.tif"]) == 0
    assert main(["info", "stack.ome.tif", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["anisotropy factor"] == 10
    truth, stack = tifffile.imread("truth.ome.tif"), tifffile.imread("stack.ome.tif")
    np.testing.assert_array_equal(truth[::10], stack)


def test_evaluate_writes_table_json_and_figure(here, capsys):
    pytest.importorskip("matplotlib")
    write_stack(here / "v.ome.tif", shape=(13, 16, 20), voxel_nm=(5, 5, 5))
    arguments = ["evaluate", "v.ome.tif", "--factor", "4", "--methods", "nearest,linear", "--quiet"]
    assert main([*arguments, "--json", "a.json", "--figure", "a.png", "--compare", "same=v.ome.tif"]) == 0
    out = capsys.readouterr().out
    scores = json.loads((here / "a.json").read_text())["methods"]
    assert list(scores) == ["nearest", "linear", "same"]
    assert scores["same"]["xy"]["psnr"] == "inf"
    assert f"{scores['linear']['xz']['psnr']:.2f}" in out
    assert (here / "a.png").stat().st_size > 1000
    assert "--force" in error_of(capsys, *arguments, "--json", "a.json")


def test_evaluate_crop_axis_and_bad_method(here, capsys):
    write_stack(here / "v.ome.tif", shape=(10, 16, 20), voxel_nm=(5, 5, 5))
    arguments = [
        "evaluate",
        "v.ome.tif",
        "--factor",
        "3",
        "--methods",
        "linear",
        "--axis",
        "2",
        "--crop",
        "9",
        "12",
        "10",
    ]
    assert main([*arguments, "--json", "a.json"]) == 0
    assert json.loads((here / "a.json").read_text())["shape"] == [10, 9, 12]
    capsys.readouterr()
    assert "did you mean linear" in error_of(capsys, "evaluate", "v.ome.tif", "--factor", 3, "--methods", "linaer")


def test_score_says_its_verdict(here, capsys):
    write_stack(here / "s.ome.tif", shape=(7, 18, 22))
    assert main(["score", "s.ome.tif", "--methods", "nearest,linear", "--json", "a.json", "--quiet"]) == 0
    out = capsys.readouterr().out.strip().splitlines()
    assert out[-1].startswith("By PSNR, SSIM and FSIM together, linear is best of the methods scored on this stack.")
    assert json.loads((here / "a.json").read_text())["verdict"] == out[-1]
    assert any("80 nm apart here instead of 40 nm" in line for line in out)


def test_doctor_finds_the_renderer(capsys):
    assert main(["doctor", "--json"]) == 0
    findings = {finding["topic"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert findings["renderer cpu"]["state"] == "ok"
    assert findings["torch"]["state"] == "ok"
    assert main(["doctor"]) == 0
    assert "auto takes" in capsys.readouterr().out


def test_doctor_survives_what_is_broken(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert main(["doctor"]) == 1
    assert "numba" in capsys.readouterr().out


def test_keyboard_interrupt_is_130(monkeypatch, capsys):
    def interrupted(_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_emgauss.cli._info.run_presets_command", interrupted)
    assert main(["presets"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="a console process cannot be sent Ctrl-C alone on Windows")
def test_ctrl_c_keeps_a_checkpoint_that_resume_goes_on_from(here):
    write_stack(here / "s.ome.tif")
    fit = [sys.executable, "-u", "-m", "napari_emgauss.cli", "fit", "s.ome.tif", "-o", "m.safetensors"]
    settings = ["--preset", "fast", "--prior", "linear", "--seed", "2", "--set", "max_gaussians=30"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([*fit, *settings], stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 120
    seen = ""
    while "warm-up" not in seen and time.monotonic() < deadline and process.poll() is None:
        seen += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 130, seen + rest
    assert "Run the same command with --resume to continue" in rest
    assert "Traceback" not in rest
    assert (here / "m.checkpoint.safetensors").is_file()
    assert not (here / "m.safetensors").exists()

    # The checkpoint remembers its settings, and refuses others.
    assert main([*fit[4:], "--resume", "--seed", "3"]) == 2


def test_a_finished_fit_leaves_no_checkpoint(model_file):
    assert [path.name for path in model_file.parent.iterdir() if "checkpoint" in path.name] == []


def test_help_needs_no_heavy_import():
    script = (
        "import sys\nfrom napari_emgauss.cli import main\n"
        "try:\n    main(['fit', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numba', 'skimage', 'napari', 'qtpy', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version(capsys):
    from napari_emgauss import __version__

    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"emgauss {__version__}\n"


def test_every_command_has_help(capsys):
    from napari_emgauss.cli import build_parser

    commands = next(action for action in build_parser()._actions if action.dest == "command").choices
    assert {"fit", "render", "export", "presets", "info", "evaluate", "score", "sample", "doctor"} <= set(commands)
    for name in commands:
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
        assert len(capsys.readouterr().out) > 100


def test_kinds_of_arguments():
    assert setting("joint=false") == ("joint", False)
    assert setting("warm-up-iterations=10") == ("warm_up_iterations", 10)
    assert setting("prior=self") == ("prior", "self")
    assert literal("none") is None
    assert literal("1e-3") == 1e-3
    assert named_file("other=a=b.tif") == ("other", "a=b.tif")
