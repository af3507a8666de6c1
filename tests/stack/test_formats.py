"""The same stack in every format: same grey values, same voxel size, read lazily."""

from __future__ import annotations

import json
import pickle
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import imageio.v3 as iio
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr

from napari_emgauss._errors import StackError, StackFileError, VoxelSizeError
from napari_emgauss.stack import Stack, read_stack, read_voxel_size, stack_from_array

VALUES = np.random.default_rng(5).integers(0, 65536, (9, 16, 18), dtype=np.uint16)
SIZE = (50.0, 4.5, 4.25)


def write_mrc(path: Path, values: np.ndarray = VALUES) -> Path:
    with mrcfile.new(path, values) as mrc:
        mrc.voxel_size = tuple(10 * s for s in reversed(SIZE))
        mrc.set_volume()
    return path


def write_hdf5(path: Path, values: np.ndarray = VALUES, **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("volumes/raw", data=values, **options)
        dataset.attrs["element_size_um"] = [s / 1000 for s in SIZE]
        file.create_dataset("volumes/labels", data=np.zeros(values.shape, np.uint64))
    return path


def write_ome_zarr(path: Path, version: str = "0.4", unit: str = "nanometer", factor: float = 1.0) -> Path:
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    for level, step in enumerate((1, 2)):
        values = VALUES[None, :, ::step, ::step]
        array = group.create_array(str(level), shape=values.shape, chunks=(1, 4, 8, 8), dtype=values.dtype)
        array[:] = values
    axes = [{"name": "c", "type": "channel"}, *({"name": axis, "type": "space", "unit": unit} for axis in "zyx")]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1, SIZE[0] * factor, SIZE[1] * step * factor, SIZE[2] * step * factor]}
            ],
        }
        for level, step in enumerate((1, 2))
    ]
    multiscales = [{"version": version, "axes": axes, "datasets": datasets}]
    if version == "0.4":
        group.attrs["multiscales"] = multiscales
    else:
        group.attrs["ome"] = {"version": version, "multiscales": multiscales}
    return path


def write_zarr(path: Path) -> Path:
    array = zarr.create_array(str(path), shape=VALUES.shape, chunks=(4, 8, 8), dtype=VALUES.dtype)
    array[:] = VALUES
    array.attrs["resolution"] = list(SIZE)
    return path


def write_npy(path: Path) -> Path:
    np.save(path, VALUES)
    return path


def write_images(path: Path, suffix: str = ".png") -> Path:
    path.mkdir()
    for k, image in enumerate(VALUES):
        name = path / f"em_{k + 8}{suffix}"  # 8, 9, 10: natural order differs from alphabetic
        if suffix == ".png":
            iio.imwrite(name, image)
        else:
            tifffile.imwrite(name, image)
    (path / "notes.txt").write_text("x")
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "a.mrc": write_mrc,
    "a.h5": write_hdf5,
    "a.ome.zarr": write_ome_zarr,
    "b.ome.zarr": lambda path: write_ome_zarr(path, "0.5"),
    "a.zarr": write_zarr,
    "a.npy": write_npy,
    "pngs": write_images,
    "tiffs": lambda path: write_images(path, ".tif"),
}
TELLS_SIZE = {"a.mrc", "a.h5", "a.ome.zarr", "b.ome.zarr", "a.zarr"}


def read(name: str, folder: Path) -> Stack:
    path = WRITERS[name](folder / name)
    return read_stack(path, voxel_size_nm=None if name in TELLS_SIZE else SIZE)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_stack(tmp_path: Path, name: str) -> None:
    stack = read(name, tmp_path)
    assert stack.shape == VALUES.shape
    assert stack.slices.dtype == np.uint16
    np.testing.assert_allclose(stack.z_nm, 50.0 * np.arange(9), rtol=1e-6)
    np.testing.assert_allclose(stack.pixel_size_nm, SIZE[1:], rtol=1e-6)
    # What a fit sees, depths and unit values, is the same whatever the format.
    reference = stack_from_array(VALUES, SIZE)
    assert stack.normalisation == reference.normalisation
    np.testing.assert_array_equal(stack.unit_slices(), reference.unit_slices())
    np.testing.assert_allclose(stack.t, reference.t, atol=1e-7)
    for key in (3, (8, slice(2, 5), slice(None, None, -2)), slice(1, 4), (slice(None), 3, 5)):
        np.testing.assert_array_equal(stack.slices[key], VALUES[key])
    assert json.loads(json.dumps(stack.metadata)) == stack.metadata


@pytest.mark.parametrize("name", WRITERS)
def test_slices_travel_to_another_process(tmp_path: Path, name: str) -> None:
    stack = read(name, tmp_path)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stack.slices))[2], VALUES[2])


@pytest.mark.parametrize("name", sorted(TELLS_SIZE))
def test_voxel_size_is_told(tmp_path: Path, name: str) -> None:
    size = read_voxel_size(WRITERS[name](tmp_path / name))
    np.testing.assert_allclose((size.z_nm, size.y_nm, size.x_nm), SIZE, rtol=1e-6)
    assert size.source != "unknown"


