"""Kinds of TIFF: what other programs write comes back bit for bit, page by page as each page says."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_emgauss import StackError, StackFileError
from napari_emgauss.stack import Stack, read_stack, read_voxel_size

RANDOM = np.random.default_rng(7)
VALUES = RANDOM.integers(0, 256, (6, 48, 64), dtype=np.uint8)
CHANNELS = np.stack([VALUES, 255 - VALUES, VALUES[::-1]])


def read(path: Path, **options: Any) -> Stack:
    return read_stack(path, voxel_size_nm=(40, 5, 5), **options)


def assert_is(stack: Stack, expected: np.ndarray) -> None:
    """All values and a window of one slice; channels first where there are several."""
    values = np.asarray(stack.slices[:])
    values = values.swapaxes(0, 1) if expected.ndim == 4 else values
    assert values.dtype == expected.dtype
    np.testing.assert_array_equal(values, expected)
    window = np.asarray(stack.slices[2])[..., 5:21, 50:2:-3]
    np.testing.assert_array_equal(window, expected[..., 2, 5:21, 50:2:-3])


def of_type(kind: str) -> np.ndarray:
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return RANDOM.standard_normal(VALUES.shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RANDOM.integers(limits.min, limits.max, VALUES.shape, dtype=dtype, endpoint=True)


def write_pages(path: Path, pages: list[tuple[np.ndarray, dict[str, Any]]], **options: Any) -> Path:
    with tifffile.TiffWriter(path, **options) as file:
        for page, more in pages:
            file.write(page, **{"photometric": "minisblack", "contiguous": False, "metadata": None, **more})
    return path


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("form", [{}, {"byteorder": ">"}, {"compression": "zlib", "predictor": True}])
def test_types_byte_orders_and_predictors(tmp_path: Path, kind: str, form: dict[str, Any]) -> None:
    if "predictor" in form and kind in ("u8", "i8"):
        form = {"compression": "zlib"}
    values = of_type(kind)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", **form)
    assert_is(read(tmp_path / "a.tif"), values)


@pytest.mark.parametrize("codec", ["lzw", "zlib", "packbits", "zstd", "lzma", "png", "jpegxl", "jpeg2000", "jpeg"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
def test_compressions(tmp_path: Path, codec: str, tile: tuple[int, int] | None) -> None:
    lossless = {"jpegxl": {"lossless": True}, "jpeg2000": {"reversible": True}}.get(codec)
    tifffile.imwrite(
        tmp_path / "a.tif", VALUES, photometric="minisblack", compression=codec, compressionargs=lossless, tile=tile
    )
    expected = tifffile.imread(tmp_path / "a.tif") if codec == "jpeg" else VALUES
    assert_is(read(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", None])
def test_files_of_pillow(tmp_path: Path, compression: str | None) -> None:
    first, *others = (Image.fromarray(page) for page in VALUES)
    first.save(tmp_path / "a.tif", save_all=True, append_images=others, compression=compression)
    assert_is(read(tmp_path / "a.tif"), VALUES)


@pytest.mark.parametrize("bits", [2, 4, 6, 10, 12, 14])
@pytest.mark.parametrize("white", [False, True])
def test_packed_bits(tmp_path: Path, bits: int, white: bool) -> None:
    values = RANDOM.integers(0, 1 << bits, VALUES.shape).astype(np.uint8 if bits <= 8 else np.uint16)
    photometric = "miniswhite" if white else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", values, bitspersample=bits, photometric=photometric)
    assert_is(read(tmp_path / "a.tif"), ((1 << bits) - 1 - values).astype(values.dtype) if white else values)


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "u4"])
def test_zero_is_white(tmp_path: Path, kind: str) -> None:
    values, limits = of_type(kind), np.iinfo(kind)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    mirrored = int(limits.max) + int(limits.min) - values.astype(np.int64)
    assert_is(read(tmp_path / "a.tif"), mirrored.astype(kind))


@pytest.mark.parametrize(
    ("palette", "expected"),
    [
        ([255 - k for k in range(256)], 255 - VALUES),
        (list(range(256)), VALUES),
        ([k // 2 for k in range(256)], VALUES // 2),
    ],
)
def test_grey_palettes(tmp_path: Path, palette: list[int], expected: np.ndarray) -> None:
    pages = [Image.frombytes("P", (64, 48), page.tobytes()) for page in VALUES]
    for page in pages:
        page.putpalette([level for level in palette for _ in range(3)])
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert_is(read(tmp_path / "a.tif"), expected)


def test_colour_palettes_are_refused_unless_imagej_only_shows_them(tmp_path: Path) -> None:
    table = np.stack([np.arange(256), np.arange(256)[::-1], np.zeros(256)]).astype(np.uint16) * 257
    write_pages(tmp_path / "a.tif", [(page, {"photometric": "palette", "colormap": table}) for page in VALUES])
    with pytest.raises(StackError, match="colour table"):
        read(tmp_path / "a.tif")
    header = {"description": "ImageJ=1.54f\nimages=6\nslices=6\n"}
    pages = [
        (page, {"photometric": "palette", "colormap": table, **(header if not k else {})})
        for k, page in enumerate(VALUES)
    ]
    assert_is(read(write_pages(tmp_path / "b.tif", pages)), VALUES)


def test_every_page_is_read_as_it_says_itself(tmp_path: Path) -> None:
    forms: list[dict[str, Any]] = [
        {},
        {"tile": (16, 16)},
        {"compression": "zlib"},
        {"photometric": "miniswhite"},
        {"compression": "lzw", "predictor": 2},
        {"rowsperstrip": 5},
    ]
    pages = [(255 - page if k == 3 else page, form) for k, (page, form) in enumerate(zip(VALUES, forms, strict=True))]
    assert_is(read(write_pages(tmp_path / "a.tif", pages)), VALUES)
    assert_is(read(write_pages(tmp_path / "b.tif", pages[::-1], bigtiff=True)), VALUES[::-1])


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (VALUES[3, :47], "47 x 64 pixels of 8 bit"),
        (VALUES[3, :, :60], "48 x 60 pixels"),
        (VALUES[3].astype(np.uint16), "16 bit"),
        (VALUES[3].view(np.int8), r"8 bit \(signed\)"),
        (VALUES[3].astype(np.float32), r"32 bit \(floating-point\)"),
    ],
)
def test_a_page_that_cannot_be_a_slice_is_named(tmp_path: Path, odd: np.ndarray, said: str) -> None:
    pages = [(odd if k == 3 else page, {}) for k, page in enumerate(VALUES)]
    with pytest.raises(StackError, match=rf"Page 3 of a\.tif is .*{said}"):
        read(write_pages(tmp_path / "a.tif", pages))


def test_strips_out_of_order_on_one_page(tmp_path: Path) -> None:
    path = write_pages(tmp_path / "a.tif", [(page, {"rowsperstrip": 24}) for page in VALUES])
    with tifffile.TiffFile(path, mode="r+b") as file:
        page = file.pages[2]
        first, second = page.dataoffsets
        page.tags["StripOffsets"].overwrite((second, first))
    expected = VALUES.copy()
    expected[2] = np.concatenate([VALUES[2, 24:], VALUES[2, :24]])
    assert_is(read(path), expected)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    ("axis", "form"),
    [
        (-1, {"planarconfig": "contig"}),
        (1, {"planarconfig": "separate"}),
        (1, {"planarconfig": "separate", "tile": (16, 16), "compression": "zlib"}),
        (-1, {"planarconfig": "contig", "rowsperstrip": 7, "compression": "zlib"}),
    ],
)
def test_samples_of_a_pixel_are_channels(tmp_path: Path, count: int, axis: int, form: dict[str, Any]) -> None:
    values = np.moveaxis(CHANNELS[:count], 0, axis)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", **form)
    assert_is(read(tmp_path / "a.tif"), CHANNELS[:count])
    np.testing.assert_array_equal(np.asarray(read(tmp_path / "a.tif", channel=1).slices), CHANNELS[1])


def test_how_opaque_a_pixel_is_is_no_channel(tmp_path: Path) -> None:
    values = np.stack([VALUES, np.full_like(VALUES, 255)], axis=-1)
    tifffile.imwrite(
        tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
    )
    assert_is(read(tmp_path / "a.tif"), VALUES)


@pytest.mark.parametrize("shape", [(6, 48, 64, 1), (1, 6, 48, 64), (6, 1, 48, 64), (1, 6, 1, 48, 64, 1)])
def test_axes_of_length_one(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES.reshape(shape), photometric="minisblack")
    assert_is(read(tmp_path / "a.tif"), VALUES)


@pytest.mark.parametrize("form", [{}, {"tile": (4, 16, 16), "compression": "zlib"}])
def test_a_volume_in_one_page(tmp_path: Path, form: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VALUES, volumetric=True, **form)
    assert_is(read(tmp_path / "a.tif"), VALUES)


def test_pages_written_one_after_the_other(tmp_path: Path) -> None:
    for k, page in enumerate(VALUES):
        tifffile.imwrite(tmp_path / "a.tif", page, append=k > 0)
    stack = read(tmp_path / "a.tif")
    assert_is(stack, VALUES)
    assert "6 images of the same size" in stack.metadata["notes"][0]


def test_blocks_written_one_after_the_other_are_asked_about(tmp_path: Path) -> None:
    for part in (VALUES[:4], VALUES[4:]):
        tifffile.imwrite(tmp_path / "a.tif", part, append=True, photometric="minisblack")
    with pytest.raises(StackError, match=r"2 stacks with slices of the same size: number 0 of 4 x 48 x 64, 1 of 2"):
        read(tmp_path / "a.tif")
    assert_is(read(tmp_path / "a.tif", dataset=0), VALUES[:4])


def test_pyramids_thumbnails_and_labels_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    pages = []
    for page in VALUES:
        pages += [(page, {}), (page[::2, ::2].copy(), {"subfiletype": 1}), (page[::4, ::4].copy(), {})]
    label = (RANDOM.integers(0, 255, (40, 100, 3), dtype=np.uint8), {"photometric": "rgb"})
    stack = read(write_pages(tmp_path / "a.tif", [label, *pages]))
    assert_is(stack, VALUES)
    assert "13 of its 19 pages are smaller copies or other images" in stack.metadata["notes"][0]
    with tifffile.TiffWriter(tmp_path / "b.tif", bigtiff=True) as file:
        for page in VALUES:
            file.write(page, subifds=1, contiguous=False, metadata=None)
            file.write(page[::2, ::2], subfiletype=1, metadata=None)
    assert_is(read(tmp_path / "b.tif"), VALUES)


@pytest.mark.parametrize(("axes", "order"), [("ZCYX", (1, 0)), ("CZYX", (0, 1))])
def test_hyperstacks_of_imagej(tmp_path: Path, axes: str, order: tuple[int, int]) -> None:
    values = CHANNELS[:2].transpose(*order, 2, 3)
    if axes == "CZYX":  # only ImageJ's own order can be written as its hyperstack
        header = "ImageJ=1.54f\nimages=12\nchannels=2\nslices=6\nhyperstack=true\nmode=grayscale\norder=zct\n"
        pages = [(page, {"description": header} if not k else {}) for k, page in enumerate(values.reshape(-1, 48, 64))]
        write_pages(tmp_path / "a.tif", pages)
    else:
        tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata={"axes": axes, "mode": "composite"})
    assert_is(read(tmp_path / "a.tif"), CHANNELS[:2])


def test_planes_behind_one_page_that_ends_too_early(tmp_path: Path) -> None:
    header = "ImageJ=1.54f\nimages=600\nslices=600\n"
    write_pages(tmp_path / "a.tif", [(VALUES[0], {"description": header})])
    with pytest.raises(StackFileError, match="600 planes"):
        read(tmp_path / "a.tif")


def test_pages_and_header_of_imagej_that_disagree(tmp_path: Path) -> None:
    header = {"description": "ImageJ=1.54f\nimages=9\nslices=9\n"}
    stack = read(write_pages(tmp_path / "a.tif", [(p, header if not k else {}) for k, p in enumerate(VALUES)]))
    assert_is(stack, VALUES)
    assert "says 9 slices, but it has 6 pages" in stack.metadata["notes"][0]
    header = {"description": "ImageJ=1.54f\nimages=8\nchannels=2\nslices=4\n"}
    with pytest.raises(StackError, match="has 6 pages, but its ImageJ header says 8"):
        read(write_pages(tmp_path / "b.tif", [(p, header if not k else {}) for k, p in enumerate(VALUES)]))


@pytest.mark.parametrize(
    ("lines", "resolution", "nm", "doubt"),
    [
        ("unit=micron\nzunit=nm\nspacing=50.0", (200, 200), (50, 5, 5), ""),
        ("unit=nm\nzunit=micron\nspacing=0.05", (1 / 5, 1 / 4), (50, 4, 5), ""),
        ("unit=nm\nyunit=micron\nzunit=nm\nspacing=50", (1 / 5, 250), (50, 4, 5), ""),
        ("unit=inch\nspacing=1.0", (72, 72), (None,) * 3, "72 dots per inch"),
        ("unit=inch\nspacing=1.0", (71, 71), (None,) * 3, "71 dots per inch"),
        ("unit=cm\nspacing=1.0", (300 / 2.54, 300 / 2.54), (None,) * 3, "300 dots per inch"),
        ("unit=pixel\nspacing=1.0", (1, 1), (None,) * 3, ""),
        ("spacing=0.04", (250, 250), (40, 4, 4), ""),
        ("spacing=40", (1 / 4, 1 / 4), (None,) * 3, "without a unit"),
        ("unit=nm\nspacing=50000", (1 / 5, 1 / 5), (None,) * 3, "as if z were in another unit"),
    ],
)
def test_sizes_of_imagej(tmp_path: Path, lines: str, resolution: Any, nm: Any, doubt: str) -> None:
    header = f"ImageJ=1.54f\nimages=6\nslices=6\n{lines}\n"
    more = {"resolution": resolution, "resolutionunit": "NONE"}
    pages = [(p, {**more, **({"description": header} if not k else {})}) for k, p in enumerate(VALUES)]
    size = read_voxel_size(write_pages(tmp_path / "a.tif", pages))
    np.testing.assert_allclose(
        np.array([size.z_nm, size.y_nm, size.x_nm], dtype=float), np.array(nm, dtype=float), rtol=1e-6
    )
    assert doubt in size.doubt and bool(doubt) == bool(size.doubt)


def write_lsm(path: Path, values: np.ndarray, compression: str | None = None) -> None:
    """A file as Zeiss writes it: a thumbnail behind each page, sizes in metres in a structure of its own."""
    known = {
        "MagicNumber": 67127628,
        "StructureSize": 500,
        "DimensionX": 64,
        "DimensionY": 48,
        "DimensionZ": 6,
        "DimensionTime": 1,
    }
    known |= {"DimensionChannels": values.shape[1] if values.ndim == 4 else 1, "DataType": 1, "ScanType": 0}
    sizes = {"VoxelSizeX": 5e-9, "VoxelSizeY": 4e-9, "VoxelSizeZ": 40e-9}
    about = b"".join(
        np.full(np.dtype(form).shape, (known | sizes).get(name, 0), np.dtype(form).base.newbyteorder("<")).tobytes()
        for name, form in tifffile.TIFF.CZ_LSMINFO
    )
    form = {"photometric": "minisblack", "contiguous": False, "metadata": None}
    with tifffile.TiffWriter(path, byteorder="<") as file:
        for number, page in enumerate(values):
            tags = [(34412, "B", len(about), about, True)] if number == 0 else []
            apart = "separate" if page.ndim == 3 else None
            file.write(page, planarconfig=apart, compression=compression, extratags=tags, **form)
            file.write(VALUES[0, ::4, ::4].copy(), subfiletype=1, **form)
    if values.ndim == 4:
        path.write_bytes(_with_bits_elsewhere(path.read_bytes()))


def _with_bits_elsewhere(data: bytes) -> bytes:
    """The quirk of LSM files: bits of two samples lie elsewhere, though they would fit into the tag."""
    out, offset = bytearray(data) + struct.pack("<HH", 8, 8), struct.unpack_from("<I", data, 4)[0]
    while offset:
        (count,) = struct.unpack_from("<H", data, offset)
        for entry in range(offset + 2, offset + 2 + 12 * count, 12):
            if struct.unpack_from("<HHI", data, entry) == (258, 3, 2):
                struct.pack_into("<I", out, entry + 8, len(data))
        (offset,) = struct.unpack_from("<I", data, offset + 2 + 12 * count)
    return bytes(out)


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_lsm(tmp_path: Path, compression: str | None) -> None:
    write_lsm(tmp_path / "a.lsm", VALUES, compression)
    stack = read_stack(tmp_path / "a.lsm")
    assert_is(stack, VALUES)
    np.testing.assert_allclose((stack.z_nm[1], *stack.pixel_size_nm), (40, 4, 5))
    assert stack.metadata["format"] == "LSM" and stack.metadata["notes"] == []
    write_lsm(tmp_path / "b.lsm", CHANNELS[:2].swapaxes(0, 1), compression)
    assert_is(read_stack(tmp_path / "b.lsm"), CHANNELS[:2])
