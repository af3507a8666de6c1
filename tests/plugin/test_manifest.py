"""What `npe2 validate` does not see: menus, preferences, and that naming our functions loads nothing heavy."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from npe2 import PluginManager, PluginManifest

from napari_emgauss.plugin import process
from napari_emgauss.plugin._preferences import PLUGIN_NAME, Preferences, preferences


def our_manifest() -> PluginManifest:
    manager = PluginManager.instance()
    manager.discover()  # nobody else may have looked for plugins yet
    return manager.get_manifest(PLUGIN_NAME)


def test_the_manifest_is_found_and_every_name_imports() -> None:
    manifest = our_manifest()
    manifest.validate_imports()
    assert manifest.icon == "napari_emgauss.plugin:icon.svg"
    patterns = [pattern for reader in manifest.contributions.readers for pattern in reader.filename_patterns]
    # A reader of *.tif would make napari ask at every TIFF; a writer of .tif would take over saving.
    assert not any(pattern.endswith((".tif", ".tiff")) for pattern in patterns)
    assert manifest.contributions.writers[0].filename_extensions == [".ome.tif", ".ome.tiff"]


def test_nothing_the_manifest_names_imports_torch() -> None:
    manifest = our_manifest()
    modules = sorted({command.python_name.partition(":")[0] for command in manifest.contributions.commands})
    code = f"import sys, {', '.join(modules)}; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_in_the_folder_of_processes_imports_qt_or_napari() -> None:
    names = sorted(path.stem for path in Path(process.__file__).parent.glob("_[a-z]*.py"))
    assert "_fit_child" in names
    code = "import sys, " + ", ".join(f"napari_emgauss.plugin.process.{name}" for name in names)
    code += "; raise SystemExit(any(m in sys.modules for m in ('qtpy', 'napari', 'PyQt6', 'PySide6')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_preferences_have_the_manifests_defaults() -> None:
    assert preferences() == Preferences("default", "auto", 512, True)


@pytest.mark.viewer
def test_menus_and_samples(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    found = []

    def walk(menu: Any, path: list[str]) -> None:
        menu.aboutToShow.emit()
        for action in menu.actions():
            if action.menu() is not None:
                walk(action.menu(), [*path, action.text()])
            elif "EMGauss" in " ".join([*path, action.text()]):
                found.append(" > ".join([*path, action.text()]).replace("&", ""))

    for action in viewer.window._qt_window.menuBar().actions():
        walk(action.menu(), [action.text()])
    assert any(entry.startswith("Layers > Transform > ") and "Fit EMGauss" in entry for entry in found), found
    assert any(entry.startswith("Plugins > ") for entry in found), found
    assert any("Open Sample > EMGauss" in entry and "Anisotropic EM stack" in entry for entry in found), found


@pytest.mark.viewer
def test_plain_tiff_stays_with_napari(make_napari_viewer: Any, tmp_path: Any) -> None:
    import tifffile

    viewer = make_napari_viewer()
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((5, 24, 32), np.uint8))
    (layer,) = viewer.open(tmp_path / "plain.tif")
    assert layer.source.reader_plugin == "napari"