@pytest.mark.parametrize("name", sorted(set(WRITERS) - TELLS_SIZE))
def test_unknown_voxel_size_is_asked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(VoxelSizeError, match="voxel size is unknown"):
        read_stack(WRITERS[name](tmp_path / name))


@pytest.mark.parametrize(("unit", "factor"), [("micrometer", 1e-3), ("angstrom", 10), ("millimeter", 1e-6)])
def test_ome_zarr_units(tmp_path: Path, unit: str, factor: float) -> None:
    size = read_voxel_size(write_ome_zarr(tmp_path / "a.zarr", unit=unit, factor=factor))
    np.testing.assert_allclose((size.z_nm, size.y_nm, size.x_nm), SIZE)


def test_ome_zarr_without_unit_is_unknown(tmp_path: Path) -> None:
    assert not read_voxel_size(write_ome_zarr(tmp_path / "a.zarr", unit="")).complete


def test_ome_zarr_level(tmp_path: Path) -> None:
    stack = read_stack(write_ome_zarr(tmp_path / "a.zarr"), dataset="1")
    assert stack.shape == (9, 8, 9)
    assert stack.pixel_size_nm == (9.0, 8.5)
    with pytest.raises(StackError, match="no level 7"):
        read_stack(tmp_path / "a.zarr", dataset="7")


def test_bioformats2raw_collection(tmp_path: Path) -> None:
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    write_ome_zarr(tmp_path / "a.zarr" / "0")
    np.testing.assert_array_equal(read_stack(tmp_path / "a.zarr").slices[3], VALUES[3])


def test_blocks_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = read_stack(write_zarr(tmp_path / "a.zarr"))
    source: Any = stack.slices
    asked: list[Any] = []
    original = source._array

    class Counting:
        shape, chunks = original.shape, original.chunks

        def __getitem__(self, key: Any) -> Any:
            asked.append(key)
            return original[key]

    source._array = Counting()
    source._kept = None
    np.testing.assert_array_equal(np.asarray(source), VALUES)
    assert len(asked) == 3  # 9 slices in blocks of 4


def test_hdf5_datasets(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5")
    assert read_stack(path).metadata["dataset"] == "volumes/raw"
    with pytest.raises(StackError, match=r"no array nothing in a\.h5: it holds volumes/labels"):
        read_stack(path, dataset="nothing")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["one"], file["two"] = VALUES, VALUES
    with pytest.raises(StackError, match=r"several arrays, one .*, two .*: choose one"):
        read_stack(tmp_path / "b.h5", voxel_size_nm=SIZE)
    assert read_stack(tmp_path / "b.h5", voxel_size_nm=SIZE, dataset="/two").shape == VALUES.shape


def write_n5(path: Path, values: np.ndarray = VALUES) -> Path:
    """By hand, after the specification: axes from x to z, big-endian blocks behind a header of their sizes."""
    import struct

    folder = path / "volumes" / "raw" / "s0"
    folder.mkdir(parents=True)
    (path / "attributes.json").write_text('{"n5": "2.0.0"}')
    about = {"dimensions": list(reversed(values.shape)), "blockSize": [8, 8, 4], "dataType": values.dtype.name}
    about["compression"] = {"type": "raw"}
    about["pixelResolution"] = {"dimensions": [s / 1000 for s in reversed(SIZE)], "unit": "um"}
    (folder / "attributes.json").write_text(json.dumps(about))
    for z in range(0, values.shape[0], 4):
        for y in range(0, values.shape[1], 8):
            for x in range(0, values.shape[2], 8):
                block = values[z : z + 4, y : y + 8, x : x + 8]
                place = folder / str(x // 8) / str(y // 8) / str(z // 4)
                place.parent.mkdir(parents=True, exist_ok=True)
                header = struct.pack(">HHIII", 0, 3, *reversed(block.shape))
                place.write_bytes(header + block.astype(values.dtype.newbyteorder(">")).tobytes())
    return path


def test_n5(tmp_path: Path) -> None:
    pytest.importorskip("tensorstore")
    path = write_n5(tmp_path / "a.n5")
    stack = read_stack(path)
    np.testing.assert_array_equal(np.asarray(stack.slices[:]), VALUES)
    np.testing.assert_array_equal(stack.slices[8, 3:7, ::-2], VALUES[8, 3:7, ::-2])
    np.testing.assert_allclose((stack.z_nm[1], *stack.pixel_size_nm), SIZE)
    assert (stack.metadata["format"], stack.metadata["dataset"]) == ("N5", "volumes/raw/s0")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stack)).slices[4], VALUES[4])
    inside = read_stack(path / "volumes" / "raw" / "s0")
    np.testing.assert_array_equal(inside.slices[2], VALUES[2])
    (path / "volumes" / "raw" / "s0" / "attributes.json").write_text('{"dimensions": [1, "x"], "dataType": "uint16"}')
    with pytest.raises(StackFileError, match="attributes make no sense"):
        read_stack(path)


def test_n5_without_tensorstore_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(StackFileError, match=r"pip install 'napari-emgauss\[n5\]', or convert it to Zarr or TIFF"):
        read_stack(write_n5(tmp_path / "a.n5"))


