"""A part of a slice is read without the rest of it, and is the same as that part of the whole slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_emgauss.stack import read_stack

VALUES = np.random.default_rng(3).integers(0, 65535, (3, 83, 101), dtype=np.uint16)
FORMS: dict[str, dict[str, Any]] = {
    "one strip": {},
    "strips": {"rowsperstrip": 10},
    "compressed strips": {"rowsperstrip": 7, "compression": "zlib"},
    "tiles": {"tile": (32, 16)},
    "compressed tiles": {"tile": (16, 32), "compression": "zlib", "predictor": True},
    "big endian": {"tile": (16, 16), "byteorder": ">"},
    "big endian, one strip": {"byteorder": ">"},
    "as JPEG 2000": {"tile": (32, 32), "compression": "jpeg2000"},
}


def write(path: Path, values: np.ndarray, *, byteorder: str = "<", **form: Any) -> None:
    with tifffile.TiffWriter(path, byteorder=byteorder) as file:
        for plane in values:
            file.write(plane, contiguous=False, metadata=None, **form)


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of segments that tifffile was asked for, one number a call."""
    counts: list[int] = []
    real = tifffile.FileHandle.read_segments

    def counted(self: Any, offsets: Any, bytecounts: Any, *arguments: Any, **named: Any) -> Any:
        counts.append(sum(bytecounts))
        return real(self, offsets, bytecounts, *arguments, **named)

    monkeypatch.setattr(tifffile.FileHandle, "read_segments", counted)
    return counts


@pytest.mark.parametrize("name", FORMS)
def test_a_window_is_that_part_of_the_slice(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    write(path, VALUES, **FORMS[name])
    slices = read_stack(path, voxel_size_nm=(40, 5, 5)).slices
    for rows, columns in (
        (slice(0, 5), slice(0, 6)),
        (slice(20, 61), slice(40, 97)),
        (slice(70, 83), slice(90, 101)),
        (slice(None), slice(33, 34)),
        (slice(60, 11, -3), slice(5, 90, 7)),
        (slice(4, 4), slice(None)),
    ):
        np.testing.assert_array_equal(slices[2, rows, columns], VALUES[2, rows, columns])
    np.testing.assert_array_equal(slices[:], VALUES)


@pytest.mark.parametrize(("name", "most"), [("compressed strips", 7 * 101 * 2 * 2 * 1.1), ("tiles", 32 * 16 * 2 * 4)])
def test_only_what_the_window_touches_is_read(tmp_path: Path, name: str, most: float, bytes_read: list[int]) -> None:
    path = tmp_path / "a.tif"
    write(path, VALUES, **FORMS[name])
    stack = read_stack(path, voxel_size_nm=(40, 5, 5))
    bytes_read.clear()
    np.testing.assert_array_equal(stack.crop((12, 16, 14, 34)).slices[1], VALUES[1, 12:16, 14:34])
    assert len(bytes_read) == 1
    assert 0 < bytes_read[0] <= most


def test_a_tile_that_is_left_out_of_the_file_is_background(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for fill in (5, 9, 7):
            tiles = (np.full((16, 16), fill, np.uint8) if k != 1 else None for k in range(4))
            file.write(tiles, shape=(32, 32), dtype=np.uint8, tile=(16, 16), contiguous=False, metadata=None)
    slices = read_stack(path, voxel_size_nm=(40, 5, 5)).slices
    np.testing.assert_array_equal(slices[1, 0:4, 14:18], [[9, 9, 0, 0]] * 4)
