"""Stacks as real programs leave them, from the script of cases beside the project: what each must be read as."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_emgauss import StackError
from napari_emgauss.stack import read_stack

SCRIPT = Path(
    os.environ.get(
        "EMGAUSS_FORMAT_CASES", Path(__file__).resolve().parents[3] / "shared" / "cases" / "make_format_cases.py"
    )
)
FORMATS_OF_ONE_VOLUME = (
    "unsigned_bytes.mrc",
    "big_endian.mrc",
    "half.mrc",
    "ilastik_zyxc.h5",
    "micrometre.h5",
    "nested.zarr",
)
TIFF_AND_FOLDERS = (
    "odd_compression.tif",
    "odd_size.tif",
    "odd_strips.tif",
    "appended.tif",
    "c3_first.tif",
    "c2_second.tif",
    "min_is_white.tif",
    "zunit_micron.tif",
    "zunit_nm.tif",
    "ome_per_slice",
    "apple_double/*.tif",
    "atlas_gap",
    "suffix_gap",
    "mixed_endings",
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    if not SCRIPT.is_file():
        pytest.skip(f"the script of cases is not there: {SCRIPT.name}")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, "-W", "ignore", str(SCRIPT), str(folder)], check=True, capture_output=True)
    return folder, {case["path"]: case for case in json.loads((folder / "cases.json").read_text())}


def keywords(options: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "--voxel-size" in options:
        at = options.index("--voxel-size")
        found["voxel_size_nm"] = tuple(float(one) for one in options[at + 1 : at + 4])
    if "--dataset" in options:
        found["dataset"] = options[options.index("--dataset") + 1]
    return found


@pytest.mark.parametrize("name", TIFF_AND_FOLDERS + FORMATS_OF_ONE_VOLUME)
def test_case(cases: tuple[Path, dict[str, dict[str, Any]]], name: str) -> None:
    folder, all_cases = cases
    case = all_cases[name]
    if case["expected"] is None:
        with pytest.raises(StackError, match="Page 4 of "):
            read_stack(folder / name, **keywords(case["options"]))
        return
    stack = read_stack(folder / name, **keywords(case["options"]))
    expected = np.load(folder / case["expected"])
    values = np.asarray(stack.slices[:])
    if expected.ndim == 4:
        values = values.swapaxes(0, 1)
    assert values.dtype == expected.dtype
    np.testing.assert_array_equal(values, expected)
    if case["voxel_nm"] is not None:
        np.testing.assert_allclose((stack.z_nm[1], *stack.pixel_size_nm), case["voxel_nm"])
    if name in ("atlas_gap", "suffix_gap"):
        assert np.diff(stack.z_nm).tolist() == [40, 40, 40, 40, 80, 40, 40]
        assert "skip 5" in stack.metadata["notes"][0]


def test_every_case_is_tried(cases: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    assert set(cases[1]) == set(TIFF_AND_FOLDERS + FORMATS_OF_ONE_VOLUME)


def test_numbers_that_can_only_be_micrometres_are_taken_as_such_and_said(
    cases: tuple[Path, dict[str, dict[str, Any]]],
) -> None:
    stack = read_stack(cases[0] / "micrometre.h5")
    np.testing.assert_allclose((stack.z_nm[1], *stack.pixel_size_nm), (40, 4, 4))
    assert any("has no unit and is taken as µm" in note for note in stack.metadata["notes"])
