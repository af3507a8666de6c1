"""Every model that can be shown or exported keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_emgauss import EmgaussModel
from napari_emgauss.model import Confidence, ModelConfig
from napari_emgauss.plugin.process._remote_model import RemoteModel
from napari_emgauss.plugin.process._render_service import RenderService
from napari_emgauss.plugin.view._continuous_layer import DepthShift, ShiftedModel
from napari_emgauss.plugin.view._linear_model import DifferenceModel, LinearModel
from napari_emgauss.render import BackendChoice
from napari_emgauss.stack import Normalisation
from napari_emgauss.tiles import TiledModel, TileSize, _model, cut
from napari_emgauss.tiles._index import TileIndex, write_index, write_tile
from napari_emgauss.volume import ExactModel, ModelView, VolumeModel, channel_models, traits_of
from napari_emgauss.volume._original_intensity import in_original_intensity

from .model_contract import VolumeModelContract

Z_NM = np.array([100.0, 140.0, 200.0])
PIXEL_NM = (4.0, 5.0)
SIZE = (20, 27)
LINES = [[1.0, 0.0], [1.1, -3.0], [0.9, 2.0]]


def fitted(channels: int = 1, **provenance: Any) -> EmgaussModel:
    model = EmgaussModel(
        ModelConfig(field="grid", channels=channels),
        Z_NM,
        PIXEL_NM,
        SIZE,
        Normalisation(0.0, 255.0, "uint8", ((0.0, 255.0), (0.0, 255.0)) if channels == 2 else None),
        12,
        provenance={"name": "by hand", **provenance},
        device="cpu",
    ).requires_grad_(False)
    rng = np.random.default_rng(4)
    cloud = model.cloud_list[0]
    cloud.means[:] = cloud.means.new_tensor(rng.uniform(0, SIZE[::-1], (12, 2)))
    cloud.log_scales[:] = 1.2
    cloud.values[:] = cloud.values.new_tensor(rng.uniform(0.2, 0.9, cloud.values.shape))
    planes = rng.integers(40, 200, (2, 5, 7)).astype(np.uint8)
    model.confidence = Confidence(planes, [120.0, 170.0], Z_NM, PIXEL_NM, SIZE)
    return model


class TestEmgaussModel(VolumeModelContract):
    @pytest.fixture
    def model(self) -> VolumeModel:
        return fitted()


class TestEmgaussModelOfTwoChannels(VolumeModelContract):
    @pytest.fixture
    def model(self) -> VolumeModel:
        return fitted(2)


class TestConfidence(VolumeModelContract):
    @pytest.fixture
    def model(self) -> VolumeModel:
        confidence = fitted().confidence
        assert confidence is not None
        return confidence


class TestTiledModel(VolumeModelContract):
    @pytest.fixture
    def model(self, tmp_path: Path) -> VolumeModel:
        shape = (3, 140, 70)
        plan = cut(shape, Z_NM, TileSize(70, 8, 5, 2))
        index = TileIndex(plan, Z_NM, PIXEL_NM, Normalisation(0.0, 255.0, "uint8"), {"name": "by hand"})
        for tile in plan:
            one = EmgaussModel(
                ModelConfig(field="grid"), Z_NM, PIXEL_NM, tile.shape[1:], index.normalisation, 9, device="cpu"
            )
            one.requires_grad_(False).save(tmp_path / "one.safetensors")
            data = (tmp_path / "one.safetensors").read_bytes()
            index = index.with_tile(tile, write_tile(tmp_path, tile, data, 9))
        write_index(tmp_path, index)
        return TiledModel(tmp_path, device="cpu")

    def test_it_says_whether_its_tiles_lie_on_a_card(self, model: TiledModel, monkeypatch: pytest.MonkeyPatch) -> None:
        traits = traits_of(model)
        assert not traits.has_own_device and traits.folder == model.folder
        choice = BackendChoice("triton", "cuda:0", "the best one here")
        monkeypatch.setattr(_model, "choose_backend", lambda device: {"auto": choice}[device])
        model.device = "auto"
        assert traits_of(model).has_own_device
        assert traits_of(ModelView(model)).has_own_device, "what shows a model in another way works as it does"


class TestExactModel(VolumeModelContract):
    @pytest.fixture
    def model(self) -> VolumeModel:
        own = np.random.default_rng(0).integers(0, 256, (3, 2, *SIZE), np.uint8)
        return ExactModel(fitted(2), own, damage={1: np.eye(*SIZE, dtype=bool), 2: None})


class TestModelView(VolumeModelContract):
    @pytest.fixture
    def model(self) -> VolumeModel:
        return ModelView(fitted(2))


class TestChannelModel(VolumeModelContract):
    @pytest.fixture
    def model(self) -> VolumeModel:
        return channel_models(fitted(2))[1]


class TestOriginalIntensity(VolumeModelContract):
    @pytest.fixture
    def model(self) -> VolumeModel:
        return in_original_intensity(fitted(stack={"intensity_correction": "linear", "intensity_lines": LINES}))


class TestShiftedModel(VolumeModelContract):
    @pytest.fixture
    def model(self) -> VolumeModel:
        return ShiftedModel(fitted(), DepthShift())


class TestLinearModel(VolumeModelContract):
    @pytest.fixture
    def model(self) -> VolumeModel:
        values = np.random.default_rng(2).integers(0, 255, (5, 30, 40)).astype(np.uint8)
        return LinearModel(values, (1, 2, 4), (2, 22, 3, 30), Z_NM, PIXEL_NM)


class TestDifferenceModel(VolumeModelContract):
    @pytest.fixture
    def model(self) -> VolumeModel:
        return DifferenceModel(fitted(), fitted())


@pytest.fixture(scope="module")
def service() -> Iterator[RenderService]:
    found = RenderService()
    found.device = "cpu"
    found.add_user(service)  # or it ends with the first model that nobody needs any more
    yield found
    found.close()


class TestRemoteModel(VolumeModelContract):
    @pytest.fixture
    def model(self, service: RenderService, tmp_path: Path) -> VolumeModel:
        fitted().save(tmp_path / "model.safetensors")
        return RemoteModel.open(service, tmp_path / "model.safetensors")
