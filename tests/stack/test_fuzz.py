"""Broken and hostile files: always a typed error with one plain sentence, never a crash, a hang or a giant allocation.

Each kind of file is written once, then damaged at random: cut off, bytes overwritten, parts removed or repeated.
"""

from __future__ import annotations

import gzip
import json
import logging
import struct
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings, strategies as st

from napari_emgauss._errors import EmgaussError
from napari_emgauss.stack import read_damage_mask, read_stack, read_voxel_size, read_z_positions, stack_from_array

from .lab_formats import write_amira, write_czi, write_dm, write_imaris, write_lif, write_nifti

VALUES = np.random.default_rng(16).integers(1, 255, (5, 16, 18), dtype=np.uint8)
SIZE = (50.0, 5.0, 4.0)
CASES = 60  # of each kind; the whole file runs in seconds
FUZZ = settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,  # the same cases everywhere: a failure in one place is a failure in all
)


def _tiff(path: Path, **options: Any) -> None:
    tifffile.imwrite(path, VALUES, **options)


def _one_by_one(path: Path) -> None:
    for number, page in enumerate(VALUES):
        tifffile.imwrite(path, page, append=number > 0)


def _hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=VALUES, chunks=(2, 8, 8), compression="gzip")


def _mrc(path: Path) -> None:
    with mrcfile.new(path, VALUES.astype(np.int16)) as file:
        file.voxel_size = 40


def _big_endian_mrc(path: Path) -> None:
    header = bytearray(1024)
    struct.pack_into(">10i", header, 0, 18, 16, 5, 1, 0, 0, 0, 18, 16, 5)
    struct.pack_into(">6f3i", header, 40, 72, 80, 250, 90, 90, 90, 1, 2, 3)
    header[208:216] = b"MAP \x11\x11\0\0"
    path.write_bytes(bytes(header) + VALUES.astype(">i2").tobytes())


def _tagged_hdf5(path: Path) -> None:
    """As ilastik writes: blocks, axis tags, and a soft link beside."""
    tags = {"axes": [{"key": axis, "typeFlags": 2, "resolution": 0.5, "description": ""} for axis in "zyxc"]}
    with h5py.File(path, "w") as file:
        data = file.create_dataset("exported_data", data=VALUES[..., None], chunks=(2, 8, 8, 1), compression="lzf")
        data.attrs["axistags"] = json.dumps(tags)
        file["link"] = h5py.SoftLink("/exported_data")


