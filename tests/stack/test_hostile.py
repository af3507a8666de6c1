"""Files made to do harm: each is refused by a sentence, within seconds and without filling the memory.

All of them are read by one process of its own, whose largest memory is then looked at; what each was told is compared
here. The bombs decode to 2.5 GB and more.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack import read_stack

VALUES = np.random.default_rng(7).integers(1, 255, (8, 32, 32), dtype=np.uint8)
SIZE = (50.0, 5.0, 5.0)
MEMBER, MEMBERS = 64 << 20, 40

READ_ALL = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
from napari_emgauss._errors import EmgaussError
from napari_emgauss.stack import read_stack
def peak_bytes():
    # The most that this process held. Linux hands the parent's peak down in ru_maxrss, but not in VmHWM.
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

answers = {}
for name in json.load(sys.stdin):
    start = time.perf_counter()
    try:
        stack = read_stack(name, voxel_size_nm=(50, 5, 5), allow_damaged=True)
        for k in range(stack.shape[0]):
            stack.slices[k]
        told = ""
    except EmgaussError as error:
        told = str(error)
    answers[name] = [told, time.perf_counter() - start, peak_bytes()]
print(json.dumps(answers))
"""


def zlib_bomb() -> bytes:
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(MEMBER)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(MEMBER)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * MEMBERS + packer.flush()


def zstd_without_size() -> bytes:
    """A frame by hand (RFC 8878): no content size, then blocks that repeat one byte 128 KB long each."""
    block = struct.pack("<I", 1 << 1 | (128 << 10) << 3)[:3] + b"\0"
    last = struct.pack("<I", 1 | 1 << 1 | (128 << 10) << 3)[:3] + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x38" + block * 20_000 + last


def zstd_frames() -> bytes:
    import numcodecs

    return bytes(numcodecs.Zstd().encode(bytes(MEMBER))) * MEMBERS


BOMBS: dict[str, Callable[[], bytes]] = {
    "zlib": zlib_bomb,
    "gzip": lambda: gzip.compress(bytes(MEMBER)) * MEMBERS,
    "bz2": lambda: bz2.compress(bytes(MEMBER)) * MEMBERS,
    "lzma": lambda: lzma.compress(bytes(MEMBER), preset=1) * MEMBERS,
    "zstd": zstd_frames,
    "zstd-stream": zstd_without_size,
    "blosc": lambda: struct.pack("<4B3I", 2, 1, 0x13, 1, 2**31 - 17, 1 << 20, 2**20) + bytes(1 << 10),
    "lz4": lambda: struct.pack("<I", 2**31 - 1) + bytes(1 << 10),
}
# N5's names.
N5_TYPES = {"gzip": "gzip", "bz2": "bzip2", "lzma": "xz", "zstd": "zstd", "zstd-stream": "zstd", "blosc": "blosc"}


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    return {name: make() for name, make in BOMBS.items()}


def write_zarr(path: Path, codec: str, chunks: tuple[int, ...], block: bytes, shape: Any = VALUES.shape) -> None:
    path.mkdir(parents=True)
    compressor = {"id": codec.removesuffix("-stream")} if codec else None
    about = {"zarr_format": 2, "shape": shape, "chunks": chunks, "dtype": "|u1", "compressor": compressor}
    (path / ".zarray").write_text(json.dumps({**about, "fill_value": 0, "order": "C", "filters": None}))
    (path / "0.0.0").write_bytes(block)


def write_zarr3(path: Path, codec: str, block: bytes) -> None:
    (path / "c/0/0").mkdir(parents=True)
    settings = {"gzip": {"level": 5}, "zstd": {"level": 0, "checksum": False}}[codec]
    about = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": VALUES.shape,
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": VALUES.shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes"}, {"name": codec, "configuration": settings}, {"name": "crc32c"}],
        "fill_value": 0,
    }
    (path / "zarr.json").write_text(json.dumps(about))
    (path / "c/0/0/0").write_bytes(block + b"\0\0\0\0")


def write_n5(path: Path, kind: str, block: bytes, size: Any = (32, 32, 8), dimensions: Any = (32, 32, 8)) -> None:
    (path / "0/0").mkdir(parents=True)
    settings = {"cname": "lz4", "clevel": 5, "shuffle": 1} if kind == "blosc" else {}
    about = {"n5": "2.0.0", "dimensions": dimensions, "blockSize": size, "dataType": "uint8"}
    (path / "attributes.json").write_text(json.dumps({**about, "compression": {"type": kind, **settings}}))
    (path / "0/0/0").write_bytes(struct.pack(">HHIII", 0, 3, *(min(n, 32) for n in size)) + block)


