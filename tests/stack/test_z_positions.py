"""Depths from files and from thicknesses."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_emgauss._errors import StackFileError, VoxelSizeError
from napari_emgauss.stack import read_z_positions, z_from_thickness


@pytest.mark.parametrize(
    "text",
    [
        "0\n40\n95.5\n",
        "slice,z (nm)\n0,0\n1,40\n2,95.5",
        "# cut by hand\n\n0  # first\n40\n95.5",
        "\ufeff0\t0\n1\t40\n2\t95.5",
    ],
)
def test_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "z.txt"
    path.write_text(text, encoding="utf-8")
    assert read_z_positions(path).tolist() == [0, 40, 95.5]
    assert read_z_positions(path, unit="\u00b5m").tolist() == [0, 40000, 95500]


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("", StackFileError, "holds 0 depths"),
        ("0\nforty\n80", StackFileError, "Line 2 of z.txt is not a depth: 'forty'"),
        ("a\nb\n0\n1", StackFileError, "Line 2"),
        ("0\n40\n40\n", VoxelSizeError, "slice 2 does not"),
        ("0\nnan\n40\n", VoxelSizeError, "slice 1 does not"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, error: type[Exception], match: str) -> None:
    (tmp_path / "z.txt").write_text(text)
    with pytest.raises(error, match=match):
        read_z_positions(tmp_path / "z.txt")


def test_no_text(tmp_path: Path) -> None:
    (tmp_path / "z.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(StackFileError, match="one depth per line"):
        read_z_positions(tmp_path / "z.txt")
    with pytest.raises(StackFileError, match="cannot be read"):
        read_z_positions(tmp_path / "none.txt")


def test_thickness_with_exceptions() -> None:
    assert z_from_thickness(5, 50, {1: 80, 3: 40}).tolist() == [0, 50, 130, 180, 220]
    with pytest.raises(VoxelSizeError, match="no slice after slice"):
        z_from_thickness(5, 50, {4: 80})
    with pytest.raises(VoxelSizeError, match="positive"):
        z_from_thickness(5, 50, {1: 0})