SEEDS: dict[str, Any] = {
    "plain.tif": _tiff,
    "zlib.tif": lambda path: _tiff(path, compression="zlib"),
    "lzw.tif": lambda path: _tiff(path, compression="lzw", tile=(16, 16)),
    "white.tif": lambda path: _tiff(path, photometric="miniswhite", compression="lzw", predictor=True, tile=(16, 16)),
    "samples.tif": lambda path: tifffile.imwrite(
        path, np.stack([VALUES, VALUES], -1), photometric="minisblack", planarconfig="contig"
    ),
    "j2k.tif": lambda path: _tiff(path, compression="jpeg2000", photometric="minisblack"),
    "pages.tif": _one_by_one,
    "imagej.tif": lambda path: _tiff(path, imagej=True, metadata={"axes": "ZYX", "spacing": 50, "unit": "nm"}),
    "a.ome.tif": lambda path: _tiff(path, metadata={"axes": "ZYX", "PhysicalSizeZ": 50, "PhysicalSizeZUnit": "nm"}),
    "a.mrc": _mrc,
    "a.h5": _hdf5,
    "a.npy": lambda path: np.save(path, VALUES),
    "big-endian.mrc": _big_endian_mrc,
    "tagged.h5": _tagged_hdf5,
    "fortran.npy": lambda path: np.save(path, np.asfortranarray(VALUES)),
    "a.dm3": lambda path: write_dm(path, VALUES, version=3),
    "a.dm4": lambda path: write_dm(path, VALUES),
    "a.nii": lambda path: write_nifti(path, VALUES),
    "a.nii.gz": lambda path: write_nifti(path, VALUES),
    "a.am": lambda path: write_amira(path, VALUES),
    "text.am": lambda path: write_amira(path, VALUES, form="3D ASCII"),
    "zip.am": lambda path: write_amira(path, VALUES, coding="HxZip"),
    "rle.am": lambda path: write_amira(path, VALUES, coding="HxByteRLE"),
    "a.lif": lambda path: write_lif(path, VALUES[None]),
    "a.czi": lambda path: write_czi(path, VALUES[None]),
    "a.ims": lambda path: write_imaris(path, VALUES[None]),
}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    out = {}
    for name, write in SEEDS.items():
        write(folder / name)
        out[name] = (folder / name).read_bytes()
    return out


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Broken files make the libraries log and warn; here only what reaches the user counts."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, float, bytes]]:
    kinds = st.sampled_from(["cut", "overwrite", "remove", "repeat", "header"])
    return draw(st.lists(st.tuples(kinds, st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=3))


def damaged(data: bytes, damage: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, what in damage:
        at = int(where * max(len(data) - 1, 0))
        if kind == "cut":
            data = data[:at]
        elif kind == "overwrite":
            data = data[:at] + what + data[at + len(what) :]
        elif kind == "header":
            at = int(where * min(len(data), 400))
            data = data[:at] + what + data[at + len(what) :]
        elif kind == "remove":
            data = data[:at] + data[at + 8 * len(what) :]
        else:
            data = data[:at] + what * 8 + data[at:]
    return data


def read_all(path: Path) -> None:
    """Read as a user would; only our own errors may come out, each one line."""
    try:
        stack = read_stack(path, voxel_size_nm=SIZE)
        assert np.prod(stack.shape) < 1e8
        stack.unit_slices()
        read_voxel_size(path)
    except EmgaussError as error:
        text = str(error)
        assert 15 < len(text) < 500, text
        assert "\n" not in text
        assert text[-1] not in ",;:"


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files(seeds: dict[str, bytes], name: str) -> None:
    @FUZZ
    @given(damages())
    def run(damage: list[tuple[str, float, bytes]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(damaged(seeds[name], damage))
            read_all(path)

    run()


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.mrc", "a.h5", "a.npy", "a.lsm"])
def test_random_bytes(name: str) -> None:
    @FUZZ
    @given(
        st.binary(max_size=600), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"\x89HDF\r\n\x1a\n"])
    )
    def run(content: bytes, start: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(start + content)
            read_all(path)

    run()


@pytest.mark.parametrize("version", [2, 3])
def test_damaged_zarr(version: int) -> None:
    @FUZZ
    @given(st.integers(0, 5), damages())
    def run(which: int, damage: list[tuple[str, float, bytes]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.zarr"
            group = zarr.open_group(str(path), mode="w", zarr_format=version)  # type: ignore[arg-type]
            array = group.create_array("0", shape=VALUES.shape, chunks=(3, 16, 18), dtype="uint8")
            array[:] = VALUES
            group.attrs["multiscales"] = [
                {
                    "axes": [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"],
                    "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [50, 5, 4]}]}],
                }
            ]
            files = sorted(file for file in path.rglob("*") if file.is_file())
            file = files[which % len(files)]
            file.write_bytes(damaged(file.read_bytes(), damage))
            read_all(path)

    run()


def test_damaged_n5() -> None:
    pytest.importorskip("tensorstore")

    @FUZZ
    @given(st.integers(0, 5), damages())
    def run(which: int, damage: list[tuple[str, float, bytes]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.n5"
            array = path / "s0"
            (array / "0" / "0").mkdir(parents=True)
            (path / "attributes.json").write_text('{"n5": "2.0.0", "resolution": [4, 5, 50], "units": ["nm"]}')
            about = {"dimensions": [18, 16, 5], "blockSize": [18, 16, 3], "dataType": "uint8"}
            (array / "attributes.json").write_text(json.dumps({**about, "compression": {"type": "gzip"}}))
            for block, part in enumerate((VALUES[:3], VALUES[3:])):
                header = struct.pack(">HHIII", 0, 3, *reversed(part.shape))
                (array / "0" / "0" / str(block)).write_bytes(header + gzip.compress(part.tobytes(), mtime=0))
            files = sorted(file for file in path.rglob("*") if file.is_file())
            file = files[which % len(files)]
            file.write_bytes(damaged(file.read_bytes(), damage))
            read_all(path)

    run()


@settings(FUZZ, max_examples=100)
@given(
    st.binary(max_size=60)
    | st.from_regex(r"(\d{1,2} (rectangle|fold|hole|line|x) [-\d. e,]{0,20}\n){1,3}", fullmatch=True).map(str.encode)
    | st.text(max_size=40).map(lambda rows: b"index,shape-type,vertex-index,axis-0,axis-1,axis-2\n" + rows.encode())
)
def test_any_drawn_damage(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damage.txt"
        path.write_bytes(content)
        try:
            mask = read_damage_mask(path, VALUES.shape)
            assert np.asarray(mask).shape == VALUES.shape
        except EmgaussError as error:
            assert "\n" not in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5) | st.integers(-3, 3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "scale", "path"]), inner),
    max_leaves=6,
)


@settings(FUZZ, max_examples=40)
@given(st.fixed_dictionaries({"axes": JSON, "datasets": JSON, "coordinateTransformations": JSON}), st.booleans())
def test_nonsense_ome_zarr_metadata(metadata: dict[str, Any], with_path: bool) -> None:
    if with_path:
        metadata["datasets"] = [{"path": "0", "coordinateTransformations": metadata["coordinateTransformations"]}]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zarr"
        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        group.create_array("0", shape=VALUES.shape, chunks=(3, 16, 18), dtype="uint8")[:] = VALUES
        group.attrs["multiscales"] = [metadata]
        read_all(path)


@settings(FUZZ, max_examples=150)
@given(
    st.lists(st.integers(0, 9), max_size=5),
    st.sampled_from(["uint8", "int16", "float32", "float64", "bool", "complex64", "U3", "M8[s]", "uint64", "object"]),
    st.sampled_from([None, SIZE, (0, 1, 1), (1, 1), (np.nan, 1, 1), (4, 4, 4), "abc"]),
    st.floats() | st.none(),
)
def test_any_array(shape: list[int], dtype: str, voxel_size: Any, value: float | None) -> None:
    array = np.zeros(shape, dtype=dtype)
    if value is not None and array.dtype.kind == "f" and array.size:
        array.flat[0] = value
    try:
        stack_from_array(array, voxel_size)
    except EmgaussError as error:
        assert "\n" not in str(error)


@settings(FUZZ, max_examples=100)
@given(st.binary(max_size=60) | st.text(alphabet="0123456789.,;\t\n #-+eainf", max_size=60).map(str.encode))
def test_any_z_positions(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "z.txt"
        path.write_bytes(content)
        try:
            depths = read_z_positions(path)
        except EmgaussError as error:
            assert "\n" not in str(error)
        else:
            assert (np.diff(depths) > 0).all()


def test_a_tiff_whose_pages_go_in_circles(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    _tiff(path)
    with tifffile.TiffFile(path) as file:
        first, tags = file.pages[0].offset, len(file.pages[0].tags)
    data = bytearray(path.read_bytes())
    data[first + 2 + 12 * tags : first + 6 + 12 * tags] = first.to_bytes(4, "little")
    path.write_bytes(data)
    read_all(path)


def test_a_tiff_that_claims_giant_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    _tiff(path, compression="zlib")
    with tifffile.TiffFile(path) as file:
        places = [page.tags[name].valueoffset for page in file.pages for name in ("ImageWidth", "ImageLength")]
    data = bytearray(path.read_bytes())
    for place in places:
        data[place : place + 4] = (200_000).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(EmgaussError, match=r"claims 40000 MB|more than can be read|cannot be read"):
        read_stack(path, voxel_size_nm=SIZE)


ZARR_WAYS: dict[str, dict[str, Any]] = {
    "shards": {"zarr_format": 3, "shards": (4, 16, 18), "chunks": (2, 8, 9)},
    "packed": {"zarr_format": 2, "chunks": (3, 16, 18), "compressors": "Blosc"},
    "gzip": {"zarr_format": 2, "chunks": (3, 16, 18), "compressors": "GZip"},
}


@pytest.mark.parametrize("way", ZARR_WAYS)
def test_damaged_blocks_of_zarr(way: str) -> None:
    """Metadata stay as they are: what is damaged is blocks, shards and their index."""
    import numcodecs

    options = dict(ZARR_WAYS[way])
    if "compressors" in options:
        options["compressors"] = getattr(numcodecs, options["compressors"])()

    @FUZZ
    @given(st.integers(0, 5), damages())
    def run(which: int, damage: list[tuple[str, float, bytes]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.zarr"
            zarr.create_array(str(path), shape=VALUES.shape, dtype="uint8", **options)[:] = VALUES
            files = sorted(file for file in path.rglob("*") if file.is_file() and file.name[0] not in "z.")
            file = files[which % len(files)]
            file.write_bytes(damaged(file.read_bytes(), damage))
            read_all(path)

    run()


@settings(FUZZ, max_examples=120)
@given(
    st.dictionaries(
        st.sampled_from(range(0, 100, 4)), st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 102), max_size=5
    ),
    st.sampled_from("<>"),
)
def test_nonsense_in_mrc_headers(fields: dict[int, int], order: str) -> None:
    header = bytearray(1024)
    struct.pack_into(f"{order}10i", header, 0, 18, 16, 5, 0, 0, 0, 0, 18, 16, 5)
    struct.pack_into(f"{order}6f3i", header, 40, 72, 80, 250, 90, 90, 90, 1, 2, 3)
    for offset, value in fields.items():
        struct.pack_into(f"{order}i", header, offset, value)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mrc"
        path.write_bytes(bytes(header) + VALUES.tobytes())
        read_all(path)


N5_KEYS = ["dimensions", "blockSize", "dataType", "compression", "pixelResolution", "resolution", "units", "axes"]
N5_KEYS += ["transform", "multiscales", "downsamplingFactors"]


@settings(FUZZ, max_examples=100)
@given(st.dictionaries(st.sampled_from(N5_KEYS), JSON, max_size=4))
def test_nonsense_in_n5_attributes(attributes: dict[str, Any]) -> None:
    pytest.importorskip("tensorstore")
    about = {"dimensions": [18, 16, 5], "blockSize": [18, 16, 5], "dataType": "uint8", "compression": {"type": "raw"}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.n5"
        (path / "0" / "0").mkdir(parents=True)
        (path / "attributes.json").write_text(json.dumps({**about, **attributes}))
        (path / "0" / "0" / "0").write_bytes(struct.pack(">HHIII", 0, 3, 18, 16, 5) + VALUES.tobytes())
        read_all(path)


@settings(FUZZ, max_examples=80)
@given(JSON, JSON, st.sampled_from(["axistags", "resolution", "element_size_um", "units", "axis_units"]))
def test_nonsense_in_hdf5_attributes(tags: Any, other: Any, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        with h5py.File(path, "w") as file:
            data = file.create_dataset("raw", data=VALUES)
            data.attrs["axistags"] = json.dumps({"axes": tags})
            data.attrs[name] = json.dumps(other)
        read_all(path)


@settings(FUZZ, max_examples=60)
@given(st.text(max_size=12) | st.from_regex(r"(/|\\.\\./|0|raw|s0|:|\\\\){1,4}", fullmatch=True))
def test_any_name_of_an_array(seeds: dict[str, bytes], name: str) -> None:
    """Whatever is asked for, nothing but a sentence or the stack itself comes back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        path.write_bytes(seeds["a.h5"])
        zarr.create_array(str(Path(folder) / "a.zarr"), shape=VALUES.shape, dtype="uint8")[:] = VALUES
        for one in (path, Path(folder) / "a.zarr"):
            try:
                assert read_stack(one, voxel_size_nm=SIZE, dataset=name).shape == VALUES.shape
            except EmgaussError as error:
                assert 15 < len(str(error)) < 500