def write_hdf5(path: Path, chunks: tuple[int, ...], block: bytes, shape: Any = None) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("raw", shape or chunks, "u1", chunks=chunks, compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), block)


def make_files(folder: Path, bombs: dict[str, bytes]) -> list[str]:
    for codec, block in bombs.items():
        write_zarr(folder / f"bomb-{codec}.zarr", codec, VALUES.shape, block)
        # A block that is declared large enough for its size in the file to be no reason for suspicion.
        write_zarr(folder / f"wide-{codec}.zarr", codec, (8, 1024, 1024), block[: 8 << 20], (8, 1024, 1024))
        if codec in N5_TYPES:
            write_n5(folder / f"bomb-{codec}.n5", N5_TYPES[codec], block)
            write_n5(folder / f"wide-{codec}.n5", N5_TYPES[codec], block[: 4 << 20], (1024, 1024, 8), (1024, 1024, 8))
    for codec in ("gzip", "zstd"):
        write_zarr3(folder / f"bomb3-{codec}.zarr", codec, bombs[codec])
    write_hdf5(folder / "bomb.h5", (8, 32, 32), bombs["zlib"])
    write_hdf5(folder / "wide.h5", (8, 1024, 1024), bombs["zlib"])
    write_zarr(folder / "huge-block.zarr", "zlib", (8, 100_000, 100_000), zlib.compress(b"x"))
    write_zarr(folder / "huge-raw.zarr", "", (8, 100_000, 100_000), b"x")
    write_n5(folder / "huge-block.n5", "gzip", gzip.compress(b"x"), (100_000, 100_000, 8))
    write_zarr(folder / "long-block.zarr", "zlib", VALUES.shape, b"")
    os.truncate(folder / "long-block.zarr/0.0.0", 5 << 30)  # of which the disk holds nothing
    write_zarr(folder / "metadata.zarr", "", VALUES.shape, b"")
    (folder / "metadata.zarr/.zattrs").write_text("{")
    os.truncate(folder / "metadata.zarr/.zattrs", 3 << 30)
    write_zarr(folder / "deep.zarr", "", VALUES.shape, b"")
    (folder / "deep.zarr/.zattrs").write_text("[" * 200_000)
    (folder / "deep.n5").mkdir()
    (folder / "deep.n5/attributes.json").write_text('{"a":' * 100_000)
    with h5py.File(folder / "claims.h5", "w") as file:
        file.create_dataset("raw", (1 << 20, 1 << 16, 1 << 16), "u1", chunks=(1, 64, 64))
    header = {"descr": "<f8", "fortran_order": True, "shape": (1 << 20, 1 << 16, 1 << 16)}
    with (folder / "claims.npy").open("wb") as npy:
        np.lib.format.write_array_header_1_0(npy, header)
    (folder / "pickle.npy").write_bytes(b"\x80\x04\x95" + bytes(100))
    np.savez(folder / "zip.npz", VALUES)
    (folder / "zip.npz").rename(folder / "zip.npy")
    (folder / "parentheses.npy").write_bytes(b"\x93NUMPY\x02\0" + struct.pack("<I", 9000) + b"(" * 9000)
    mrc = bytearray(1024)
    struct.pack_into("<4i", mrc, 0, 2**31 - 1, 2**31 - 1, 2**31 - 1, 2)
    (folder / "claims.mrc").write_bytes(bytes(mrc))
    struct.pack_into("<4i", mrc, 0, 32, 32, 8, 1)
    struct.pack_into("<i", mrc, 92, 2**31 - 1)
    (folder / "extended.mrc").write_bytes(bytes(mrc) + bytes(1 << 16))
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def answers(bombs: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    folder = tmp_path_factory.mktemp("hostile")
    names = make_files(folder, bombs)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL],
        input=json.dumps(names),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return found


def test_every_file_is_refused_by_a_sentence(answers: dict[str, list[Any]]) -> None:
    assert len(answers) > 40
    for name, (told, _, _) in answers.items():
        assert told, f"{name} was read"
        assert "\n" not in told
        assert 15 < len(told) < 500


