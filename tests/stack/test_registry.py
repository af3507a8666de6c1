"""The registry of input formats: what derives from it, and formats of other packages."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_emgauss as emg
from napari_emgauss._errors import ConfigError, StackFileError
from napari_emgauss.cli import build_parser
from napari_emgauss.stack import (
    InputFormat,
    OpenedFile,
    Selection,
    VoxelSize,
    dialog_filter,
    input_formats,
    read_stack,
    read_voxel_size,
    readable_suffixes,
)
from napari_emgauss.stack.formats import _registry

VALUES = np.random.default_rng(3).integers(0, 255, (4, 8, 9), dtype=np.uint8)


def open_toy(path: Path, selection: Selection) -> OpenedFile:
    values = np.frombuffer(path.read_bytes(), np.uint8).reshape(4, 8, 9)
    return OpenedFile(values, VoxelSize(40, 5, 4, source="the toy"), "toy")


TOY = InputFormat(name="toy", label="Toy", opener=open_toy, endings=(".toy",))


@pytest.fixture(autouse=True)
def registry_as_it_was() -> Iterator[None]:
    before = dict(_registry._FORMATS)
    yield
    _registry._FORMATS.clear()
    _registry._FORMATS.update(before)


def test_a_toy_format_is_read_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "a.toy"
    path.write_bytes(VALUES.tobytes())
    with pytest.raises(StackFileError, match=r"a\.toy is not in a format that can be read: known are .*\.zarr"):
        read_stack(path)
    emg.register_reader(TOY)
    stack = read_stack(path)
    np.testing.assert_array_equal(np.asarray(stack.slices[:]), VALUES)
    assert (stack.z_nm[1], *stack.pixel_size_nm) == (40, 5, 4)
    assert stack.name == "a"
    assert read_voxel_size(path).source == "the toy"
    assert ".toy" in readable_suffixes()
    assert "Toy (*.toy)" in dialog_filter("Stacks")


def test_names_and_endings_are_taken_once() -> None:
    emg.register_reader(TOY)
    with pytest.raises(ConfigError, match="already a format 'toy'"):
        emg.register_reader(TOY)
    with pytest.raises(ConfigError, match=r"\.mrc is already read as MRC"):
        emg.register_reader(replace(TOY, name="other", endings=(".mrc",)))
    with pytest.raises(ConfigError, match=r"'TOY' is not the ending"):
        emg.register_reader(replace(TOY, name="other", endings=("TOY",)))
    emg.register_reader(replace(TOY, name="other", endings=(".npy",)), replace=True)
    assert _registry.format_of(Path(__file__).with_name("none*")).name == "images"


def test_an_ending_can_be_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(VALUES.tobytes())
    emg.register_reader(replace(TOY, endings=(".npy",)), replace=True)
    assert read_stack(path).metadata["format"] == "toy"


def test_entry_points_of_other_packages(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    entries = [
        EntryPoint("toy", f"{__name__}_plugin:register", _registry._entry_points.group),
        EntryPoint("broken", "no_such_package:register", _registry._entry_points.group),
    ]
    plugin: Any = type(sys)(f"{__name__}_plugin")
    plugin.register = lambda: emg.register_reader(TOY)
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries)
    monkeypatch.setattr(_registry._entry_points, "_loaded", False)
    assert "toy" in {row.name for row in input_formats()}
    assert "The reader broken (no_such_package:register) could not be loaded" in caplog.text


@pytest.mark.parametrize("row", input_formats(), ids=lambda row: row.name)
def test_rows_are_complete(row: InputFormat) -> None:
    for place in (row.opener, row.size_reader):
        if isinstance(place, str):
            module, _, function = place.partition(":")
            assert callable(getattr(import_module(module), function))
    assert row.endings or row.name == "images"
    assert row.label
    assert row.reads and row.refuses and row.checked_with and row.voxel_size


def test_help_and_dialog_follow_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["fit", "--help"])
    help_text = "".join(capsys.readouterr().out.split())  # argparse breaks lines, at hyphens, too
    dialog = dialog_filter("Stacks and models", "*.safetensors")
    for row in input_formats():
        if row.dataset:
            assert f"{row.label}: {row.dataset}".replace(" ", "") in help_text
        for ending in row.endings:
            assert (f"*{ending} " in dialog or f"*{ending})" in dialog) == (row.kind == "file")
    assert dialog.startswith("Stacks and models (")
    assert "*.safetensors)" in dialog
    assert dialog.endswith("All files (*)")


def test_a_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(StackFileError, match=r"a\.h5 \(HDF5\) needs h5py: pip install 'napari-emgauss\[formats\]'\."):
        read_stack(tmp_path / "a.h5")
    from napari_emgauss.render import doctor

    notes = [finding for finding in doctor() if finding.topic == "formats"]
    assert [(n.state, n.advice) for n in notes if "HDF5" in n.text] == [
        ("note", "pip install 'napari-emgauss[formats]'")
    ]


def test_a_file_that_should_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").write_bytes(b"x")
    with pytest.raises(StackFileError, match="its format is a folder"):
        read_stack(tmp_path / "a.zarr")


def test_the_list_is_light() -> None:
    import subprocess

    code = "import sys; from napari_emgauss.stack import dataset_help; dataset_help(); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_table_in_the_docs_follows_the_registry() -> None:
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs/how-to/formats.md").read_text(encoding="utf-8")
    assert page.count("<!-- generated: input-formats -->") == 1
    spec = importlib.util.spec_from_file_location("docs_hooks", root / "docs/hooks.py")
    assert spec is not None and spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    assert hooks.input_formats() in hooks.on_page_markdown(page)
    lines = hooks.input_formats().splitlines()
    for row in input_formats(entry_points=False):
        (line,) = (line for line in lines if line.startswith(f"| {row.label} |"))
        assert [cell.strip() for cell in line.strip("|").split(" | ")][2:6] == [
            row.reads,
            row.refuses,
            row.voxel_size,
            row.checked_with,
        ]
        assert all(f"`{ending}`" in line for ending in row.endings)
