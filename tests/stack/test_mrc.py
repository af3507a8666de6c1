"""MRC headers as programs leave them: written field by field after the specification, and by mrcfile."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack import read_stack

RAMP = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
SIZE = (50.0, 5.0, 4.0)
IMOD = 1146047817


def write(path: Path, values: np.ndarray[Any, Any], mode: int, order: str = "<", **fields: Any) -> Path:
    """An MRC file by ``struct``: sections, rows, columns as they lie in ``values``."""
    nz, ny, nx = values.shape
    cell = [10 * size * count for size, count in zip(reversed(SIZE), (nx, ny, nz), strict=True)]
    header = bytearray(1024)
    struct.pack_into(f"{order}10i", header, 0, nx, ny, nz, mode, 0, 0, 0, *fields.get("intervals", (nx, ny, nz)))
    struct.pack_into(f"{order}6f", header, 40, *fields.get("cell", cell), 90, 90, 90)
    struct.pack_into(f"{order}3i", header, 64, *fields.get("map", (1, 2, 3)))
    struct.pack_into(f"{order}3f", header, 76, *fields.get("statistics", (0, -1, -2)))
    extended = fields.get("extended", b"")
    struct.pack_into(f"{order}2i", header, 88, fields.get("space_group", 1), len(extended))
    struct.pack_into(f"{order}2i", header, 152, *fields.get("imod", (0, 0)))
    header[208:212] = b"MAP "
    header[212:216] = fields.get("machine", {"<": b"\x44\x44\0\0", ">": b"\x11\x11\0\0"}[order])
    path.write_bytes(bytes(header) + extended + values.astype(values.dtype.newbyteorder(order)).tobytes())
    return path


def values_of(path: Path, **options: Any) -> np.ndarray[Any, Any]:
    stack = read_stack(path, **options)
    np.testing.assert_allclose((stack.z_nm[1], *stack.pixel_size_nm), SIZE, rtol=1e-6)
    return np.asarray(stack.slices[:])


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("mode", "kind"), [(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")])
def test_byte_order(tmp_path: Path, order: str, mode: int, kind: str) -> None:
    values = (RAMP - 100).astype(kind)
    got = values_of(write(tmp_path / "a.mrc", values, mode, order, statistics=(-100, 109, 4)))
    np.testing.assert_array_equal(got, values)
    assert got.dtype == kind


@pytest.mark.parametrize("order", "<>")
def test_a_machine_stamp_that_is_missing_or_wrong(tmp_path: Path, order: str) -> None:
    for machine in (b"\0\0\0\0", b"\x44\x44\0\0", b"\x11\x11\0\0"):
        np.testing.assert_array_equal(values_of(write(tmp_path / "a.mrc", RAMP, 1, order, machine=machine)), RAMP)


@pytest.mark.parametrize("layout", ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"])
def test_axis_order(tmp_path: Path, layout: str) -> None:
    """``layout``: what columns, rows and sections run along; cell and intervals are of x, y, z whatever the layout."""
    values = RAMP.transpose(["ZYX".index(axis) for axis in reversed(layout)])
    numbers = ["XYZ".index(axis) + 1 for axis in layout]
    nz, ny, nx = RAMP.shape
    path = write(
        tmp_path / "a.mrc", np.ascontiguousarray(values), 1, map=numbers, intervals=(nx, ny, nz), cell=(280, 300, 2500)
    )
    np.testing.assert_array_equal(values_of(path), RAMP)
    stack = read_stack(path)
    np.testing.assert_array_equal(stack.slices[3, 1:5, ::-2], RAMP[3, 1:5, ::-2])


def test_the_first_row_of_the_file_is_the_first_row(tmp_path: Path) -> None:
    """As mrcfile has it, whichever way up a program draws the file."""
    with mrcfile.new(tmp_path / "a.mrc", RAMP) as file:
        file.voxel_size = (40.0, 50.0, 500.0)
        file.set_volume()
    data = (tmp_path / "a.mrc").read_bytes()
    got = values_of(tmp_path / "a.mrc")
    np.testing.assert_array_equal(got[0, 0], np.frombuffer(data, "<i2", 7, 1024))
    with mrcfile.open(tmp_path / "a.mrc") as file:
        np.testing.assert_array_equal(got, file.data)


BYTES = np.linspace(90, 170, RAMP.size).round().astype(np.uint8).reshape(RAMP.shape)  # around the middle of the range
SIGNED = (BYTES.astype(np.int16) - 128).astype(np.int8)


@pytest.mark.parametrize(
    ("values", "fields", "noted"),
    [
        (BYTES, {"statistics": (90, 170, 130)}, False),
        (SIGNED, {"statistics": (-38, 42, 2)}, False),
        (BYTES, {"imod": (IMOD, 0)}, False),
        (SIGNED, {"imod": (IMOD, 1)}, False),
        (SIGNED, {"imod": (IMOD, 1), "statistics": (90, 170, 130)}, False),  # IMOD's mark counts for more
        (BYTES, {}, True),
        (SIGNED, {}, True),
        (BYTES, {"statistics": (0, 0, 0)}, True),
        (SIGNED, {"statistics": (0, 0, 0)}, True),
    ],
)
def test_whether_bytes_are_signed(tmp_path: Path, values: np.ndarray[Any, Any], fields: Any, noted: bool) -> None:
    path = write(tmp_path / "a.mrc", values, 0, **fields)
    got = values_of(path)
    assert got.dtype == values.dtype
    np.testing.assert_array_equal(got, values)
    notes = read_stack(path).metadata["notes"]
    assert any("leaves open whether bytes are signed" in note for note in notes) == noted


@pytest.mark.parametrize(
    ("mode", "fields", "said"),
    [
        (3, {}, "mode 3.*Fourier transform"),
        (4, {}, "mode 4.*Fourier transform"),
        (16, {}, "mode 16.*colours"),
        (101, {}, "mode 101.*4-bit values.*newstack -mode 0"),
        (0, {"imod": (IMOD, 17)}, "mode 0, packed by IMOD.*4-bit values"),
        (99, {}, "mode 99.*does not know"),
    ],
)
def test_other_values_are_named(tmp_path: Path, mode: int, fields: Any, said: str) -> None:
    with pytest.raises(StackFileError, match=said):
        read_stack(write(tmp_path / "a.mrc", BYTES, mode, **fields))


def test_extended_headers_are_passed_over(tmp_path: Path) -> None:
    for extended in (b"FEI" * 301, b"\xff" * 4096):
        np.testing.assert_array_equal(values_of(write(tmp_path / "a.mrc", RAMP, 1, extended=extended)), RAMP)


def test_a_stack_of_volumes(tmp_path: Path) -> None:
    both = np.concatenate([RAMP, RAMP[::-1]])
    cell = [10 * size * count for size, count in zip(reversed(SIZE), (7, 6, 5), strict=True)]
    path = write(tmp_path / "a.mrc", both, 1, space_group=401, intervals=(7, 6, 5), cell=cell)
    with pytest.raises(StackError, match=r"holds 2 volumes \(0 to 1\): choose one with dataset=0"):
        read_stack(path)
    np.testing.assert_array_equal(values_of(path, dataset=0), RAMP)
    np.testing.assert_array_equal(values_of(path, dataset="1"), RAMP[::-1])
    with pytest.raises(StackError, match="no volume 2"):
        read_stack(path, dataset=2)
    odd = write(tmp_path / "b.mrc", both, 1, space_group=401, intervals=(7, 6, 4))
    with pytest.raises(StackFileError, match="volumes of 4 slices cannot have 10"):
        read_stack(odd)
    with pytest.raises(StackError, match="holds only one volume"):
        read_stack(write(tmp_path / "c.mrc", RAMP, 1), dataset="raw")


def test_a_file_that_ends_early(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mrc", RAMP, 1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StackFileError, match=r"truncated: its header claims 0\.001 MB"):
        read_stack(path)
    path.write_bytes(path.read_bytes()[:1023])
    with pytest.raises(StackFileError, match="cannot be read as an MRC file"):
        read_stack(path)
