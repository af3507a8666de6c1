"""DM3, DM4, NIfTI, AmiraMesh and Imaris: what is in them, and what is refused, in files written byte by byte."""

from __future__ import annotations

import gzip
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest

from napari_emgauss._errors import StackError, StackFileError, UnknownVoxelSizeError, VoxelSizeError
from napari_emgauss.stack import Selection, open_file, read_stack, read_voxel_size

from .lab_formats import write_amira, write_czi, write_dm, write_imaris, write_lif, write_nifti

DM_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
NIFTI_TYPES = DM_TYPES
AMIRA_TYPES = ("uint8", "uint16", "int16", "int32", "float32", "float64")


def values_of(dtype: str, shape: tuple[int, ...] = (7, 9, 11)) -> np.ndarray:
    rng = np.random.default_rng(7)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(0, 1e3, shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, kind, endpoint=True)


def same(path: Path, values: np.ndarray, **selection: Any) -> None:
    opened = open_file(path, Selection(**selection))
    assert opened.slices.dtype == values.dtype.newbyteorder("=")
    np.testing.assert_array_equal(np.asarray(opened.slices), values)
    np.testing.assert_array_equal(opened.slices[3, 2:5, ::-2], values[3, 2:5, ::-2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(opened.slices))[-1], values[-1])
    size = opened.voxel_size
    np.testing.assert_allclose((size.z_nm, size.y_nm, size.x_nm), (50, 5, 4), rtol=1e-6)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("dtype", DM_TYPES)
def test_dm(tmp_path: Path, version: int, dtype: str) -> None:
    path = write_dm(tmp_path / f"a.dm{version}", values_of(dtype), version=version)
    same(path, values_of(dtype))
    assert open_file(path, Selection()).format == f"DM{version}"


def test_dm_units_are_those_of_each_axis(tmp_path: Path) -> None:
    path = write_dm(tmp_path / "a.dm4", values_of("uint8"), (0.05, 5, 40), ("µm", "nm", "Å"))
    same(path, values_of("uint8"))
    assert (
        read_voxel_size(write_dm(tmp_path / "b.dm3", values_of("uint8"), units=("", "1/nm", "nm"), version=3)).y_nm
        is None
    )


def test_dm_of_several_stacks_asks_which(tmp_path: Path) -> None:
    one, other = values_of("uint8"), values_of("int16")
    path = write_dm(tmp_path / "a.dm4", one, more=(other,))
    with pytest.raises(StackError, match=r"several arrays, 2 \(7, 9, 11\), 3 \(7, 9, 11\): choose one"):
        open_file(path, Selection())
    same(path, one, dataset="2")
    same(path, other, dataset=3)


def test_dm_without_grey_values(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="holds complex values, not grey values"):
        read_stack(write_dm(tmp_path / "a.dm4", values_of("float32"), type_number=3), dataset="2")
    with pytest.raises(StackFileError, match=r"old Macintosh computers.*save it again"):
        read_stack(write_dm(tmp_path / "b.dm3", values_of("uint8"), version=3, big_endian=True))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", NIFTI_TYPES)
def test_nifti(tmp_path: Path, order: str, dtype: str) -> None:
    same(write_nifti(tmp_path / "a.nii", values_of(dtype), order=order), values_of(dtype))
    same(write_nifti(tmp_path / "b.nii.gz", values_of(dtype), order=order), values_of(dtype))


@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
def test_nifti_of_nibabel(tmp_path: Path, kind: str) -> None:
    image = getattr(nibabel, kind)(values_of("int16").T, np.diag([0.004, 0.005, 0.05, 1]))
    image.header.set_xyzt_units("micron", "sec")
    image.to_filename(tmp_path / "a.nii")
    same(tmp_path / "a.nii", values_of("int16"))


@pytest.mark.parametrize(("unit", "size"), [(1, 1e-9), (2, 1e-6), (3, 1e-3)])
def test_nifti_units(tmp_path: Path, unit: int, size: float) -> None:
    path = write_nifti(tmp_path / "a.nii", values_of("uint8"), (50 * size, 5 * size, 4 * size), unit)
    same(path, values_of("uint8"))


def test_a_size_without_unit_is_asked_for_or_can_only_be_micrometres(tmp_path: Path) -> None:
    for number, write in enumerate((lambda p, s: write_nifti(p, values_of("uint8"), s, 0), _amira_without_unit)):
        path = tmp_path / f"a{number}{('.nii', '.am')[number]}"
        with pytest.raises(VoxelSizeError, match="voxel size is"):
            read_stack(write(path, (50, 5, 4)))
        stack = read_stack(write(path, (0.05, 0.005, 0.004)))
        assert "has no unit and is taken as µm" in stack.metadata["notes"][0]
        np.testing.assert_allclose(np.diff(stack.z_nm), 50)


def _amira_without_unit(path: Path, size: tuple[float, float, float]) -> Path:
    return write_amira(path, values_of("uint8"), size, "")


