"""Broken and hostile checkpoints: one sentence, never a crash, a hang or the memory that a header claims."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from napari_emgauss._errors import EmgaussError, ModelFileError
from napari_emgauss.fitting import fit

from ..damage import NONSENSE, damaged, places, with_nonsense
from ..data.make import small_stack
from ..hostile import watched

DATA = Path(__file__).parents[1] / "data" / "checkpoint.safetensors"
FUZZ = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
Tensors = dict[str, torch.Tensor]


@lru_cache
def sound() -> tuple[Tensors, dict[str, Any]]:
    """Tensors and header of a small checkpoint."""
    with safe_open(DATA, "pt") as file:
        header = json.loads(file.metadata()["emgauss"])
        return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118


def look(path: Path) -> str:
    """Go on with it for a few iterations, as a user would; only our own errors may come out, each one line."""
    try:
        updates = fit(small_stack(), resume=path)
        try:
            # A header may well ask for any number of iterations: that is no damage.
            for _, update in zip(range(2), updates, strict=False):
                assert update.model is not None
        finally:
            updates.close()  # type: ignore[attr-defined]
    except EmgaussError as error:
        assert 15 < len(str(error)) < 500
        assert "\n" not in str(error)
        return str(error)
    return ""


def written(folder: str | Path, tensors: Tensors, header: dict[str, Any]) -> Path:
    path = Path(folder) / "c.safetensors"
    save_file(tensors, path, metadata={"emgauss": json.dumps(header)})
    return path


def test_damaged_bytes() -> None:
    @settings(FUZZ, max_examples=80)
    @given(damaged(DATA.read_bytes()))
    def run(broken: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "c.safetensors"
            path.write_bytes(broken)
            look(path)

    run()


def test_nonsense_in_the_header() -> None:
    tensors, header = sound()
    # Long lists are of one kind throughout: their first entries stand for all.
    ways = [way for way in places(header) if all(type(key) is not int or key < 3 for key in way)]

    @settings(FUZZ, max_examples=160)
    @given(st.sampled_from(ways), NONSENSE)
    def run(way: tuple[Any, ...], value: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            look(written(folder, tensors, with_nonsense(header, way, value)))

    run()


@st.composite
def other_tensor(draw: st.DrawFn, tensor: torch.Tensor) -> torch.Tensor | None:
    """A tensor cut short, longer, of another type or form, with a number that is none; or none at all."""
    kind = draw(
        st.sampled_from(["gone", "short", "long", "double", "half", "int", "flat", "deep", "nan", "inf", "huge"])
    )
    flat = tensor.reshape(-1)
    if kind == "gone":
        return None
    if kind == "short":
        return tensor[: max(0, len(tensor) - 1)].clone() if tensor.ndim else tensor.reshape(1)[:0].clone()
    if kind == "long":
        return torch.cat([tensor, tensor[-1:]]) if tensor.ndim and len(tensor) else torch.zeros(3)
    if kind in ("double", "half", "int"):
        return tensor.to({"double": torch.float64, "half": torch.float16, "int": torch.int32}[kind])
    if kind in ("flat", "deep"):
        return flat.clone() if kind == "flat" else tensor[None].clone()
    if len(flat):
        spoiled = flat.clone()
        spoiled[draw(st.integers(0, len(flat) - 1))] = {"nan": float("nan"), "inf": float("inf"), "huge": 3e38}[kind]
        return spoiled.reshape(tensor.shape)
    return tensor


def test_damaged_tensors() -> None:
    tensors, header = sound()
    spoiled = st.sampled_from(sorted(tensors)).flatmap(
        lambda name: st.tuples(st.just(name), other_tensor(tensors[name]))
    )

    @settings(FUZZ, max_examples=120)
    @given(spoiled)
    def run(one: tuple[str, torch.Tensor | None]) -> None:
        name, value = one
        broken = {**tensors, name: value} if value is not None else {k: v for k, v in tensors.items() if k != name}
        with tempfile.TemporaryDirectory() as folder:
            look(written(folder, {k: v for k, v in broken.items() if v is not None}, header))

    run()


def state(**values: Any) -> Callable[[Tensors, dict[str, Any]], tuple[Tensors, dict[str, Any]]]:
    return lambda tensors, header: (tensors, {**header, "state": {**header["state"], **values}})


def tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> Any:
    def spoiled(tensors: Tensors, header: dict[str, Any]) -> tuple[Tensors, dict[str, Any]]:
        value = change(tensors[name])
        rest = {key: one for key, one in tensors.items() if key != name}
        return (rest if value is None else {**rest, name: value}), header

    return spoiled


CUT = "student/clouds.0.means"
BROKEN: dict[str, Any] = {
    # A render walks as many Gaussians as there are means: what is shorter was read beyond its end.
    "means cut short": tensor(CUT, lambda value: value[:-3].clone()),
    "values cut short": tensor("student/clouds.0.values", lambda value: value[:-3].clone()),
    "a knot of the teacher cut short": tensor("teacher/clouds.0.field.knots.1", lambda value: value[:-3].clone()),
    "a moment cut short": tensor(f"adam/{CUT.removeprefix('student/')}:exp_avg", lambda value: value[:-3].clone()),
    "a moment gone": tensor(f"adam/{CUT.removeprefix('student/')}:exp_avg_sq", lambda _: None),
    "gradients cut short": tensor("gradient/0", lambda value: value[:-3].clone()),
    "labels cut short": tensor("labels/images", lambda value: value[:-1].clone()),
    "labels of another size": tensor("labels/images", lambda value: value[:, :-1].clone()),
    "labels of another type": tensor("labels/images", lambda value: value.float()),
    "a tensor of ten": lambda tensors, header: ({**tensors, "student/else": torch.zeros(10)}, header),
    "a mean that is no number": tensor(CUT, lambda value: value * float("nan")),
    "more iterations than there are": state(iteration=10**9),
    "iterations below none": state(iteration=-5),
    "a loss that is no number": state(loss=float("nan")),
    "another number of Gaussians": state(counts=[10**13]),
    "another number of clouds": state(counts=[26, 26]),
    "no generator": state(rng={}),
    "another generator": state(rng={"bit_generator": "MT19937", "state": {}}),
    "draws that do not exist": state(real={"size": 6, "left": [99]}),
    "draws again and again": state(real={"size": 6, "left": [1] * 10}),
    "a bag of another size": state(pseudo={"size": 10**9, "left": []}),
    "caps that are none": state(caps=["x"]),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_damaged_checkpoints_are_refused(name: str, tmp_path: Path) -> None:
    said = look(written(tmp_path, *BROKEN[name](*sound())))
    assert "damaged EMGauss checkpoint" in said, said


def test_a_sound_one_is_not_refused(tmp_path: Path) -> None:
    assert look(written(tmp_path, *sound())) == ""


def test_what_a_checkpoint_claims_costs_neither_memory_nor_time(tmp_path: Path) -> None:
    tensors, header = sound()
    nest = "[" * 100_000 + "]" * 100_000

    def config(**values: Any) -> str:
        return json.dumps({**header, "config": {**header["config"], **values}})

    claims = {
        "a deep nest": json.dumps({**header, "state": "X"}).replace('"X"', nest),
        "a thousand labels a gap": config(labels_per_gap=10**9),
        "a thousand depths at once": config(depths_per_iteration=10**9),
        "a thousand knots": config(knots_per_gap=1000),
        "an mlp of a thousand layers": config(field="mlp", mlp_layers=1000, mlp_width=1_000_000),
        "a fine grid": config(field="grid", grid_cell_pixels=1.0, grid_channels=1_000_000),
        "10^13 Gaussians": json.dumps({**header, "state": {**header["state"], "counts": [10**13]}}),
        "iterations without end": config(iterations_scale=1e308),
        "nothing but brackets": "[" + "[]," * 5_000_000 + "0]",
    }
    paths = [tmp_path / name for name in claims]
    for path in paths:
        save_file(tensors, path, metadata={"emgauss": claims[path.name]})
    said = watched("checkpoint", paths)
    assert all(sentence for sentence in said.values()), said


def test_what_the_prior_had_come_to_is_looked_at_too(tmp_path: Path) -> None:
    tensors, header = sound()
    fresh = {**header, "config": {**header["config"], "prior": "self:fast"}, "state": {"iteration": 0}}
    for prior in ({"training": {}}, {"learned": {}}, {"training": 3}, [], {"training": {"iteration": -1}}):
        with pytest.raises(ModelFileError):
            list(fit(small_stack(), resume=written(tmp_path, {}, {**fresh, "prior": prior})))
    assert tensors