def test_bombs_are_seen_before_they_are_decoded(answers: dict[str, list[Any]]) -> None:
    for name, (told, _, _) in answers.items():
        if name.startswith(("bomb", "wide")):
            assert "decodes to more than that" in told or "takes" in told, f"{name}: {told}"


def test_no_file_fills_the_memory(answers: dict[str, list[Any]]) -> None:
    worst = max(answers, key=lambda name: answers[name][2])
    before = {name: memory for name, (_, _, memory) in answers.items()}
    assert before[worst] < 1e9, f"{worst} took {before[worst] / 1e6:.0f} MB"


def test_no_file_takes_long(answers: dict[str, list[Any]]) -> None:
    assert {name: round(seconds) for name, (_, seconds, _) in answers.items() if seconds > 10} == {}


def test_codecs_that_run_code_are_refused(tmp_path: Path) -> None:
    """A pickle in a block would run whatever it says when it is decoded."""
    for format, codec in ((2, {"id": "pickle"}), (3, {"name": "numcodecs.pickle", "configuration": {}})):
        path = tmp_path / f"a{format}.zarr"
        write_zarr(path, "", VALUES.shape, b"cos\nmkdir\n(S'" + str(tmp_path / "hacked").encode() + b"'\ntR.")
        if format == 2:
            about = json.loads((path / ".zarray").read_text())
            (path / ".zarray").write_text(json.dumps({**about, "filters": [codec]}))
        else:
            write_zarr3(tmp_path / "b.zarr", "gzip", b"")
            about = json.loads((tmp_path / "b.zarr/zarr.json").read_text())
            path = tmp_path / "b.zarr"
            (path / "zarr.json").write_text(json.dumps({**about, "codecs": [{"name": "bytes"}, codec]}))
        with pytest.raises(StackFileError, match=r"codec 'pickle' in a way that is not read|cannot be read as Zarr"):
            read_stack(path, voxel_size_nm=SIZE)
        assert not (tmp_path / "hacked").exists()


# Nothing outside: what leads out of a file's own folder is refused, what leads about in it is followed.


def image(path: Path, name: str = "0") -> Path:
    """An OME-Zarr whose finest level is ``name``."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.create_array("0", shape=VALUES.shape, chunks=(4, 16, 16), dtype="uint8")[:] = VALUES
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    scale = [{"type": "scale", "scale": list(SIZE)}]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": name, "coordinateTransformations": scale}]}]
    return path


@pytest.mark.parametrize(
    "outwards", ["../secret.zarr/0", "0/../../secret.zarr/0", "ABSOLUTE", "file://ABSOLUTE", "..\\secret.zarr\\0"]
)
def test_levels_outside_are_refused(tmp_path: Path, outwards: str) -> None:
    secret = image(tmp_path / "secret.zarr")
    path = image(tmp_path / "a.zarr", outwards.replace("ABSOLUTE", str(secret / "0")))
    with pytest.raises(StackError) as told:
        read_stack(path)
    assert "does not lie within" in str(told.value) or "cannot be read" in str(told.value)
    with pytest.raises(StackError):
        read_stack(image(tmp_path / "b.zarr"), dataset=outwards.replace("ABSOLUTE", str(secret / "0")))


def test_links_of_folders_that_lead_out_are_refused(tmp_path: Path) -> None:
    secret = image(tmp_path / "secret.zarr")
    block, level, attributes = image(tmp_path / "a.zarr"), image(tmp_path / "b.zarr"), image(tmp_path / "c.zarr")
    (block / "0/1.1.1").unlink()
    (block / "0/1.1.1").symlink_to(secret / "0/1.1.1")
    (level / "0").rename(tmp_path / "elsewhere")
    (level / "0").symlink_to(tmp_path / "elsewhere")
    (attributes / ".zattrs").rename(tmp_path / "elsewhere.json")
    (attributes / ".zattrs").symlink_to(tmp_path / "elsewhere.json")
    for path in (block, level, attributes):
        with pytest.raises(StackFileError, match="is a link that leads outside it, where nothing is read"):
            read_stack(path)
    inside = image(tmp_path / "d.zarr")
    (inside / "0/1.1.1").rename(inside / "block")
    (inside / "0/1.1.1").symlink_to(inside / "block")
    np.testing.assert_array_equal(np.asarray(read_stack(inside).slices), VALUES)
    (tmp_path / "link.zarr").symlink_to(inside)  # the user's own way to the container is the user's
    np.testing.assert_array_equal(np.asarray(read_stack(tmp_path / "link.zarr").slices), VALUES)


def test_blocks_of_n5_that_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorstore")
    path, block = tmp_path / "a.n5", VALUES.tobytes()
    write_n5(path, "raw", block)
    np.testing.assert_array_equal(np.asarray(read_stack(path, voxel_size_nm=SIZE).slices), VALUES)
    (path / "0/0/0").rename(tmp_path / "elsewhere")
    (path / "0/0/0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StackFileError, match="leads out"):
        read_stack(path, voxel_size_nm=SIZE)
    with pytest.raises(StackError, match="does not lie within"):
        read_stack(path, voxel_size_nm=SIZE, dataset="../b.n5")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside of the folder ``in``, with pixels and a plain one beside."""
    (tmp_path / "in").mkdir()
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["raw"] = VALUES
    (tmp_path / "secret.raw").write_bytes(VALUES.tobytes())
    return tmp_path / "secret.h5"