def test_hdf5_with_channels(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.stack([VALUES, VALUES[::-1]])
    both = read_stack(tmp_path / "a.h5", voxel_size_nm=SIZE)
    assert (both.channels, both.shape) == (2, VALUES.shape)
    np.testing.assert_array_equal(both.slices[2], [VALUES[2], VALUES[6]])
    stack = read_stack(tmp_path / "a.h5", voxel_size_nm=SIZE, channel=1)
    np.testing.assert_array_equal(stack.slices[0], VALUES[8])


def test_imod_bytes_are_unsigned(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", (VALUES >> 8).astype(np.uint8).view(np.int8))
    assert read_stack(path).slices.dtype == np.int8
    data = bytearray(path.read_bytes())
    data[152:160] = np.array([1146047817, 0], "<i4").tobytes()
    path.write_bytes(data)
    stack = read_stack(path)
    assert stack.slices.dtype == np.uint8
    np.testing.assert_array_equal(stack.slices[4], VALUES[4] >> 8)


def test_pattern(tmp_path: Path) -> None:
    write_images(tmp_path / "pngs")
    stack = read_stack(tmp_path / "pngs" / "em_1*.png", voxel_size_nm=SIZE)
    np.testing.assert_array_equal(np.asarray(stack.slices), VALUES[2:])


def test_grey_images_saved_as_rgb(tmp_path: Path) -> None:
    grey = (VALUES >> 8).astype(np.uint8)
    for k, image in enumerate(grey):
        iio.imwrite(tmp_path / f"{k}.png", np.stack([image] * 3, axis=-1))
    np.testing.assert_array_equal(np.asarray(read_stack(tmp_path, voxel_size_nm=SIZE).slices), grey)
    coloured = np.zeros((16, 18, 3), np.uint8)
    coloured[..., 0] = 200
    iio.imwrite(tmp_path / "4.png", coloured)
    with pytest.raises(StackError, match=r"4\.png is an RGB image"):
        read_stack(tmp_path, voxel_size_nm=SIZE)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_images_larger_than_pillow_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    from PIL import Image

    values = VALUES if suffix == ".png" else (VALUES >> 8).astype(np.uint8)
    for k, image in enumerate(values):
        iio.imwrite(tmp_path / f"{k}{suffix}", image)
    expected = np.stack([iio.imread(tmp_path / f"{k}{suffix}") for k in range(len(values))])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    np.testing.assert_array_equal(np.asarray(read_stack(tmp_path, voxel_size_nm=SIZE).slices), expected)
    if suffix == ".png":
        data = bytearray((tmp_path / "4.png").read_bytes())
        data[16:24] = (60_000).to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        for k in range(9):
            (tmp_path / f"{k}.png").write_bytes(data)
        with pytest.raises(StackFileError, match="claims 60000 x 60000 pixels"):
            read_stack(tmp_path, voxel_size_nm=SIZE)


def test_images_of_different_size(tmp_path: Path) -> None:
    write_images(tmp_path / "a")
    iio.imwrite(tmp_path / "a" / "em_12.png", VALUES[0, :10])
    with pytest.raises(StackError, match=r"Slice 4, em_12\.png, is 10 x 18 pixels, but the first, em_8\.png, is 16 x"):
        read_stack(tmp_path / "a", voxel_size_nm=SIZE)


def test_missing_numbers_are_noted(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a")
    (folder / "em_11.png").unlink()
    stack = read_stack(folder, voxel_size_nm=SIZE)
    assert stack.shape[0] == 8
    assert "skip 11" in stack.metadata["notes"][0]


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(StackFileError, match="no images"):
        read_stack(tmp_path)


def test_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(StackFileError, match=r"not a plain \.npy"):
        read_stack(tmp_path / "a.npy", voxel_size_nm=SIZE)


def test_huge_declared_shape_allocates_nothing(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "a.zarr"), shape=(10, 10**6, 10**6), chunks=(1, 64, 64), dtype="uint16")
    with pytest.raises(StackError, match="more than can be read"):
        read_stack(tmp_path / "a.zarr", voxel_size_nm=SIZE)
    zarr.create_array(str(tmp_path / "b.zarr"), shape=(10**9, 64, 64), chunks=(1, 64, 64), dtype="uint16")
    with pytest.raises(StackError, match="claims 1000000000 slices"):
        read_stack(tmp_path / "b.zarr", voxel_size_nm=SIZE)


def test_large_zarr_opens_by_its_middle(tmp_path: Path) -> None:
    # 50 slices of 30,000 x 20,000 pixels, 60 GB, of which one block is filled.
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(50, 30000, 20000), chunks=(1, 512, 512), dtype="uint16", fill_value=7
    )
    array[0, 14848:15360, 9728:10240] = 900
    stack = read_stack(tmp_path / "a.zarr", voxel_size_nm=SIZE)
    assert (stack.normalisation.low, stack.normalisation.high) == (7, 900)
    assert stack.slices[0, 15000:15002, 10000:10003].tolist() == [[900] * 3] * 2
