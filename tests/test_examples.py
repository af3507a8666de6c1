"""The examples run from their first line to their last, on small samples and with short fits."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tifffile

from napari_emgauss import PhantomConfig, sample_stack, sample_truth

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

pytestmark = [pytest.mark.usefixtures("quick_fits"), pytest.mark.slow]


def run(name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    except SystemExit as end:
        assert not end.code, end.code


def write_samples(folder: Path, count: int, shape: tuple[int, int, int] = (41, 36, 44)) -> None:
    for seed in range(count):
        volume = sample_stack(PhantomConfig(shape=shape, factor=8, seed=seed)).slices
        metadata = {"axes": "ZYX", "PhysicalSizeZ": 0.04, "PhysicalSizeY": 0.005, "PhysicalSizeX": 0.005}
        tifffile.imwrite(folder / f"block_{seed}.ome.tif", volume, metadata=metadata)


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run("demo.py", "--output", str(tmp_path), "--preset", "fast", monkeypatch=monkeypatch)
    names = {path.name for path in tmp_path.iterdir()}
    volumes = {"stack.ome.tif", "truth.ome.tif", "model.safetensors", "isotropic.ome.tif"}
    assert names == volumes | {"comparison.png", "report.html"}
    lines = capsys.readouterr().out.strip().splitlines()[-3:]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{lines[2].split()[1]} ±" in page  # the PSNR that was printed
    assert "linear interpolation of the slices" in page
    assert lines[0].split()[:2] == ["left-out", "slices"]
    assert lines[1].startswith("linear interpolation")
    assert lines[2].startswith("EMGauss")
    assert tifffile.imread(tmp_path / "isotropic.ome.tif").shape == sample_truth().shape


def test_quick_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("quick_start.py", monkeypatch=monkeypatch)
    assert tifffile.imread(tmp_path / "isotropic.ome.tif").shape == sample_truth().shape


def test_evaluate_your_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_samples(tmp_path, 1)
    run("evaluate_your_stack.py", str(tmp_path / "block_0.ome.tif"), monkeypatch=monkeypatch)
    assert "linear" in capsys.readouterr().out


def test_batch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_samples(tmp_path, 2)
    (tmp_path / "broken.tif").write_bytes(b"not a TIFF")
    output = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["batch_folder.py", str(tmp_path), str(output)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(EXAMPLES / "batch_folder.py"), run_name="__main__")
    assert end.value.code == 1  # one failed, and the others were done all the same
    assert {path.name for path in output.iterdir()} == {"block_0.ome.tif", "block_1.ome.tif"}
    assert "broken.tif" in capsys.readouterr().err
    (tmp_path / "broken.tif").unlink()
    run("batch_folder.py", str(tmp_path), str(output), monkeypatch=monkeypatch)
    assert "done before" in capsys.readouterr().out


@pytest.mark.parametrize("way", ["slurm", "scheduler"])
def test_cluster(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A dask cluster in this process stands in for SLURM: it is reached in the same way, by its address."""
    distributed = pytest.importorskip("distributed")
    zarr = pytest.importorskip("zarr")
    asked: dict[str, object] = {}

    class LocalSlurm(distributed.LocalCluster):
        def __init__(self, **options: object) -> None:
            asked.update(options)
            here = {"processes": False, "protocol": "tcp://", "host": "127.0.0.1", "dashboard_address": None}
            super().__init__(n_workers=1, threads_per_worker=1, **here)

        def adapt(self, *, maximum_jobs: int) -> None:
            asked["maximum_jobs"] = maximum_jobs

    write_samples(tmp_path, 1, (25, 70, 90))
    arguments = [str(tmp_path / name) for name in ("block_0.ome.tif", "block.emgauss", "block.ome.zarr")]
    arguments += ["--preset", "fast", "--tile", "64"]
    if way == "slurm":
        monkeypatch.setitem(sys.modules, "dask_jobqueue", SimpleNamespace(SLURMCluster=LocalSlurm))
        run("cluster.py", *arguments, "--slurm", "3", monkeypatch=monkeypatch)
        assert asked["maximum_jobs"] == 3
        assert asked["cores"] == asked["processes"]  # workers of one thread
    else:
        with LocalSlurm() as cluster:
            run("cluster.py", *arguments, "--scheduler", cluster.scheduler_address, monkeypatch=monkeypatch)
    assert "4 tiles, about " in capsys.readouterr().out
    assert zarr.open_array(str(tmp_path / "block.ome.zarr" / "0"), mode="r").shape == (25, 70, 90)
