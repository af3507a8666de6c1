"""Shared fixtures; windows are opened only where there is a screen with OpenGL."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Asks in a process of its own, since without a screen Qt does not raise: it aborts.
_GL_PROBE = """
from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
from qtpy.QtWidgets import QApplication
application = QApplication([])
surface, context = QOffscreenSurface(), QOpenGLContext()
surface.create()
raise SystemExit(0 if context.create() and context.makeCurrent(surface) else 1)
"""


@functools.cache
def why_no_viewer() -> str | None:
    """The reason why no napari window can be opened here; None where it can."""
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        return "Qt runs without a screen (QT_QPA_PLATFORM=offscreen)"
    if sys.platform.startswith("linux") and not any(os.environ.get(key) for key in ("DISPLAY", "WAYLAND_DISPLAY")):
        return "no screen: run under Xvfb, as `make test` does"
    try:
        probe = subprocess.run([sys.executable, "-c", _GL_PROBE], capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return "Qt did not start within two minutes"
    return None if probe.returncode == 0 else "Qt finds no OpenGL on this screen"


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Share the tests file by file, those with windows in one process: two on one screen would fight for its keys."""
    from xdist.scheduler import LoadFileScheduling

    class FileByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "windows" if nodeid.startswith("tests/plugin/") else super()._split_scope(nodeid)

    return FileByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if any("viewer" in item.keywords for item in items) and (reason := why_no_viewer()):
        skip = pytest.mark.skip(reason=reason)
        for item in items:
            if "viewer" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Path of a benchmark volume by file name; skips where the volumes are not beside the project."""
    folder = Path(os.environ.get("EMGAUSS_BENCHMARK_DATA", ROOT.parent / "shared" / "data"))

    def path_of(name: str) -> Path:
        path = folder / name
        if not path.is_file():
            pytest.skip(f"{name} is not in {folder}: set EMGAUSS_BENCHMARK_DATA to the folder of benchmark volumes")
        return path

    return path_of


def make_quick(patch: pytest.MonkeyPatch) -> None:
    """Short fits with a prior that needs no preparation, and a small sample, for whoever asks for the defaults."""
    from dataclasses import replace
    from types import MappingProxyType

    from napari_emgauss.fitting import _presets
    from napari_emgauss.stack import PhantomConfig

    quick = {"iterations_scale": 0.01, "prior": "linear"}
    rows = _presets.PRESETS.values()
    presets = {row.name: replace(row, settings=MappingProxyType({**row.settings, **quick})) for row in rows}
    patch.setattr(_presets, "PRESETS", MappingProxyType(presets))
    small = PhantomConfig(shape=(41, 36, 44))
    patch.setattr(PhantomConfig.__init__, "__defaults__", tuple(vars(small).values()))


@pytest.fixture
def quick_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documentation and examples run as they are written, in seconds."""
    make_quick(monkeypatch)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``stack.ome.tif``, its truth ``volume.ome.tif`` and a fitted ``model.safetensors``."""
    import napari_emgauss as emg
    from napari_emgauss.cli import main

    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        assert main(["sample", "-o", str(folder / "stack.ome.tif"), "--truth", str(folder / "volume.ome.tif")]) == 0
        emg.run_fit(emg.read_stack(folder / "stack.ome.tif"), emg.preset("fast")).save(folder / "model.safetensors")
    return folder


@functools.cache
def _launches() -> ModuleType:
    spec = importlib.util.spec_from_file_location("launches", Path(__file__).with_name("launches.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def launches() -> ModuleType:
    """What counts a GPU's waits and replays recorded steps, without a GPU."""
    return _launches()
