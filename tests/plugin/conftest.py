"""Small stacks, a small model file, and children that stand in for a fit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from pytestqt.qtbot import QtBot

    from napari_emgauss.plugin.tabs._dock import EmgaussDock

# Child processes import their target by name; they get this process's sys.path.
sys.path.insert(0, str(Path(__file__).parent))

SHAPE = (5, 24, 32)
VOXEL_NM = (40.0, 4.0, 5.0)


@pytest.fixture
def values() -> np.ndarray:
    """A stack whose grey value tells slice, row and column."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    return (20 * z + 3 * y + x).astype(np.uint8)


@pytest.fixture
def request_for() -> Callable[..., object]:
    """A fit request for the stack, with some fields replaced."""
    from napari_emgauss.plugin.process._request import FitRequest

    def make(**changes: object) -> FitRequest:
        fields = {
            "name": "a stack",
            "source": None,
            "voxel_size_nm": VOXEL_NM,
            "region": (0, SHAPE[1], 0, SHAPE[2]),
            "slices": (0, SHAPE[0] - 1),
            **changes,
        }
        return FitRequest(**fields)

    return make


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model of 5 slices of 24 by 32 pixels at 40, 4 and 5 nm, unfitted."""
    import torch

    from napari_emgauss.model import ModelConfig
    from napari_emgauss.render import EmgaussModel
    from napari_emgauss.stack import Normalisation

    torch.manual_seed(0)
    model = EmgaussModel(
        ModelConfig(grid_channels=4, head_width=8),
        np.arange(5) * 40.0,
        (4.0, 5.0),
        (24, 32),
        Normalisation(0.0, 255.0, "uint8"),
        60,
        provenance={
            "name": "a stack",
            "stack": {"first_slice": 0, "region": [0, 24, 0, 32], "layer_shape": [5, 24, 32]},
        },
    )
    with torch.no_grad():
        for cloud in model.cloud_list:
            cloud.means.copy_(torch.rand_like(cloud.means) * torch.tensor([32.0, 24.0]))
            cloud.values.copy_(torch.rand_like(cloud.values))
    path = tmp_path_factory.mktemp("model") / "small.emgauss.safetensors"
    model.save(path)
    return path


@pytest.fixture(scope="session")
def service() -> Iterator[object]:
    """The rendering process, one for all tests."""
    from napari_emgauss.plugin.process._render_service import render_service

    found = render_service()
    found.device = "cpu"
    found.add_user(service)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests neither read nor write what this machine learned of its speed, nor the user's unfinished fits."""
    from napari_emgauss.plugin.process import _estimate

    folder = tmp_path_factory.mktemp("own")
    monkeypatch.setattr(_estimate, "_path", lambda: folder / "speed.json")
    _estimate.write_speed("cpu", _estimate.Speed(1.0, 1.0))  # or every dock would measure it
    monkeypatch.setenv("NAPARI_EMGAUSS_UNFINISHED", str(folder / "unfinished"))
    monkeypatch.setenv("NAPARI_EMGAUSS_PRIORS", str(folder / "priors"))
    return folder


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the canvas is what was asked for, however busy the machine."""
    monkeypatch.setattr("napari_emgauss.plugin.view._painter.PATIENCE_S", 60.0)
    monkeypatch.setattr("napari_emgauss.plugin.view._painter.PATIENCE_ALONG_Z_S", 60.0)


@pytest.fixture
def viewer() -> ViewerModel:
    """Layers without a window."""
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def dock(qtbot: QtBot, viewer: ViewerModel, service: object) -> Iterator[EmgaussDock]:
    """The dock beside them."""
    from napari_emgauss.plugin.tabs._dock import EmgaussDock

    found = EmgaussDock(viewer)
    qtbot.addWidget(found)
    yield found
    found.shut_down()