@pytest.mark.parametrize("relative", [True, False])
def test_links_of_hdf5_that_lead_out_are_refused(tmp_path: Path, secret: Path, relative: bool) -> None:
    name = "../secret.h5" if relative else str(secret)
    raw = "../secret.raw" if relative else str(secret.with_suffix(".raw"))
    path = tmp_path / "in/a.h5"
    layout = h5py.VirtualLayout(VALUES.shape, "u1")
    layout[:] = h5py.VirtualSource(name, "raw", VALUES.shape)
    with h5py.File(path, "w") as file:
        file["link"] = h5py.ExternalLink(name, "/raw")
        file["group"] = h5py.ExternalLink(name, "/")
        file["soft"] = h5py.SoftLink("/group/raw")
        file.create_dataset("outside", VALUES.shape, "u1", external=[(raw, 0, VALUES.size)])
        file.create_virtual_dataset("virtual", layout)
    for dataset in ("link", "group/raw", "soft", "outside", "virtual"):
        with pytest.raises(StackFileError, match="leads outside it"):
            read_stack(path, voxel_size_nm=SIZE, dataset=dataset)


def test_links_of_hdf5_within_the_folder_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with h5py.File(folder / "other.h5", "w") as file:
        file["deep/raw"] = VALUES
        file["deep/soft"] = h5py.SoftLink("raw")
    (folder / "plain.raw").write_bytes(bytes(16) + VALUES.tobytes())
    layout = h5py.VirtualLayout(VALUES.shape, "u1")
    layout[:] = h5py.VirtualSource("other.h5", "deep/soft", VALUES.shape)
    with h5py.File(folder / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink("other.h5", "/deep/soft")
        file["group"] = h5py.ExternalLink("other.h5", "/deep")
        file["soft"] = h5py.SoftLink("/group/raw")
        file["circle"] = h5py.SoftLink("/circle")
        file["dangling"] = h5py.ExternalLink("missing.h5", "/raw")
        file.create_dataset("outside", VALUES.shape, "u1", external=[("plain.raw", 16, VALUES.size)])
        file.create_virtual_dataset("virtual", layout)
        missing = h5py.VirtualLayout(VALUES.shape, "u1")
        missing[:] = h5py.VirtualSource("missing.h5", "raw", VALUES.shape)
        file.create_virtual_dataset("holes", missing)
    monkeypatch.chdir(tmp_path)  # where files are looked for must not hang on where the program runs
    for dataset in ("link", "group/raw", "soft", "outside", "virtual", "/link"):
        got = read_stack("in/a.h5", voxel_size_nm=SIZE, dataset=dataset)
        np.testing.assert_array_equal(np.asarray(got.slices), VALUES)
    for dataset, said in (
        ("circle", "circles"),
        ("dangling", r"missing\.h5, which is missing"),
        ("holes", "missing"),
    ):
        with pytest.raises(StackError, match=said):
            read_stack("in/a.h5", voxel_size_nm=SIZE, dataset=dataset)
    with h5py.File(folder / "b.h5", "w") as file:
        file["only"] = h5py.ExternalLink("other.h5", "/deep/raw")
        file["same"] = h5py.SoftLink("/only")
    assert read_stack("in/b.h5", voxel_size_nm=SIZE).metadata["dataset"] in ("only", "same")
