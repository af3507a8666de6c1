"""TIFF files made to exhaust memory, or to show what lies outside of them: refused before anything is decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from napari_emgauss import StackFileError
from napari_emgauss.stack import read_stack

VALUES = np.random.default_rng(1).integers(0, 255, (5, 64, 80), dtype=np.uint8)
HUGE = 40_000


def read(path: Path) -> Any:
    stack = read_stack(path, voxel_size_nm=(40, 5, 5))
    return np.asarray(stack.slices[:])


def jpeg2000() -> bytes:
    data = bytearray(imagecodecs.jpeg2k_encode(VALUES[0], level=0, reversible=True, codecformat="j2k"))
    at = data.index(b"\xff\x4f\xff\x51") + 8
    struct.pack_into(">2I", data, at, HUGE, HUGE)
    return bytes(data)


def boxed_jpeg2000() -> bytes:
    # A box of comments with a harmless size before the codestream must not be taken for it.
    harmless = imagecodecs.jpeg2k_encode(VALUES[0], level=0, reversible=True, codecformat="j2k")
    data = bytearray(imagecodecs.jpeg2k_encode(VALUES[0], level=0, reversible=True, codecformat="jp2"))
    at = data.index(b"\xff\x4f\xff\x51") + 8
    struct.pack_into(">2I", data, at, HUGE, HUGE)
    start = data.index(b"jp2h") - 4
    box = struct.pack(">I4s", 8 + len(harmless), b"uuid") + harmless
    return bytes(data[:start] + box + data[start:])


def png() -> bytes:
    data = bytearray(imagecodecs.png_encode(VALUES[0]))
    struct.pack_into(">II", data, 16, HUGE, HUGE)
    return bytes(data)


def jpeg() -> bytes:
    data = bytearray(imagecodecs.jpeg8_encode(VALUES[0]))
    at = data.index(b"\xff\xc0") + 5
    struct.pack_into(">HH", data, at, HUGE, HUGE)
    return bytes(data)


def jpeg_xl() -> bytes:
    # By hand after ISO 18181-1, D.2: not small, 18 bit for the height, as wide as high.
    bits = 0 | (2 << 1) | ((HUGE - 1) << 3) | (1 << 21)
    return b"\xff\x0a" + bits.to_bytes(8, "little")


def write_segments(
    path: Path, segment: bytes, compression: str, shape: tuple[int, int] = (64, 80), **more: Any
) -> Path:
    with tifffile.TiffWriter(path) as file:
        for _ in range(5):
            form = {"contiguous": False, "metadata": None, "photometric": "minisblack", **more}
            file.write(iter([segment]), shape=shape, dtype=np.uint8, compression=compression, **form)
    return path


@pytest.mark.parametrize(
    ("make", "compression"),
    [(jpeg2000, "jpeg2000"), (boxed_jpeg2000, "jpeg2000"), (png, "png"), (jpeg, "jpeg"), (jpeg_xl, "jpegxl")],
)
def test_a_picture_in_a_page_is_no_larger_than_the_page(
    tmp_path: Path, make: Callable[[], bytes], compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_segments(tmp_path / "a.tif", make(), compression, rowsperstrip=64)
    for codec in ("jpeg2k", "png", "jpeg", "jpeg8", "jpegxl"):  # none may be reached
        monkeypatch.delattr(imagecodecs, f"{codec}_decode")
    with pytest.raises(StackFileError, match=rf"claims {HUGE} x {HUGE} pixels, more than its place holds"):
        read(path)


def test_bytes_that_become_more_than_their_strip(tmp_path: Path) -> None:
    path = write_segments(tmp_path / "a.tif", zlib.compress(bytes(50_000_000), 9), "zlib", rowsperstrip=64)
    with pytest.raises(StackFileError, match="Slice 0"):
        read(path)


@pytest.mark.parametrize(
    ("shape", "form", "said"),
    [
        ((30_000, 30_000), {"rowsperstrip": 30_000}, "claims 900 MB a page"),
        ((64, 80), {"tile": (32_768, 32_768)}, "claims tiles of 1074 MB"),
        ((20_000, 20_000), {"rowsperstrip": 20_000}, "claim to become 400 MB|claims 400 MB a page"),
    ],
)
def test_what_a_page_claims_is_compared_with_its_bytes(
    tmp_path: Path, shape: tuple[int, int], form: dict[str, Any], said: str
) -> None:
    path = write_segments(
        tmp_path / "a.tif", zlib.compress(bytes(1_000_000), 9) + bytes(400_000), "zlib", shape, **form
    )
    with pytest.raises(StackFileError, match=said):
        read(path)


def write_ome(path: Path, data: str, size_z: int = 5, extra: str = "") -> Path:
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="urn:uuid:0"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="80" '
        f'SizeY="64" SizeZ="{size_z}" SizeC="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        f"{data}</Pixels></Image>{extra}</OME>"
    )
    with tifffile.TiffWriter(path) as file:
        for k, page in enumerate(VALUES):
            file.write(page, contiguous=False, metadata=None, description=xml if not k else None)
    return path


def planes_of(name: str) -> str:
    blocks = (
        f'<TiffData FirstZ="{k}" IFD="{k}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:9</UUID></TiffData>'
        for k in range(5)
    )
    return "".join(blocks)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "{outside}", "../outside.tif", "sub/../../outside.tif", "C:\\a.tif", "..\\outside.tif"]
)
def test_ome_names_nothing_outside_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    outside = tmp_path / "outside.tif"
    tifffile.imwrite(outside, VALUES, photometric="minisblack")
    path = write_ome(folder / "a.ome.tif", planes_of(name.format(outside=outside)))
    with pytest.raises(StackFileError, match="names another file outside its own folder"):
        read(path)


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    tifffile.imwrite(tmp_path / "outside.tif", VALUES, photometric="minisblack")
    (folder / "b.tif").symlink_to(tmp_path / "outside.tif")
    with pytest.raises(StackFileError, match="outside its own folder"):
        read(write_ome(folder / "a.ome.tif", planes_of("b.tif")))


def test_a_file_beside_it_is_read_and_a_lost_one_is_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "b.tif", VALUES, photometric="minisblack")
    np.testing.assert_array_equal(read(write_ome(tmp_path / "a.ome.tif", planes_of("b.tif"))), VALUES)
    with pytest.raises(StackFileError, match=r"5 of 5 planes are missing .*among them c\.tif"):
        read(write_ome(tmp_path / "d.ome.tif", planes_of("c.tif")))


@pytest.mark.parametrize(
    ("data", "size_z"), [('<TiffData IFD="0" PlaneCount="2000000000"/>', 5), ("<TiffData/>", 5), ("", 5)]
)
def test_planes_beyond_the_file_are_none(tmp_path: Path, data: str, size_z: int) -> None:
    np.testing.assert_array_equal(read(write_ome(tmp_path / "a.ome.tif", data, size_z)), VALUES)


@pytest.mark.parametrize(
    ("size_z", "said"), [(2_000_000_000, "claims 2000000000 planes"), (9, "4 of 9 planes are missing")]
)
def test_more_planes_than_there_are(tmp_path: Path, size_z: int, said: str) -> None:
    with pytest.raises(StackFileError, match=said):
        read(write_ome(tmp_path / "a.ome.tif", "<TiffData/>", size_z))


def test_pages_that_claim_the_same_bytes_again_and_again(tmp_path: Path) -> None:
    count, pages, entry = 500_000, 400, 2 + 12 * 6 + 4
    values = 8 + pages * entry
    data = bytearray(b"II*\0" + struct.pack("<I", 8))
    for k in range(pages):
        tags = [(256, 4, 1, 80), (257, 4, 1, count), (258, 3, 1, 8), (273, 4, count, values), (278, 4, 1, 1)]
        tags.append((279, 4, count, values))
        data += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        data += struct.pack("<I", 8 + (k + 1) * entry if k < pages - 1 else 0)
    (tmp_path / "a.tif").write_bytes(bytes(data) + bytes(4 * count))
    with pytest.raises(StackFileError, match="over and over"):
        read(tmp_path / "a.tif")
