"""Broken and hostile model files: one sentence, never a crash, a hang or the memory that a header claims."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from napari_emgauss._errors import EmgaussError, ModelFileError
from napari_emgauss.model import ModelConfig
from napari_emgauss.render import EmgaussModel, load
from napari_emgauss.stack import Normalisation

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
    data = sound[0]
    spots = st.tuples(st.floats(0, 1) | st.floats(0, 0.2), st.binary(min_size=1, max_size=8))

    @FUZZ
    @given(st.lists(spots, min_size=1, max_size=3), st.sampled_from(["overwrite", "cut", "insert"]))
    def run(damage: list[tuple[float, bytes]], kind: str) -> None:
        broken = data
        for where, what in damage:
            at = int(where * (len(broken) - 1))
            after = {"overwrite": broken[at + len(what) :], "insert": broken[at:], "cut": b""}[kind]
            broken = broken[:at] + what + after
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.safetensors"
            path.write_bytes(broken)
            look(path)

    run()


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside: list[tuple[Any, ...]] = [way] if way else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        inside += places(item, (*way, key))
    return inside


NONSENSE = st.sampled_from(
    [None, True, -1, 0, 1, 3, 2.5, 10**9, 10**30, -(10**12), "", "uint8", "x", [], [1], [10**12] * 4, {}, 1e308]
)


def written(folder: str, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> Path:
    path = Path(folder) / "m.safetensors"
    save_file(tensors, path, metadata={"emgauss": json.dumps(header)})
    return path


def test_nonsense_in_the_header(sound: Any) -> None:
    _, tensors, header = sound

    @settings(FUZZ, max_examples=3 * CASES)
    @given(st.sampled_from(places(header)), NONSENSE)
    def run(way: tuple[Any, ...], value: Any) -> None:
        broken = json.loads(json.dumps(header))
        inner = broken
        for key in way[:-1]:
            inner = inner[key]
        inner[way[-1]] = value
        with tempfile.TemporaryDirectory() as folder:
            look(written(folder, tensors, broken))

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
