"""The benchmark commands run on small generated data, and the report says what their results say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks/ is part of the repository only")


def run(script, *arguments, data=None, check=True):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if data is not None:
        environment["EMGAUSS_BENCHMARK_DATA"] = str(data)
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def write_volume(path, shape, voxel_nm):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", voxel_nm, strict=True)}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "ZYX"}
    tifffile.imwrite(path, values, metadata={"axes": "ZYX", **sizes, **units})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_volume(folder / "fib25.ome.tif", (17, 20, 24), (8, 8, 8))
    write_volume(folder / "vnc.ome.tif", (7, 20, 24), (50, 5, 5))
    return folder


@pytest.mark.slow
def test_whole_fits_are_planned_and_made(data, tmp_path):
    output = tmp_path / "whole_fits.json"
    short = ["warm_up_iterations=2", "joint_iterations=2", "teacher_student_iterations=3", "prior=linear"]
    run("whole_fits.py", "--rows", "cube:fast", "--set", *short, "--output", output, data=data)
    (row,) = json.loads(output.read_text())["rows"]
    assert (row["volume"], row["preset"], row["tiles"], row["workers"]) == ("cube", "fast", 1, None)
    assert 0 < row["planned_if_early_seconds"] <= row["planned_seconds"]


@pytest.mark.slow
def test_quality_goes_on_where_it_was(data, tmp_path):
    output = tmp_path / "quality.json"
    options = ["--volumes", "fib25,vnc", "--factors", "4,5", "--output", output]
    run("quality.py", *options, "--methods", "linear", data=data)
    first = json.loads(output.read_text())
    keys = [(row["volume"], row["factor"], row["method"]) for row in first["rows"]]
    assert keys == [("fib25", 4, "linear"), ("fib25", 5, "linear"), ("vnc", None, "linear")]
    assert first["benchmark"] == "quality"
    assert first["machine"]["cores"] >= 1
    assert str(tmp_path) not in output.read_text()

    first["rows"][0]["xy_psnr"] = 99.0  # would be overwritten if it were measured again
    output.write_text(json.dumps(first))
    run("quality.py", *options, "--methods", "nearest,linear", data=data)
    rows = {(row["volume"], row["factor"], row["method"]): row for row in json.loads(output.read_text())["rows"]}
    assert len(rows) == 6
    assert rows["fib25", 4, "linear"]["xy_psnr"] == 99.0
    assert rows["fib25", 4, "nearest"]["xy_psnr"] < 20

    run("quality.py", *options, "--methods", "linear", "--again", "linear", data=data)
    rows = {(row["volume"], row["factor"], row["method"]): row for row in json.loads(output.read_text())["rows"]}
    assert rows["fib25", 4, "linear"]["xy_psnr"] < 20


def test_quality_without_the_volumes_says_so(tmp_path):
    done = run("quality.py", "--volumes", "epfl", "--output", tmp_path / "q.json", data=tmp_path, check=False)
    assert done.returncode == 1
    assert "EMGAUSS_BENCHMARK_DATA" in done.stderr


def test_report_says_what_the_results_say(data, tmp_path):
    pytest.importorskip("matplotlib")
    results, page = tmp_path / "results", tmp_path / "docs" / "benchmarks.md"
    results.mkdir()
    options = ["--volumes", "fib25,vnc", "--factors", "4", "--methods", "nearest,linear"]
    run("quality.py", *options, "--output", results / "quality.json", data=data)
    (results / "memory.json").write_text(
        json.dumps(
            {
                "benchmark": "memory",
                "machine": {"cpu": "Test CPU", "cores": 3, "memory_gb": 7.5, "gpu": None, "versions": {}},
                "command": "python benchmarks/memory.py",
                "date": "2026-01-02",
                "notes": "A note.",
                "plot": [{"title": "Growth", "x": "side", "y": ["megabytes"], "log": "x"}],
                "rows": [
                    {"side": 64, "megabytes": 12.345, "curve": [1, 2]},
                    {"side": 128, "megabytes": None, "curve": []},
                    {"frames": 5},
                ],
            }
        )
    )
    run("make_report.py", "--results", results, "--page", page)
    text = page.read_text(encoding="utf-8")
    linear = next(
        row for row in json.loads((results / "quality.json").read_text())["rows"] if row["method"] == "linear"
    )
    assert f"{linear['xy_psnr']:.2f} / {linear['xy_ssim']:.3f} / {linear['xy_fsim']:.3f}" in text
    assert "| 64 | 12.3 |" in text
    assert "| 128 | – |" in text
    assert "Curve" not in text
    assert "| Frames |" in text
    assert "`python benchmarks/memory.py` on Test CPU, 3 cores, 7.5 GB, 2026-01-02." in text
    assert "Not measured yet: `python benchmarks/gpu.py`." in text
    assert "26.59" in text  # the paper's figures, and why they are no yardstick here
    figures = {path.name for path in (page.parent / "images" / "benchmarks").iterdir()}
    assert {"memory_1.svg", "quality_distance.svg"} <= figures
    for name in figures:
        assert f"images/benchmarks/{name}" in text

    assert run("make_report.py", "--results", results, "--page", page, "--check").returncode == 0
    page.write_text(text.replace("12.3", "11.1"), encoding="utf-8")
    done = run("make_report.py", "--results", results, "--page", page, "--check", check=False)
    assert done.returncode == 1
    assert "make_report.py" in done.stderr


def test_committed_page_is_what_the_committed_results_say():
    if not (BENCHMARKS.parent / ".git").exists():
        pytest.skip("not a git checkout: nothing tells what is committed")
    done = run("make_report.py", "--check", "--tracked", check=False)
    assert done.returncode == 0, done.stderr


def test_results_that_are_there_have_the_common_form():
    for path in (BENCHMARKS / "results").glob("*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        assert {"benchmark", "machine", "command", "date", "rows"} <= set(data), path.name
        assert isinstance(data["rows"], list), path.name
