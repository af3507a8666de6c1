"""Broken and hostile model files: one sentence, never a crash, a hang or the memory that a header claims."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from napari_emgauss._errors import EmgaussError, ModelFileError
from napari_emgauss.model import ModelConfig
from napari_emgauss.render import EmgaussModel, load
from napari_emgauss.stack import Normalisation

from ..damage import NONSENSE, damaged, places, with_nonsense
from ..hostile import watched

CASES = 100
FUZZ = settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
Z_NM = np.array([10.0, 60.0, 110.0, 210.0])


@pytest.fixture(scope="module")
def sound() -> tuple[bytes, dict[str, torch.Tensor], dict[str, Any]]:
    """A small model: its file, its tensors and its header."""
    torch.manual_seed(3)
    model = EmgaussModel(ModelConfig(field="grid"), Z_NM, (5.0, 4.0), (13, 19), Normalisation(0.0, 255.0, "uint8"), 21)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        model.save(path)
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["emgauss"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return path.read_bytes(), tensors, header


def look(path: Path) -> None:
    """Load and render as a user would; only our own errors may come out, each one line."""
    try:
        model = load(path, device="cpu")
        assert model.render(float(model.z_nm[0])).ndim == 2
    except EmgaussError as error:
        assert 15 < len(str(error)) < 500
        assert "\n" not in str(error)


def test_damaged_bytes(sound: Any) -> None:
    @FUZZ
    @given(damaged(sound[0]))
    def run(broken: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.safetensors"
            path.write_bytes(broken)
            look(path)

    run()


def written(folder: str, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> Path:
    path = Path(folder) / "m.safetensors"
    save_file(tensors, path, metadata={"emgauss": json.dumps(header)})
    return path


def test_nonsense_in_the_header(sound: Any) -> None:
    _, tensors, header = sound

    @settings(FUZZ, max_examples=3 * CASES)
    @given(st.sampled_from(places(header)), NONSENSE)
    def run(way: tuple[Any, ...], value: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            look(written(folder, tensors, with_nonsense(header, way, value)))

    run()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("counts", [10**13]),
        ("shape", [4, 10**9, 10**9]),
        ("z_nm", [0.0, 1.0, float("nan"), 3.0]),
        ("pixel_size_nm", [5.0]),
        ("config", {"field": "mlp", "mlp_layers": 10**9}),
        ("config", {"field": "spline", "knots_per_gap": 10**9}),
    ],
)
def test_what_a_header_claims_is_not_believed(sound: Any, tmp_path: Path, name: str, value: Any) -> None:
    _, tensors, header = sound
    with pytest.raises(ModelFileError, match="header and its content disagree"):
        load(written(str(tmp_path), tensors, {**header, name: value}))


def test_parameters_that_are_no_numbers_are_refused(sound: Any, tmp_path: Path) -> None:
    _, tensors, header = sound
    for name in tensors:
        for value in (float("nan"), float("inf"), -float("inf")):
            broken = {key: tensor.clone() for key, tensor in tensors.items()}
            broken[name].view(-1)[-1] = value
            with pytest.raises(ModelFileError, match="holds NaN or infinity"):
                load(written(str(tmp_path), broken, header))


def test_parameters_of_another_type_or_number_are_refused(sound: Any, tmp_path: Path) -> None:
    _, tensors, header = sound
    name = "clouds.0.means"
    for value in (tensors[name].double(), tensors[name].int(), tensors[name][:-1].clone(), tensors[name].half()):
        with pytest.raises(ModelFileError, match="header and its content disagree"):
            load(written(str(tmp_path), {**tensors, name: value}, header))


def confident(planes: tuple[int, ...], depths_nm: list[float]) -> tuple[torch.Tensor, dict[str, Any]]:
    return torch.zeros(planes, dtype=torch.uint8), {"depths_nm": depths_nm}


@pytest.mark.parametrize(
    ("planes", "depths_nm"),
    [((1, 40, 50), [30.0]), ((2, 4, 5), [30.0]), ((1, 4, 5), [1e9]), ((1, 4, 5), [60.0]), ((1, 4, 5), [float("nan")])],
)
def test_confidence_of_another_volume_is_refused(
    sound: Any, tmp_path: Path, planes: tuple[int, ...], depths_nm: list[float]
) -> None:
    _, tensors, header = sound
    good, table = confident((1, 4, 5), [30.0])  # a quarter of 13 x 19 pixels, rounded up
    load(written(str(tmp_path), {**tensors, "confidence": good}, {**header, "confidence": table}))
    bad, table = confident(planes, depths_nm)
    with pytest.raises(ModelFileError, match="header and its content disagree"):
        load(written(str(tmp_path), {**tensors, "confidence": bad}, {**header, "confidence": table}))


def test_what_a_model_claims_costs_neither_memory_nor_time(tmp_path: Path) -> None:
    torch.manual_seed(3)
    line = Normalisation(0.0, 255.0, "uint8")
    model = EmgaussModel(ModelConfig(field="spline"), Z_NM, (5.0, 4.0), (13, 19), line, 21)
    tensors, header = model.state_dict(), model._header()
    nest = "[" * 100_000 + "]" * 100_000
    claims = {
        "slices of 30000 pixels": json.dumps({**header, "shape": [4, 30_000, 30_000]}),
        "slices of 10^9 pixels": json.dumps({**header, "shape": [4, 10**9, 10**9]}),
        "a thousand knots": json.dumps({**header, "config": {**header["config"], "knots_per_gap": 1000}}),
        "a thousand windows": json.dumps(
            {
                **header,
                "shape": [100_000, 13, 19],
                "z_nm": list(range(100_000)),
                "counts": [1] * 50_000,
                "config": {"field": "mlp", "mlp_layers": 1000, "window_slices": 3},
            }
        ),
        "a deep nest": json.dumps({**header, "provenance": "X"}).replace('"X"', nest),
        "nothing but brackets": "[" + "[]," * 5_000_000 + "0]",
        "a number without end": json.dumps({**header, "z_nm": "X"}).replace('"X"', "9" * 1_000_000),
    }
    paths = [tmp_path / name for name in claims]
    for path in paths:
        save_file(tensors, path, metadata={"emgauss": claims[path.name]})
    long_table = tmp_path / "a table of 4 GB"
    long_table.write_bytes((2**32).to_bytes(8, "little") + b"{}")
    said = watched("model", [*paths, long_table])
    assert all(sentence for sentence in said.values()), said


def test_wide_slices_are_rendered_in_bands(sound: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(sound[0])
    model = load(tmp_path / "m.safetensors", device="cpu")
    with torch.no_grad():
        model.cloud_list[0].means.uniform_(0, 19)
    whole = model.render([20.0, 70.0])
    part = model.render(20.0, region=(2.5, 10.0, 3.0, 15.0), shape=(30, 24))
    monkeypatch.setattr("napari_emgauss.render._model.ROOMY_PIXELS", 100)  # two rows at a time
    assert np.abs(model.render([20.0, 70.0]).astype(int) - whole).max() <= 1
    again = model.render(20.0, region=(2.5, 10.0, 3.0, 15.0), shape=(30, 24))
    assert np.abs(again.astype(int) - part).max() <= 1
