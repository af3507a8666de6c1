"""Volumes on servers: the right values from as few blocks as can be, patience with failures, and one sentence."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.cli import main
from napari_emgauss.stack import Selection, address_of, open_file, read_stack
from napari_emgauss.stack.formats import _places

from .loopback import Loopback, serving

pytest.importorskip("tensorstore")

VALUES = np.random.default_rng(11).integers(0, 250, (12, 40, 48), dtype=np.uint8)
SIZE = (40.0, 5.0, 4.0)
BLOCK = (4, 16, 16)


def write_precomputed(path: Path, *, compressed: bool = False, offset: tuple[int, int, int] = (0, 0, 0)) -> Path:
    """By the published layout: blocks named by their range of x, y, z, values with x the fastest."""
    z, y, x = SIZE
    scales = []
    for factor in (1, 2):
        values = VALUES[:, ::factor, ::factor]
        key = f"{x * factor:g}_{y * factor:g}_{z:g}"
        scales.append(
            {
                "key": key,
                "size": list(values.shape[::-1]),
                "resolution": [x * factor, y * factor, z],
                "voxel_offset": list(offset[::-1]),
                "chunk_sizes": [list(BLOCK[::-1])],
                "encoding": "raw",
            }
        )
        (path / key).mkdir(parents=True)
        for start, part in _blocks(values):
            ends = [(o + s, o + s + n) for o, s, n in zip(offset, start, part.shape, strict=True)]
            name = "_".join(f"{a}-{b}" for a, b in reversed(ends))
            content = part.tobytes()  # (z, y, x) with x the fastest
            if compressed:
                (path / key / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (path / key / name).write_bytes(content)
    info = {"@type": "neuroglancer_multiscale_volume", "type": "image", "data_type": "uint8", "num_channels": 1}
    (path / "info").write_text(json.dumps({**info, "scales": scales}))
    return path


def _blocks(values: np.ndarray) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
    for z in range(0, values.shape[0], BLOCK[0]):
        for y in range(0, values.shape[1], BLOCK[1]):
            for x in range(0, values.shape[2], BLOCK[2]):
                yield (z, y, x), values[z : z + BLOCK[0], y : y + BLOCK[1], x : x + BLOCK[2]]


def write_zarr(version: int, *, shards: bool = False) -> Callable[[Path], Path]:
    """OME-Zarr by zarr-python, with metadata written here."""

    def write(path: Path) -> Path:
        group = zarr.open_group(str(path), mode="w", zarr_format=version)  # type: ignore[arg-type]
        levels = []
        for number, factor in enumerate((1, 2)):
            values = VALUES[:, ::factor, ::factor]
            whole = (
                {"shards": tuple(-(-n // b) * b for n, b in zip(values.shape, BLOCK, strict=True))} if shards else {}
            )
            array = group.create_array(str(number), shape=values.shape, chunks=BLOCK, dtype="u1", **whole)
            array[:] = values
            scale = {"type": "scale", "scale": [SIZE[0], SIZE[1] * factor, SIZE[2] * factor]}
            levels.append({"path": str(number), "coordinateTransformations": [scale]})
        axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
        image = {"version": "0.4" if version == 2 else "0.5", "axes": axes, "datasets": levels}
        if version == 2:
            group.attrs["multiscales"] = [image]
        else:
            group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
        return path

    return write


def write_n5(path: Path) -> Path:
    """A pyramid after N5's specification: big-endian blocks, axes x first."""
    for number, factor in enumerate((1, 2)):
        values = VALUES[:, ::factor, ::factor]
        folder = path / f"s{number}"
        for start, part in _blocks(values):
            place = folder.joinpath(*(str(s // b) for s, b in zip(reversed(start), reversed(BLOCK), strict=True)))
            place.parent.mkdir(parents=True, exist_ok=True)
            header = struct.pack(">HHIII", 0, 3, *reversed(part.shape))
            place.write_bytes(header + gzip.compress(part.tobytes()))
        about = {"dimensions": list(values.shape[::-1]), "blockSize": list(BLOCK[::-1]), "dataType": "uint8"}
        more = {"compression": {"type": "gzip"}, "downsamplingFactors": [factor, factor, 1]}
        (folder / "attributes.json").write_text(json.dumps({**about, **more}))
    told = {"pixelResolution": {"dimensions": [4, 5, 40], "unit": "nm"}, "n5": "2.5.0"}
    (path / "attributes.json").write_text(json.dumps(told))
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "a.precomputed": write_precomputed,
    "a.zarr": write_zarr(2),
    "a.ome.zarr": write_zarr(3),
    "a.n5": write_n5,
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Patience of milliseconds; nothing of a server of another test is kept."""
    monkeypatch.setattr(_places, "RETRIES", {"max_retries": 3, "initial_delay": "5ms", "max_delay": "10ms"})
    _places._context.cache_clear()
    yield
    _places._context.cache_clear()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Loopback]:
    with serving(tmp_path) as found:
        yield found


@pytest.mark.parametrize("name", WRITERS)
def test_all_values_and_the_voxel_size(tmp_path: Path, server: Loopback, name: str) -> None:
    WRITERS[name](tmp_path / name)
    opened = open_file(server.address(name), Selection())
    assert server.blocks() == set()  # opening reads metadata alone
    np.testing.assert_array_equal(np.asarray(opened.slices), VALUES)
    assert opened.slices.dtype == np.uint8
    size = opened.voxel_size
    assert (size.z_nm, size.y_nm, size.x_nm) == pytest.approx(SIZE)
    stack = read_stack(server.address(name))
    assert (stack.source, stack.name) == (server.address(name), "a")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stack.slices))[3], VALUES[3])


@pytest.mark.parametrize("name", WRITERS)
def test_only_the_blocks_of_a_region_are_fetched_and_once(tmp_path: Path, server: Loopback, name: str) -> None:
    WRITERS[name](tmp_path / name)
    stack = read_stack(server.address(name), region=(16, 32, 0, 20), z_range_nm=(160, 280))
    for k in range(4):
        np.testing.assert_array_equal(stack.slices[k], VALUES[4 + k, 16:32, 0:20])
    assert len(server.blocks()) == 2  # one in z and y, two in x
    assert {server.asked[path] for path in server.blocks()} == {1}


@pytest.mark.parametrize("name", WRITERS)
def test_a_server_that_fails_is_asked_again(tmp_path: Path, server: Loopback, name: str) -> None:
    WRITERS[name](tmp_path / name)
    files = [f"/{path.relative_to(tmp_path).as_posix()}" for path in tmp_path.rglob("*") if path.is_file()]
    server.failing = dict.fromkeys(files, 2)
    np.testing.assert_array_equal(read_stack(server.address(name)).slices[:], VALUES)
    assert max(server.asked.values()) >= 3


@pytest.mark.parametrize("name", WRITERS)
def test_a_server_that_fails_for_good_is_one_sentence(
    tmp_path: Path, server: Loopback, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    WRITERS[name](tmp_path / name)
    assert main(["info", server.address(name)]) == 0
    blocks = server.blocks()
    server.failing = dict.fromkeys(blocks, -1)
    _places._context.cache_clear()
    capsys.readouterr()
    assert main(["info", server.address(name)]) == 2
    text = capsys.readouterr().err
    assert "the server failed 3 times in a row (Service Unavailable [HTTP code 503])" in text
    assert text.count("\n") == 1
    assert "Slice 0 of " in text


def test_no_server_and_no_volume(tmp_path: Path, server: Loopback) -> None:
    with pytest.raises(StackFileError, match=r"There is no volume at http://127\.0\.0\.1:\d+/none: none of "):
        read_stack(server.address("none"))
    with pytest.raises(StackFileError, match="can be read from a disk only: download it first"):
        read_stack(server.address("a.tif"))
    with pytest.raises(StackFileError, match=r"There is no Neuroglancer volume at http"):
        read_stack(f"precomputed://{server.address('none')}")
    address = server.address("a.precomputed")
    server.shutdown()
    server.server_close()
    with pytest.raises(StackFileError, match=r"cannot be read: the server failed 3 times in a row \(.*onnect"):
        read_stack(address)


def test_scales_and_offsets(tmp_path: Path, server: Loopback) -> None:
    path = write_precomputed(tmp_path / "em", offset=(7, 100, 200))
    for where in (path, server.address("em"), f"precomputed://{server.address('em')}"):
        opened = open_file(where, Selection())
        np.testing.assert_array_equal(np.asarray(opened.slices), VALUES)
        assert opened.notes == (
            "the volume starts at voxel 7 x 100 x 200 (z, y, x): slices and pixels are counted from there",
        )
        for wanted in ("8_10_40", 1, "1"):
            coarse = open_file(where, Selection(wanted))
            np.testing.assert_array_equal(np.asarray(coarse.slices), VALUES[:, ::2, ::2])
            assert (coarse.voxel_size.y_nm, coarse.voxel_size.x_nm) == (10, 8)
        with pytest.raises(StackError, match="no scale 2 in em: it has 4_5_40, 8_10_40"):
            open_file(where, Selection(2))


def test_blocks_that_cloud_volume_packed(tmp_path: Path, server: Loopback) -> None:
    path = write_precomputed(tmp_path / "em", compressed=True)
    # A server that knows them says how they are packed; on a disk they would be taken for missing, which means black.
    np.testing.assert_array_equal(open_file(server.address("em"), Selection()).slices[:], VALUES)
    with pytest.raises(StackFileError, match=r"are compressed one by one \(\.gz\).*gunzip -r"):
        open_file(path, Selection())


@pytest.mark.parametrize("name", ["zarr2", "zarr3", "n5"])
def test_a_level_by_its_address_or_name(tmp_path: Path, server: Loopback, name: str) -> None:
    {"zarr2": write_zarr(2), "zarr3": write_zarr(3), "n5": write_n5}[name](tmp_path / "deep" / "data")
    level = "s1" if name == "n5" else "1"
    for where, dataset in ((server.address(f"deep/data/{level}"), None), (server.address("deep/data/"), level)):
        coarse = open_file(where, Selection(dataset))
        np.testing.assert_array_equal(np.asarray(coarse.slices), VALUES[:, ::2, ::2])
        size = coarse.voxel_size
        assert (size.z_nm, size.y_nm, size.x_nm) == (40, 10, 8)
    with pytest.raises(StackError, match="no array 7 in http"):
        open_file(server.address("deep/data"), Selection("7"))
    finest = open_file(f"{name}://{server.address('deep/data')}", Selection())
    np.testing.assert_array_equal(np.asarray(finest.slices), VALUES)


def test_blocks_in_shards_are_read_by_range(tmp_path: Path, server: Loopback) -> None:
    write_zarr(3, shards=True)(tmp_path / "a.zarr")
    slices = open_file(server.address("a.zarr"), Selection()).slices
    np.testing.assert_array_equal(slices[0, :16, :16], VALUES[0, :16, :16])
    assert server.blocks() == {"/a.zarr/0/c/0/0/0"}
    assert server.sent["/a.zarr/0/c/0/0/0"] < 3000  # the index, and one block of 27
    np.testing.assert_array_equal(np.asarray(slices), VALUES)


@pytest.mark.parametrize("version", [2, 3])
def test_groups_that_cannot_be_listed(tmp_path: Path, server: Loopback, version: int) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=version)  # type: ignore[arg-type]
    array = group.create_array("volumes/raw", shape=VALUES.shape, chunks=BLOCK, dtype="u1")
    array[:] = VALUES
    array.attrs.update({"voxel_size": list(SIZE), "units": "nm"})
    with pytest.raises(StackError, match="cannot be listed on a server: choose one with dataset="):
        open_file(server.address("a.zarr"), Selection())
    same = open_file(server.address("a.zarr"), Selection("volumes/raw"))
    np.testing.assert_array_equal(np.asarray(same.slices), VALUES)
    assert same.voxel_size.z_nm == 40
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(tmp_path / "a.zarr"))
    np.testing.assert_array_equal(np.asarray(open_file(server.address("a.zarr"), Selection()).slices), VALUES)


def test_a_text_called_info_makes_no_volume_of_a_folder_of_images(tmp_path: Path) -> None:
    import imageio.v3 as iio

    for k in range(3):
        iio.imwrite(tmp_path / f"{k}.png", VALUES[k])
    (tmp_path / "info").write_text("taken on Monday")
    np.testing.assert_array_equal(open_file(tmp_path, Selection()).slices[:], VALUES[:3])


def test_addresses() -> None:
    told = address_of(Path("https://host.org:8080/a/b.zarr/"))
    assert (str(told), told.name) == ("https://host.org:8080/a/b.zarr", "b.zarr")
    told = address_of("precomputed://gs://bucket/em?key=1")
    assert (str(told), told.format, told.query) == ("gs://bucket/em", "precomputed", "key=1")
    assert address_of("zarr2://s3://bucket/a").format == "zarr"
    for path in ("a/b.tif", "C:/data/a.tif", "C:\\data", "https:", "file:///a", "s3"):
        assert address_of(path) is None


def test_buckets_are_public_addresses_without_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    place = _places.place_of(address_of("gs://bucket/em"))
    assert place.store() == {"driver": "http", "base_url": "https://storage.googleapis.com", "path": "/bucket/em/"}
    place = _places.place_of(address_of("s3://bucket/em"))
    anonymous = {"aws_credentials": {"type": "anonymous"}}
    assert place.store() == {"driver": "s3", "bucket": "bucket", "path": "em/", **anonymous}
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "x")
    assert _places.place_of(address_of("gs://bucket/em")).store()["driver"] == "gcs"


def test_a_bucket_on_a_server_of_ones_own(tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    write_precomputed(tmp_path / "bucket" / "em")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address().rstrip("/"))
    monkeypatch.setenv("HOME", str(tmp_path))
    np.testing.assert_array_equal(read_stack("s3://bucket/em").slices[:], VALUES)


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None)
    with pytest.raises(
        StackFileError, match=r"from its server needs tensorstore: pip install 'napari-emgauss\[remote\]'"
    ):
        read_stack("https://host.org/a.zarr")
