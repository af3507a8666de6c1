"""Broken and hostile folders of tiles: one sentence, never a crash, a hang or the memory that an index claims."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from napari_emgauss._errors import EmgaussError, ModelFileError
from napari_emgauss.tiles import TiledModel, load

from ..damage import NONSENSE, damaged, places, with_nonsense
from ..hostile import watched

DATA = Path(__file__).parents[1] / "data" / "tiled.emgauss"
FUZZ = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)


def sound() -> dict[str, Any]:
    """The index of a small folder."""
    values: dict[str, Any] = json.loads((DATA / "index.json").read_text())
    return values


def look(folder: Path) -> None:
    """Load and render as a user would; only our own errors may come out, each one line."""
    for allow_incomplete in (False, True):
        try:
            model = TiledModel(folder, device="cpu", allow_incomplete=allow_incomplete)
            assert model.render(float(model.z_nm[0]), region=(0, 1, 0, 1)).shape == (1, 1)
        except EmgaussError as error:
            assert 15 < len(str(error)) < 500
            assert "\n" not in str(error)


def with_index(folder: str, text: str | bytes) -> Path:
    """A folder with another index in front of the same tiles."""
    path = Path(folder) / "t.emgauss"
    shutil.copytree(DATA, path)
    (path / "index.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_nonsense_in_the_index() -> None:
    index = sound()

    @settings(FUZZ, max_examples=120)
    @given(st.sampled_from(places(index)), NONSENSE)
    def run(way: tuple[Any, ...], value: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            look(with_index(folder, json.dumps(with_nonsense(index, way, value))))

    run()


def test_damaged_bytes_of_an_index() -> None:
    data = (DATA / "index.json").read_bytes()

    @settings(FUZZ, max_examples=60)
    @given(damaged(data))
    def run(broken: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            look(with_index(folder, broken))

    run()


def test_damaged_tiles() -> None:
    path = next((DATA / "tiles").iterdir())

    @settings(FUZZ, max_examples=20)
    @given(damaged(path.read_bytes()))
    def run(broken: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            target = with_index(folder, (DATA / "index.json").read_bytes())
            (target / "tiles" / path.name).write_bytes(broken)
            look(target)

    run()


def spans(length: int, parts: int) -> list[dict[str, Any]]:
    """An axis in so many equal parts that meet in their borders."""
    step = length // parts
    fades = [None, *([k * step, k * step] for k in range(1, parts)), None]
    return [
        {"start": k * step, "stop": (k + 1) * step, "fade_in": fades[k], "fade_out": fades[k + 1]} for k in range(parts)
    ]


def plan(index: dict[str, Any], side: int, parts: int) -> dict[str, Any]:
    """The index with slices of another side in so many parts along each axis."""
    size = {**index["plan"]["size"], "pixels": side // parts}
    cuts = {"rows": spans(side, parts), "columns": spans(side, parts)}
    shape = [index["plan"]["shape"][0], side, side]
    return {**index, "plan": {**index["plan"], **cuts, "shape": shape, "size": size}}


def one_tile(index: dict[str, Any], side: int) -> dict[str, Any]:
    """An index of tiles of that side, for which the small ones are given out."""
    record = next(iter(index["tiles"].values()))
    names = [f"z{k:04d}_y0000_x0000" for k in range(len(index["plan"]["slices"]))]
    return {**plan(index, side, 1), "tiles": dict.fromkeys(names, record)}


HOSTILE: dict[str, Callable[[dict[str, Any]], str]] = {
    "36 million tiles": lambda index: json.dumps(plan(index, 6000 * 64, 6000)),
    "slices of 20000 pixels": lambda index: json.dumps(one_tile(index, 20_000)),
    "slices of 100000 pixels": lambda index: json.dumps(one_tile(index, 100_000)),
    "a deep nest": lambda _: "[" * 200_000 + "]" * 200_000,
    "a deep nest within": lambda index: json.dumps({**index, "provenance": "X"}).replace(
        '"X"', "[" * 9000 + "]" * 9000
    ),
    "nothing but brackets": lambda _: "[" + "[]," * 10_000_000 + "0]",
    "a number without end": lambda index: json.dumps({**index, "z_nm": "X"}).replace('"X"', "9" * 1_000_000),
    "a name that leads out": lambda index: json.dumps(
        {**index, "tiles": {"../../outside": next(iter(index["tiles"].values()))}}
    ),
}


def test_what_an_index_claims_costs_neither_memory_nor_time(tmp_path: Path) -> None:
    made = []
    for name, make in HOSTILE.items():
        (tmp_path / name).mkdir()
        made.append(with_index(str(tmp_path / name), make(sound())).rename(tmp_path / name / f"{name}.emgauss"))
    said = watched("model", made)
    assert all(sentence for sentence in said.values()), said


def test_a_plan_that_leaves_a_gap_is_refused(tmp_path: Path) -> None:
    index = sound()
    index["plan"]["rows"][0]["stop"] -= 30
    with pytest.raises(ModelFileError, match="is damaged"):
        load(with_index(str(tmp_path), json.dumps(index)))


def test_the_folder_itself_is_sound() -> None:
    model = load(DATA, device="cpu")
    assert model.render(40.0).shape == model.shape[1:]
