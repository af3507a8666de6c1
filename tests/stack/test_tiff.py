"""TIFF, OME-TIFF and ImageJ TIFF: voxel size, laziness, and what is refused."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_emgauss._errors import StackError, StackFileError, VoxelSizeError
from napari_emgauss.stack import read_stack, read_voxel_size

VALUES = np.random.default_rng(3).integers(0, 256, (5, 16, 18), dtype=np.uint8)
OME_SIZE = {"PhysicalSizeZ": 50, "PhysicalSizeY": 4.5, "PhysicalSizeX": 4.25}
NM = {f"PhysicalSize{axis}Unit": "nm" for axis in "ZYX"}


def write(path: Path, values: np.ndarray = VALUES, **options: Any) -> Path:
    tifffile.imwrite(path, values, **options)
    return path


def write_imagej(
    path: Path, unit: str = "nm", values: np.ndarray = VALUES, factor: float = 1.0, **metadata: Any
) -> Path:
    return write(
        path,
        values,
        imagej=True,
        resolution=(factor / 4.25, factor / 4.5),
        metadata={"axes": "ZYX", "unit": unit, **metadata},
    )


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_ome(tmp_path: Path, compression: str | None) -> None:
    path = write(tmp_path / "a.ome.tif", metadata={"axes": "ZYX", **OME_SIZE, **NM}, compression=compression)
    stack = read_stack(path)
    assert stack.name == "a"
    assert stack.source == str(path)
    assert stack.z_nm.tolist() == [0, 50, 100, 150, 200]
    assert stack.pixel_size_nm == (4.5, 4.25)
    assert stack.metadata["voxel_size_source"] == "OME metadata"
    assert stack.metadata["format"] == "OME-TIFF"
    np.testing.assert_array_equal(stack.slices[3], VALUES[3])
    np.testing.assert_array_equal(np.asarray(stack.slices), VALUES)


def test_ome_without_unit_is_micrometre(tmp_path: Path) -> None:
    size = {name: value / 1000 for name, value in OME_SIZE.items()}
    stack = read_stack(write(tmp_path / "a.ome.tif", metadata={"axes": "ZYX", **size}))
    np.testing.assert_allclose(stack.z_nm[1], 50)
    np.testing.assert_allclose(stack.pixel_size_nm, (4.5, 4.25))


@pytest.mark.parametrize(("unit", "factor"), [("nm", 1), ("micron", 1e3), ("\\u00B5m", 1e3), ("um", 1e3), ("mm", 1e6)])
def test_imagej(tmp_path: Path, unit: str, factor: float) -> None:
    stack = read_stack(write_imagej(tmp_path / "a.tif", unit, factor=factor, spacing=50 / factor))
    np.testing.assert_allclose(stack.z_nm[1], 50)
    np.testing.assert_allclose(stack.pixel_size_nm, (4.5, 4.25), rtol=1e-6)
    assert stack.metadata["voxel_size_source"] == "ImageJ metadata"
    np.testing.assert_array_equal(np.asarray(stack.slices), VALUES)


def test_imagej_without_spacing_is_unknown_not_one(tmp_path: Path) -> None:
    path = write_imagej(tmp_path / "a.tif")
    with pytest.raises(VoxelSizeError, match=r"z step is unknown from a\.tif \(known: \? x 4\.5 x 4\.25 nm"):
        read_stack(path)
    assert read_voxel_size(path).z_nm is None
    assert read_stack(path, z_positions_nm=[0, 40, 90, 140, 190]).z_nm[2] == 90


def test_plain_tiff_resolution_is_for_printers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", resolution=(72, 72), resolutionunit="INCH")
    with pytest.raises(VoxelSizeError, match=r"voxel size is unknown from a\.tif: give the voxel size"):
        read_stack(path)
    stack = read_stack(path, voxel_size_nm=(50, 5, 4))
    assert stack.metadata["voxel_size_source"] == "argument"
    assert stack.pixel_size_nm == (5.0, 4.0)


def test_argument_wins(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ome.tif", metadata={"axes": "ZYX", **OME_SIZE, **NM})
    assert read_stack(path, voxel_size_nm=(60, 6, 5)).pixel_size_nm == (6.0, 5.0)


def test_read_voxel_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ome.tif", metadata={"axes": "ZYX", **OME_SIZE, **NM})
    size = read_voxel_size(path)
    assert (size.z_nm, size.y_nm, size.x_nm, size.source) == (50, 4.5, 4.25, "OME metadata")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_dtypes_come_native(tmp_path: Path, dtype: str, byteorder: str) -> None:
    values = VALUES.astype(dtype)
    stack = read_stack(write(tmp_path / "a.tif", values, byteorder=byteorder), voxel_size_nm=(50, 5, 4))
    assert stack.slices.dtype == np.dtype(dtype)
    assert stack.slices.dtype.isnative
    np.testing.assert_array_equal(stack.slices[1:3], values[1:3])


def test_contiguous_imagej_behind_one_page(tmp_path: Path) -> None:
    path = write_imagej(tmp_path / "a.tif", spacing=50, values=VALUES.astype(np.uint16))
    # ImageJ itself writes one page for stacks above 4 GB; cut the chain to look like that.
    with tifffile.TiffFile(path) as file:
        pages = [page.offset for page in file.pages]
        tags = len(file.pages[0].tags)
    data = bytearray(path.read_bytes())
    end = pages[0] + 2 + 12 * tags
    data[end : end + 4] = b"\0\0\0\0"
    path.write_bytes(data)
    np.testing.assert_array_equal(np.asarray(read_stack(path).slices), VALUES)


def test_pyramid_reads_the_finest_level(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(VALUES, subifds=1, metadata={"axes": "ZYX", **OME_SIZE, **NM})
        tif.write(VALUES[:, ::2, ::2], subfiletype=1)
    stack = read_stack(path)
    assert stack.shape == (5, 16, 18)
    np.testing.assert_array_equal(stack.slices[4], VALUES[4])


def test_channels_come_together_or_are_chosen(tmp_path: Path) -> None:
    both = np.stack([VALUES, VALUES[:, ::-1]], axis=1)
    path = write(tmp_path / "a.ome.tif", both, metadata={"axes": "ZCYX", **OME_SIZE, **NM})
    together = read_stack(path)
    assert (together.channels, together.shape) == (2, VALUES.shape)
    np.testing.assert_array_equal(np.asarray(together.slices), both)
    turned = read_stack(path, channel=(1, 0))
    np.testing.assert_array_equal(turned.slices[3, 0], VALUES[3, ::-1])
    np.testing.assert_array_equal(np.asarray(read_stack(path, channel=1).slices), VALUES[:, ::-1])
    with pytest.raises(StackError, match="no channel 2"):
        read_stack(path, channel=2)


def test_frames_are_read_as_depths_and_said_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", imagej=True, metadata={"axes": "TYX"})
    stack = read_stack(path, voxel_size_nm=(50, 5, 4))
    assert stack.shape == (5, 16, 18)
    assert "time points" in stack.metadata["notes"][0]


def test_largest_image_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(VALUES[0, :8, :9], metadata={"axes": "YX"})
        tif.write(VALUES, metadata={"axes": "ZYX", **OME_SIZE, **NM})
    stack = read_stack(path)
    assert stack.shape == (5, 16, 18)
    assert stack.pixel_size_nm == (4.5, 4.25)


def test_rgb_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.zeros((5, 16, 18, 3), np.uint8), photometric="rgb")
    with pytest.raises(StackError, match="RGB"):
        read_stack(path, voxel_size_nm=(50, 5, 4))


def test_single_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="single image"):
        read_stack(write(tmp_path / "a.tif", VALUES[0]), voxel_size_nm=(50, 5, 4))


def test_bad_slice_is_told_on_opening(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[3] = 0
    path = write(tmp_path / "a.tif", values)
    with pytest.raises(StackError, match="Slice 3 is empty"):
        read_stack(path, voxel_size_nm=(50, 5, 4))
    assert read_stack(path, voxel_size_nm=(50, 5, 4), skip="3").z_nm.tolist() == [0, 50, 100, 200]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StackFileError, match="There is no file"):
        read_stack(tmp_path / "none.tif")


def test_unknown_ending(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(b"x")
    with pytest.raises(StackFileError, match="not in a format that can be read"):
        read_stack(path)


@pytest.mark.parametrize("content", [b"", b"II", b"II*\0", b"not a tiff at all", b"II*\0\xff\xff\xff\xff"])
def test_foreign_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(StackFileError, match=r"a\.tif"):
        read_stack(path, voxel_size_nm=(50, 5, 4))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated(tmp_path: Path, compression: str | None, part: float) -> None:
    path = write(tmp_path / "a.tif", np.tile(VALUES, (1, 8, 8)), compression=compression)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(StackError):
        read_stack(path, voxel_size_nm=(50, 5, 4))


def test_lost_pages_are_no_single_image(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", compression="zlib")
    with tifffile.TiffFile(path) as file:
        end = max(page.offset for page in file.pages[1:])
    path.write_bytes(path.read_bytes()[: min(end, 1200)])
    with pytest.raises(StackFileError, match="damaged or truncated"):
        read_stack(path, voxel_size_nm=(50, 5, 4))


def test_several_threads_read_one_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", compression="zlib")
    stack = read_stack(path, voxel_size_nm=(50, 5, 4))
    order = np.random.default_rng(4).integers(0, 5, 200)
    with ThreadPoolExecutor(4) as pool:
        for k, plane in zip(order, pool.map(stack.slices.__getitem__, order.tolist()), strict=True):
            np.testing.assert_array_equal(plane, VALUES[k])


def test_slices_travel_to_another_process(tmp_path: Path) -> None:
    stack = read_stack(write(tmp_path / "a.tif"), voxel_size_nm=(50, 5, 4))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stack.slices))[2], VALUES[2])