def test_nifti_is_scaled_as_its_header_says(tmp_path: Path) -> None:
    opened = open_file(write_nifti(tmp_path / "a.nii", values_of("int16"), scale=(0.5, -3.0)), Selection())
    np.testing.assert_array_equal(np.asarray(opened.slices), values_of("int16") * np.float32(0.5) - 3)
    assert opened.slices.dtype == np.float32
    assert opened.notes == ("grey values are scaled as the header says: 0.5 times the number stored, plus -3",)


def test_nifti_of_an_unknown_unit_has_no_voxel_size(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", values_of("uint8"), (50, 5, 4), 4)  # the format knows 1, 2 and 3
    with pytest.raises(UnknownVoxelSizeError, match="without a unit"):
        read_stack(path)


def test_nifti_axes_are_as_stored_and_said(tmp_path: Path) -> None:
    opened = open_file(write_nifti(tmp_path / "a.nii", values_of("uint8"), sform=1), Selection())
    np.testing.assert_array_equal(np.asarray(opened.slices), values_of("uint8"))
    assert opened.notes == ("axes are taken in the order stored (x, y, z towards LAS), not turned to the patient's",)


def test_nifti_of_several_times(tmp_path: Path) -> None:
    values = values_of("uint8", (2, 7, 9, 11))
    path = write_nifti(tmp_path / "a.nii", values)
    with pytest.raises(StackError, match="2 time points"):
        open_file(path, Selection())
    same(path, values[1], time=1)
    with pytest.raises(StackError, match="holds colours"):
        open_file(write_nifti(tmp_path / "b.nii", values_of("uint8"), type_code=128), Selection())


@pytest.mark.parametrize("form", ["BINARY-LITTLE-ENDIAN", "3D BINARY", "3D ASCII"])
@pytest.mark.parametrize("dtype", AMIRA_TYPES)
def test_amira(tmp_path: Path, form: str, dtype: str) -> None:
    same(write_amira(tmp_path / "a.am", values_of(dtype), form=form), values_of(dtype))


@pytest.mark.parametrize("form", ["BINARY-LITTLE-ENDIAN", "BINARY"])
def test_amira_packed(tmp_path: Path, form: str) -> None:
    blocky = np.repeat(np.repeat(values_of("uint8", (7, 3, 11)), 3, axis=1), 300, axis=2)
    for coding in ("HxByteRLE", "HxZip"):
        path = write_amira(tmp_path / f"{coding}.am", blocky, (50, 5, 4), form=form, coding=coding)
        same(path, blocky)
    same(write_amira(tmp_path / "b.am", values_of("uint16"), form=form, coding="HxZip"), values_of("uint16"))
    with pytest.raises(StackFileError, match=r"run-length coded .*: save it uncompressed"):
        read_stack(write_amira(tmp_path / "c.am", values_of("uint16"), coding="HxByteRLE"))


def test_amira_unpacks_what_is_large_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_emgauss.stack.formats._amira._IN_MEMORY_BYTES", 10)
    monkeypatch.setattr("napari_emgauss.stack.formats._amira._READ_BYTES", 100)
    same(write_amira(tmp_path / "a.am", values_of("uint8"), coding="HxZip"), values_of("uint8"))


def test_amira_of_several_fields(tmp_path: Path) -> None:
    labels = values_of("int16")
    path = write_amira(tmp_path / "a.am", values_of("uint8"), more={"Labels": labels}, coding="")
    same(path, values_of("uint8"))  # "Data" is what people call it
    same(path, labels, dataset="Labels")


def test_amira_sizes(tmp_path: Path) -> None:
    same(write_amira(tmp_path / "a.am", values_of("uint8"), (0.05, 0.005, 0.004), "µm"), values_of("uint8"))
    for name, options in {"c": {"unit": "furlong"}, "d": {"coordinates": "stacked"}}.items():
        path = write_amira(tmp_path / f"{name}.am", values_of("uint8"), **options)
        with pytest.raises(VoxelSizeError, match="voxel size is unknown"):
            read_stack(path)
        assert "is not used" in read_stack(path, voxel_size_nm=(50, 5, 4)).metadata["notes"][0]
    surface = tmp_path / "e.am"
    surface.write_text("# AmiraMesh 3D ASCII 2.0\ndefine Vertices 3\nVertices { float[3] Coordinates } @1\n@1\n1 2 3\n")
    with pytest.raises(StackError, match="holds no voxels"):
        read_stack(surface)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_imaris(tmp_path: Path, dtype: str) -> None:
    same(write_imaris(tmp_path / "a.ims", values_of(dtype)[None]), values_of(dtype))


def test_imaris_channels_and_units(tmp_path: Path) -> None:
    values = values_of("uint8", (11, 7, 9, 11))
    path = write_imaris(tmp_path / "a.ims", values, (50, 5, 4), "nm")
    same(path, values[10], channel=10)  # numbers, not letters, order the channels: 10 comes after 9
    same(write_imaris(tmp_path / "b.ims", values[:1], unit=None), values[0])  # µm is what Imaris means
    opened = open_file(write_imaris(tmp_path / "c.ims", values[:1], unit="furlong"), Selection())
    assert not opened.voxel_size.complete
    assert opened.notes == ("the file's unit of length, 'furlong', is unknown",)


def test_imaris_that_claims_more_than_it_stores(tmp_path: Path) -> None:
    path = write_imaris(tmp_path / "a.ims", values_of("uint8")[None])
    with h5py.File(path, "r+") as file:
        file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"].attrs["ImageSizeZ"] = np.frombuffer(b"90", "S1")
    with pytest.raises(StackFileError, match="is damaged"):
        read_stack(path)


@pytest.mark.parametrize("version", [3, 4])
def test_a_folder_of_dm_files_one_a_slice(tmp_path: Path, version: int) -> None:
    values = values_of("int16")
    for k, plane in enumerate(values):
        write_dm(tmp_path / f"3VBSED_{k:04d}.dm{version}", plane, (50, 5, 4), version=version)
    opened = open_file(tmp_path, Selection())
    np.testing.assert_array_equal(np.asarray(opened.slices), values)
    assert (opened.voxel_size.z_nm, opened.voxel_size.y_nm, opened.voxel_size.x_nm) == (None, 5, 4)
    write_dm(tmp_path / f"3VBSED_0003.dm{version}", values, version=version)
    with pytest.raises(StackError, match=r"3VBSED_0003\.dm. is not a single image: it holds \(7, 9, 11\)"):
        np.asarray(open_file(tmp_path, Selection()).slices[3])


@pytest.mark.parametrize("write", [write_czi, write_lif])
def test_channels_of_light_microscopes(tmp_path: Path, write: Callable[..., Path]) -> None:
    values = values_of("uint16", (2, 7, 9, 11))
    path = write(tmp_path / f"a.{write.__name__.removeprefix('write_')}", values)
    assert open_file(path, Selection()).channels == 2
    same(path, values[1], channel=1)


def hostile_dm(path: Path) -> Path:
    write_dm(path.with_suffix(".dm4"), values_of("uint8"))
    content = path.with_suffix(".dm4").read_bytes()
    length, claimed = struct.pack(">Q", 7 * 9 * 11), struct.pack(">Q", 1 << 40)
    path.with_suffix(".dm4").write_bytes(content.replace(length, claimed))
    return path.with_suffix(".dm4")


def hostile_dm_dimensions(path: Path) -> Path:
    path = write_dm(path.with_suffix(".dm4"), values_of("uint8"))
    marked = b"%%%%" + struct.pack(">QQ", 1, 5)
    path.write_bytes(path.read_bytes().replace(marked + struct.pack("<I", 9), marked + struct.pack("<I", 1 << 31)))
    return path


def hostile_nifti(path: Path) -> Path:
    path = write_nifti(path.with_suffix(".nii"), values_of("uint8"))
    content = bytearray(path.read_bytes())
    content[42:48] = struct.pack("<3h", 32767, 32767, 32767)
    path.write_bytes(content)
    return path


def hostile_nifti_packed(path: Path) -> Path:
    plain = hostile_nifti(path)
    packed = path.with_suffix(".nii.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    return packed


def hostile_amira(coding: str = "", form: str = "BINARY-LITTLE-ENDIAN") -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path = write_amira(path.with_suffix(".am"), values_of("uint8"), coding=coding, form=form)
        path.write_bytes(path.read_bytes().replace(b"define Lattice 11 9 7", b"define Lattice 90000 90000 90000"))
        return path

    return write


def zip_bomb(path: Path) -> Path:
    """Zeros that unpack to far more than is claimed."""
    path = write_amira(path.with_suffix(".am"), np.zeros((64, 1024, 1024), np.uint8), coding="HxZip")
    path.write_bytes(path.read_bytes().replace(b"Lattice 1024 1024 64", b"Lattice 1024 32 32"))
    return path


HOSTILE = {
    "DM4 with a giant array": hostile_dm,
    "DM4 with giant dimensions": hostile_dm_dimensions,
    "NIfTI": hostile_nifti,
    "packed NIfTI": hostile_nifti_packed,
    "Amira": hostile_amira(),
    "zipped Amira": hostile_amira("HxZip"),
    "run-length coded Amira": hostile_amira("HxByteRLE"),
    "Amira as text": hostile_amira(form="3D ASCII"),
    "a zip bomb": zip_bomb,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_claims_more_than_it_holds_is_refused_without_taking_memory(tmp_path: Path, name: str) -> None:
    path = HOSTILE[name](tmp_path / "a")
    tracemalloc.start()
    with pytest.raises(StackFileError, match=r"cut off|damaged"):
        read_stack(path, voxel_size_nm=(50, 5, 4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
