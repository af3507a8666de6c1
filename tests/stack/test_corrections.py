"""Corrections as one list: their order, and what each is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_emgauss import ProgressUpdate, Stack, StackError, stack_from_array
from napari_emgauss.stack import Corrections, DamagedRectangle, _corrections

ALL = Corrections(
    denoise="gaussian",
    even_out="linear",
    straighten=True,
    region=(2, 26, 0, 30),
    damage=[DamagedRectangle(2, 4, 9, 5, 12)],
    skip="4",
    thickness_nm={1: 70.0},
)


@pytest.fixture
def stack() -> Stack:
    z, y, x = np.meshgrid(np.arange(6), np.arange(28), np.arange(30), indexing="ij")
    noise = np.random.default_rng(1).normal(0, 6, z.shape)
    grey = 120 + 10 * (z == 3) + 50 * np.sin((y + z) / 3) * np.cos(x / 4) + noise
    return stack_from_array(np.clip(grey, 0, 255).astype(np.uint8), (40, 4, 4))


def test_the_order_is_always_the_same(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def noting(name: str) -> _corrections.Step:
        return lambda found, value, tell: done.append(name) or found

    monkeypatch.setattr(_corrections, "_STEPS", {name: ("", noting(name)) for name in _corrections._STEPS})
    ALL.apply(stack)
    assert done == ["thickness_nm", "skip", "damage", "region", "straighten", "even_out", "denoise"] == list(ALL.names)


def test_all_of_them_together(stack: Stack) -> None:
    corrected = ALL.apply(stack)
    assert corrected.shape == (5, 24, 30)
    assert corrected.z_nm.tolist() == [0, 40, 110, 150, 230]  # 40 nm, but 70 from slice 1 to 2; slice 4 is left out
    about = corrected.metadata
    assert about["left_out_slices"] == [4] and about["left_out_z_nm"] == [190.0]
    assert about["masked_fraction"] == {"2": round(5 * 7 / (28 * 30), 6)} and about["region"] == [2, 26, 0, 30]
    assert about["intensity_correction"] == "linear" and about["denoising"]["method"] == "gaussian"
    assert len(about["jitter_removed_px"]) == 5


def test_nothing_asked_for_is_the_stack_itself(stack: Stack) -> None:
    assert Corrections().names == () and Corrections().apply(stack) is stack


def test_damage_may_lie_in_a_file_numbered_as_the_stack_s(stack: Stack, tmp_path: Path) -> None:
    mask = np.zeros(stack.shape, np.uint8)
    mask[3, :7] = 1
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    corrected = Corrections(skip=[1], damage=tmp_path / "mask.tif").apply(stack)
    assert corrected.metadata["masked_fraction"] == {"3": 0.25}
    assert corrected.damage is not None and np.asarray(corrected.damage[2])[:7].all()


def test_slices_left_out_twice_are_all_remembered(stack: Stack) -> None:
    twice = Corrections(skip="2").apply(Corrections(skip=[4]).apply(stack))
    assert twice.metadata["left_out_slices"] == [2, 4] and twice.metadata["left_out_z_nm"] == [80.0, 160.0]
    assert twice.numbers_in_file == [0, 1, 3, 5]
    with pytest.raises(StackError, match="There is no slice 7"):
        Corrections(skip="7").apply(twice)
    with pytest.raises(StackError, match="Slice 5 is the last one"):
        Corrections(thickness_nm={5: 50.0}).apply(stack)


def test_progress_goes_through_all_steps(stack: Stack) -> None:
    told: list[ProgressUpdate] = []
    Corrections(even_out="linear", denoise="gaussian").apply(stack, on_progress=told.append)
    fractions = [update.fraction for update in told]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert {update.text for update in told} == {"evening out", "denoising", ""}
