"""Which number in the names of images counts slices."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

import numpy as np
import pytest

from napari_emgauss import StackError
from napari_emgauss._remedies import Door
from napari_emgauss.stack.formats._file_numbers import order_of


def names_in_order(names: Sequence[str]) -> list[str]:
    return [names[k] for k in order_of(names, "em").order]


@pytest.mark.parametrize(
    "names",
    [
        ["s1.tif", "s2.tif", "s10.tif"],
        ["001_aligned_v2.tif", "002_aligned_v2.tif", "010_aligned_v2.tif"],
        ["z-10.tif", "z-9.tif", "z0.tif", "z5.tif"],  # a minus where others have none is a sign
        ["s-1.tif", "s-2.tif", "s-10.tif"],  # and elsewhere a dash
        ["z=-0.10um.tif", "z=-0.05um.tif", "z=-0.00um.tif"],
        ["z=0.5.tif", "z=1.25.tif", "z=10.0.tif"],
        ["z_0.95.tif", "z_1.00.tif", "z_1.05.tif"],
        ["b1_s001.tif", "b1_s002.tif", "b2_s003.tif"],
        ["2024-01-05_s1_b1.tif", "2024-01-05_s2_b1.tif", "2024-01-06_s3_b2.tif"],
        ["apple.tif", "banana.tif", "cherry.tif"],
        ["S1.TIF", "s2.tif", "S3.tiff"],
    ],
)
def test_files_come_in_the_order_of_depth(names: list[str]) -> None:
    for seed in range(3):
        shuffled = [names[k] for k in np.random.default_rng(seed).permutation(len(names))]
        assert names_in_order(shuffled) == names


@pytest.mark.parametrize(
    ("names", "missing", "numbers"),
    [
        ([f"{k:03d}_v2.tif" for k in range(9) if k != 5], (5,), [0, 1, 2, 3, 4, 6, 7, 8]),
        ([f"slice_{k:05d}_z={0.05 * k:.4f}um.tif" for k in range(9) if k not in (2, 3)], (2, 3), [0, 1, 4, 5, 6, 7, 8]),
        ([f"s{k}.tif" for k in (10, 20, 30, 50)], (40,), [0, 1, 2, 4]),
        ([f"s{k}.tif" for k in (4, 5, 6)], (), [0, 1, 2]),
        ([f"t{k}.tif" for k in (153011, 153144, 153359)], (), None),  # times of day
    ],
)
def test_gaps_in_the_numbering(names: list[str], missing: tuple[int, ...], numbers: list[int] | None) -> None:
    found = order_of(names, "em")
    assert (found.missing, found.numbers) == (missing, numbers)
    assert bool(found.notes) == bool(missing)
    if missing:
        assert f"skip {', '.join(map(str, missing))}" in found.notes[0]


def test_depths_in_names() -> None:
    assert order_of([f"s{k}_z={z}um.tif" for k, z in enumerate((1.0, 1.05, 1.2))], "em").z_nm == pytest.approx(
        [0, 50, 200]
    )
    assert order_of([f"z{z}nm.tif" for z in (-40, 0, 80)], "em").z_nm == [0, 40, 120]
    assert order_of([f"s{k}_x={k}um.tif" for k in range(4)], "em").z_nm is None


@pytest.mark.parametrize(
    ("series", "count"),
    [
        ({"SE": [f"SE_{k:03d}.tif" for k in range(4)], "BSE": [f"BSE_{k:03d}.tif" for k in range(4)]}, 2),
        ({t: [f"tile{t}_s{k}.tif" for k in range(5)] for t in "12"}, 2),
        ({c: [f"s{k}_c{c}.tif" for k in range(5)] for c in "012"}, 3),
        ({"": [f"s{k}.tif" for k in range(5)], "o": ["overview.tif"]}, 2),
    ],
)
def test_several_series_are_told_apart_and_a_pattern_offered(series: dict[str, list[str]], count: int) -> None:
    names = sorted(name for members in series.values() for name in members)
    with pytest.raises(StackError, match=f"holds images of {count} series") as refusal:
        order_of(names, "em")
    said = refusal.value.worded(Door.COMMAND_LINE)
    pattern = said.split("'em/")[1].split("'")[0]
    matched = sorted(name for name in names if fnmatch(name, pattern))
    assert matched in [sorted(members) for members in series.values()], pattern
    # What a pattern has chosen is one stack.
    assert sorted(order_of(matched, "em", chosen=True).order) == list(range(len(matched)))


def test_two_files_of_one_number() -> None:
    with pytest.raises(StackError, match=r"two images with the same number, s1\.tif and s01\.tif"):
        order_of(["s0.tif", "s1.tif", "s01.tif", "s2.tif"], "em")
