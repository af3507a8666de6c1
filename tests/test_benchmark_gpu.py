"""The benchmark of the GPU: whole on the CPU, with nothing but what it says it needs, and safe against a failure."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
if not (BENCHMARKS / "gpu.py").is_file():
    pytest.skip("the benchmarks are not part of this installation", allow_module_level=True)

# Everything that the project or its extras need, but torch, triton, numpy, numba, scipy, scikit-image and tifffile.
BLOCK = """
import sys, socket
BLOCKED = {
    "napari", "npe2", "qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "magicgui", "superqt", "pyqtgraph", "psygnal",
    "vispy", "safetensors", "dask", "distributed", "zarr", "ome_zarr", "h5py", "mrcfile", "imagecodecs", "psutil",
    "platformdirs", "matplotlib", "sklearn", "cv2", "piq", "tqdm", "pydantic", "yaml", "requests",
}
from importlib.machinery import PathFinder
find_spec = PathFinder.find_spec
def without(name, path=None, target=None):
    return None if name.split(".")[0] in BLOCKED else find_spec(name, path, target)
PathFinder.find_spec = without
def refuse(*_args, **_options):
    raise OSError("there is no network here")
socket.socket.connect = refuse
socket.create_connection = refuse
"""


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("gpu_benchmark", BENCHMARKS / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_benchmark", module)
    spec.loader.exec_module(module)
    return module


def test_every_section_runs_on_the_cpu_with_what_it_needs_and_no_more(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    output = tmp_path / "gpu.json"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(tmp_path), str(BENCHMARKS.parent / "src"))),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), "--cpu", "--quick", "--together", "--output", str(output)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    result = json.loads(output.read_text(encoding="utf-8"))
    assert result["failed"] == []
    rows = result["rows"]
    assert [row["error"] for row in rows if row.get("error")] == []
    by_kind = {row["what"] for row in rows}
    assert by_kind >= {
        "machine", "renderer", "floor", "parity", "render", "block", "baseline", "flow", "fit", "export", "step",
        "profile", "waits", "paper", "target",
    }  # fmt: skip
    for row in rows:
        if row["what"] == "parity":
            assert row["pixels_beyond_1e-4"] < 0.02
            assert max(row[f"gradient_{n}"] for n in ("means", "conics", "opacities", "values")) < 0.02
        if row["what"] == "render":
            assert row["forward_ms"] > 0
            assert row["forward_floor_ms"] > 0
    flow = next(row for row in rows if row["what"] == "flow")
    assert flow["difference_px"] < 1e-3
    assert min(flow["first_seconds"], flow["seconds"], flow["slice_ms"], flow["floor_ms"]) > 0
    assert {row["method"] for row in rows if row["what"] == "baseline"} == {"linear", "linear+blur", "ensemble"}
    fits = {row["method"]: row for row in rows if row["what"] == "fit"}
    assert fits["default"]["finished"]
    assert fits["default"]["seconds"] > fits["default"]["prior_seconds"] > 0
    assert {(r["of"], r["ms"] > 0) for r in rows if r["what"] == "step"} == {
        ("fit, preset default", True),
        ("training of the prior", True),
    }


def test_weights_are_read_without_the_package_for_it(gpu, tmp_path):
    import torch
    from _safetensors import load_file
    from safetensors.torch import save_file

    tensors = {
        "a": torch.randn(2, 3),
        "b": torch.arange(4),
        "c": torch.randn(5, 1).half(),
        "none": torch.zeros(0, 2),
        "one": torch.tensor(2.5),
    }
    save_file(tensors, tmp_path / "some.safetensors", metadata={"made": "here"})
    found = load_file(tmp_path / "some.safetensors")
    assert set(found) == set(tensors)
    for name, want in tensors.items():
        assert found[name].dtype == want.dtype
        assert torch.equal(found[name], want)


def arguments_of(gpu, **changes):
    return types.SimpleNamespace(**{"cpu": True, "quick": True, "presets": ["default"], **changes})


def test_a_section_that_dies_is_one_line_and_keeps_its_rows(gpu, monkeypatch):
    def dies(command, **_options):
        Path(command[command.index("--child") + 1]).write_text('[{"what": "render", "size": 64}]')
        trace = "Traceback:\n  somewhere\nRuntimeError: CUDA error: an illegal memory access was encountered\n\n"
        return subprocess.CompletedProcess(command, 1, "", trace)

    monkeypatch.setattr(gpu.subprocess, "run", dies)
    rows, error = gpu._run(gpu.SECTIONS[3], 5.0, arguments_of(gpu))
    assert rows == [{"what": "render", "size": 64}]
    assert error == "RuntimeError: CUDA error: an illegal memory access was encountered"


def test_a_section_that_hangs_is_stopped(gpu, monkeypatch):
    def hangs(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(gpu.subprocess, "run", hangs)
    assert gpu._run(gpu.SECTIONS[3], 5.0, arguments_of(gpu)) == ([], "stopped after 25 s")


def test_the_others_run_after_one_that_failed(gpu, monkeypatch, tmp_path, capsys):
    ran = []

    def run(section, seconds, arguments):
        ran.append(section.name)
        assert seconds <= section.seconds
        if section.name == "parity":
            return [], "it broke"
        return [{"what": section.name, "device": "cuda:0"}], None

    monkeypatch.setattr(gpu, "_run", run)
    output = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--output", str(output)])
    assert gpu.main() == 1
    assert ran == [section.name for section in gpu.SECTIONS]
    assert json.loads(output.read_text())["failed"] == ["parity: it broke"]
    assert "failed: parity: it broke" in capsys.readouterr().err


def test_the_sections_fit_into_nine_minutes_whatever_they_take(gpu, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(gpu.time, "monotonic", lambda: now[0])

    def slow(section, seconds, arguments):
        now[0] += seconds + 20  # the limit of a section that hangs
        return [{"what": section.name, "device": "cuda:0"}], None

    monkeypatch.setattr(gpu, "_run", slow)
    monkeypatch.setattr(gpu, "_write", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    gpu.main()
    assert now[0] < 540


def test_without_a_gpu_it_says_so(gpu, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "_run", lambda *_: ([{"what": "machine", "device": "cpu"}], None))
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu.main() == 1
    assert "no GPU renderer" in capsys.readouterr().err


def test_the_target_is_held_against_what_was_measured(gpu):
    rows = [
        {"what": "baseline", "method": "ensemble", "psnr": 24.0},
        {"what": "fit", "method": "default", "seconds": 50.0, "psnr": 24.2, "peak_gpu_mb": 3000.0},
        {"what": "export", "slices_per_second_1024": 250.0, "peak_gpu_mb": 9000.0},
    ]
    assert [row["met"] for row in gpu._against_the_target(rows)] == [True, False, True, None, False]
