"""Model files: round trip, and one clear sentence for everything that is not one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from napari_emgauss._errors import ModelFileError
from napari_emgauss.model import ModelConfig
from napari_emgauss.render import EmgaussModel, load
from napari_emgauss.stack import Normalisation


def make_model(**settings: object) -> EmgaussModel:
    torch.manual_seed(3)
    model = EmgaussModel(
        ModelConfig(**{"field": "spline", "window_slices": 3, **settings}),  # type: ignore[arg-type]
        np.array([10.0, 60.0, 110.0, 210.0, 260.0, 310.0]),
        (5.0, 4.0),
        (13, 19),
        Normalisation(-7.0, 300.0, "int16"),
        31,
        provenance={"source": "somewhere", "iterations": 3},
    )
    with torch.no_grad():
        for cloud in model.cloud_list:
            cloud.means.copy_(torch.rand(31, 2) * torch.tensor([19.0, 13.0]))
            cloud.values.copy_(torch.rand(cloud.values.shape))
            for knot in cloud.field.parameters():
                knot.add_(0.2 * torch.randn(knot.shape))
    return model


@pytest.mark.parametrize(
    "settings", [{}, {"field": "grid"}, {"field": "mlp", "mlp_width": 8}, {"channels": 3}, {"thickness_gaps": 1.0}]
)
def test_round_trip(tmp_path: Path, settings: dict[str, object]) -> None:
    model = make_model(**settings)
    model.save(tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors", device="cpu")
    assert again.config == model.config
    assert again.z_nm == pytest.approx(model.z_nm) and again.pixel_size_nm == (5.0, 4.0)
    assert again.shape == (6, 13, 19) and again.dtype == np.int16
    assert again.provenance == model.provenance and again.normalisation == model.normalisation
    for z in (10.0, 133.3, 310.0):
        np.testing.assert_array_equal(again.render(z), model.render(z))
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]  # no temporary file left


def test_truncated(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    make_model().save(path)
    data = path.read_bytes()
    for length in (0, 5, 200, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(ModelFileError, match="cut short"):
            load(path)


def test_foreign(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(ModelFileError, match="There is no model file"):
        load(path)
    path.write_bytes(b"II*\0 this is a TIFF file, more or less, and rather longer than eight bytes")
    with pytest.raises(ModelFileError, match="not an EMGauss model"):
        load(path)
    save_file({"weights": torch.zeros(3)}, path)
    with pytest.raises(ModelFileError, match="not an EMGauss model"):
        load(path)
    save_file({"weights": torch.zeros(3)}, path, metadata={"emgauss": "{not json"})
    with pytest.raises(ModelFileError, match="cannot be read"):
        load(path)
    header = {"format": "napari-emgauss-checkpoint", "format_version": 1}
    save_file({"weights": torch.zeros(3)}, path, metadata={"emgauss": json.dumps(header)})
    with pytest.raises(ModelFileError, match="checkpoint"):
        load(path)


def test_newer_version_and_damaged_header(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = make_model()
    header = model._header()
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, path, metadata={"emgauss": json.dumps({**header, "format_version": 99})})
    with pytest.raises(ModelFileError, match="newer napari-emgauss"):
        load(path)
    for damage in ({"counts": [5, 5]}, {"shape": [6, 13]}, {"config": {"field": "nonsense"}}, {"normalisation": {}}):
        save_file(tensors, path, metadata={"emgauss": json.dumps({**header, **damage})})
        with pytest.raises(ModelFileError, match="damaged"):
            load(path)


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not exist: create it first"):
        make_model().save(tmp_path / "nowhere" / "m.safetensors")


def test_a_disk_that_is_full_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(ModelFileError, match="could not be written: the disk is full"):
        make_model().save(tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_as_readable_for_others_as_any_file(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    make_model().save(tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
