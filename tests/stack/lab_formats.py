"""Files of laboratories' formats, written byte by byte after their published layouts."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DM_TYPES = {"int16": 1, "float32": 2, "uint8": 6, "int32": 7, "int8": 9, "uint16": 10, "uint32": 11, "float64": 12}
# How the values of an image lie in a tag: numbers of the simple types.
_DM_ELEMENTS = {"int16": 2, "float32": 6, "uint8": 10, "int32": 3, "int8": 9, "uint16": 4, "uint32": 5, "float64": 7}


class _DmTags:
    """Tags of DM3 (32-bit counts) and DM4 (64-bit counts), after the description by G. Möbus and P. Cheung."""

    def __init__(self, version: int) -> None:
        self.is_dm4 = version == 4

    def count(self, number: int) -> bytes:
        return struct.pack(">Q" if self.is_dm4 else ">I", number)

    def group(self, *entries: bytes) -> bytes:
        return b"\1\0" + self.count(len(entries)) + b"".join(entries)

    def named_group(self, name: str, *entries: bytes) -> bytes:
        inner = self.group(*entries)
        length = self.count(len(inner)) if self.is_dm4 else b""
        return b"\x14" + struct.pack(">H", len(name)) + name.encode() + length + inner

    def data(self, name: str, info: tuple[int, ...], values: bytes) -> bytes:
        inner = b"%%%%" + self.count(len(info)) + b"".join(self.count(n) for n in info) + values
        length = self.count(len(inner)) if self.is_dm4 else b""
        return b"\x15" + struct.pack(">H", len(name)) + name.encode() + length + inner

    def long(self, name: str, value: int) -> bytes:
        return self.data(name, (5,), struct.pack("<I", value))

    def float(self, name: str, value: float) -> bytes:
        return self.data(name, (6,), struct.pack("<f", value))

    def text(self, name: str, value: str) -> bytes:
        return self.data(name, (20, 4, len(value)), value.encode("utf-16-le"))

    def image(
        self, values: NDArray[Any], scales: tuple[float, ...], units: tuple[str, ...], type_number: int = 0
    ) -> bytes:
        """``values`` is ``(Z, Y, X)``; scales and units are those of x, y, z, as in the file."""
        dimension = [
            self.named_group("", self.float("Origin", 0.0), self.float("Scale", scale), self.text("Units", unit))
            for scale, unit in zip(scales, units, strict=True)
        ]
        kind = values.dtype.name
        flat = values.astype(values.dtype.newbyteorder("<")).tobytes()
        return self.named_group(
            "",
            self.named_group(
                "ImageData",
                self.named_group(
                    "Calibrations",
                    self.named_group("Brightness", self.float("Scale", 1.0), self.text("Units", "")),
                    self.named_group("Dimension", *dimension),
                ),
                self.data("Data", (20, _DM_ELEMENTS[kind], values.size), flat),
                self.long("DataType", type_number or _DM_TYPES[kind]),
                self.named_group("Dimensions", *(self.long("", n) for n in reversed(values.shape))),
                self.long("PixelDepth", values.dtype.itemsize),
            ),
            self.named_group("ImageTags", self.text("Microscope", "3View")),
            self.text("Name", "stack"),
        )


def write_dm(
    path: Path,
    values: NDArray[Any],
    voxel_size: tuple[float, float, float] = (50, 5, 4),
    units: tuple[str, str, str] = ("nm", "nm", "nm"),
    *,
    version: int = 4,
    thumbnail: bool = True,
    more: tuple[NDArray[Any], ...] = (),
    type_number: int = 0,
    big_endian: bool = False,
) -> Path:
    """A file with a thumbnail of colours, one stack, and perhaps more."""
    tags = _DmTags(version)
    small = np.arange(4, dtype=np.uint32).reshape(2, 2)
    images = [tags.image(small, (1, 1), ("", ""), type_number=23)] if thumbnail else []
    for array in (values, *more):
        scales = tuple(reversed(voxel_size))[: array.ndim]
        images.append(tags.image(array, scales, tuple(reversed(units))[: array.ndim], type_number))
    entries = [tags.named_group("ImageList", *images)]
    if thumbnail:
        entries.append(tags.named_group("Thumbnails", tags.named_group("", tags.long("ImageIndex", 0))))
    root = tags.group(*entries)
    start = struct.pack(">I", version) + tags.count(len(root)) + struct.pack(">I", 0 if big_endian else 1)
    path.write_bytes(start + root + b"\0" * 8)
    return path


def write_nifti(
    path: Path,
    values: NDArray[Any],
    voxel_size: tuple[float, float, float] = (0.05, 0.005, 0.004),
    unit: int = 3,
    *,
    order: str = "<",
    scale: tuple[float, float] = (0.0, 0.0),
    sform: int = 0,
    type_code: int = 0,
) -> Path:
    """NIfTI-1 in one file; unit 3 is µm, 2 mm, 0 unknown. ``values`` is ``(Z, Y, X)`` or ``(T, Z, Y, X)``."""
    codes = {
        "uint8": 2,
        "int16": 4,
        "int32": 8,
        "float32": 16,
        "float64": 64,
        "int8": 256,
        "uint16": 512,
        "uint32": 768,
    }
    shape = values.shape[::-1]
    dim = (len(shape), *shape, *(1,) * (7 - len(shape)))
    header = bytearray(352)
    struct.pack_into(order + "i", header, 0, 348)
    struct.pack_into(order + "8h", header, 40, *dim)
    struct.pack_into(order + "2h", header, 70, type_code or codes[values.dtype.name], values.dtype.itemsize * 8)
    struct.pack_into(order + "8f", header, 76, 1.0, *reversed(voxel_size), 1.0, 0.0, 0.0, 0.0)
    struct.pack_into(order + "3f", header, 108, 352.0, *scale)
    header[123] = unit
    struct.pack_into(order + "2h", header, 252, 0, sform)
    z, y, x = voxel_size
    struct.pack_into(order + "12f", header, 280, -x, 0, 0, 0, 0, y, 0, 0, 0, 0, z, 0)
    header[344:348] = b"n+1\0"
    content = bytes(header) + values.astype(values.dtype.newbyteorder(order)).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_amira(
    path: Path,
    values: NDArray[Any],
    voxel_size: tuple[float, float, float] = (50, 5, 4),
    unit: str = "nm",
    *,
    form: str = "BINARY-LITTLE-ENDIAN",
    coding: str = "",
    more: dict[str, NDArray[Any]] | None = None,
    coordinates: str = "uniform",
) -> Path:
    """Lattices; ``form`` is that of the first line, ``coding`` ``HxByteRLE`` or ``HxZip``."""
    names = {
        "uint8": "byte",
        "int16": "short",
        "uint16": "ushort",
        "int32": "int",
        "float32": "float",
        "float64": "double",
    }
    depth, height, width = values.shape
    ends = [size * (n - 1) for size, n in zip(reversed(voxel_size), (width, height, depth), strict=True)]
    units = f'    Units {{\n        Coordinates "{unit}"\n    }}\n' if unit else ""
    head = (
        f"# AmiraMesh {form} 2.1\n\n\ndefine Lattice {width} {height} {depth}\n\nParameters {{\n{units}"
        f'    Content "{width}x{height}x{depth} voxels, {coordinates} coordinates",\n'
        f"    BoundingBox 0 {ends[0]:g} 0 {ends[1]:g} 0 {ends[2]:g},\n"
        f'    CoordType "{coordinates}"\n}}\n\n'
    )
    body = b""
    for number, (name, array) in enumerate({"Data": values, **(more or {})}.items(), 1):
        order = "<" if form.endswith("LITTLE-ENDIAN") else ">"
        content = array.astype(array.dtype.newbyteorder(order)).tobytes()
        if "ASCII" in form:
            content = "\n".join(repr(value) for value in array.ravel().tolist()).encode() + b"\n"
        elif coding == "HxZip":
            content = zlib.compress(content)
        elif coding == "HxByteRLE":
            content = _run_length_coded(content)
        said = f"({coding},{len(content)})" if coding else ""
        head += f"Lattice {{ {names[array.dtype.name]} {name} }} @{number}{said}\n"
        body += f"\n@{number}\n".encode() + content
    path.write_bytes(head.encode() + b"\n# Data section follows" + body + b"\n")
    return path


def _run_length_coded(content: bytes) -> bytes:
    """Runs as count and value; what does not repeat, as a count with the highest bit set and the values."""
    out, at = bytearray(), 0
    while at < len(content):
        run = 1
        while run < 127 and content[at + run : at + run + 1] == content[at : at + 1]:
            run += 1
        if run > 2:
            out += bytes((run, content[at]))
            at += run
        else:
            part = content[at : at + 5]
            out += bytes((0x80 | len(part),)) + part
            at += len(part)
    return bytes(out)


def write_lif(path: Path, values: NDArray[Any], voxel_size: tuple[float, float, float] = (50, 5, 4)) -> Path:
    """``values`` is ``(C, Z, Y, X)``: XML in UTF-16, then one block of memory, lengths in metres."""
    count, *shape = values.shape
    step = values.dtype.itemsize
    dimensions, channels = "", ""
    for number, (size, n) in enumerate(zip(reversed(voxel_size), reversed(shape), strict=True), 1):
        dimensions += (
            f'<DimensionDescription DimID="{number}" NumberOfElements="{n}" Origin="0" '
            f'Length="{(n - 1) * size * 1e-9:.12g}" Unit="m" BitInc="0" BytesInc="{step}"/>'
        )
        step *= n
    kind = 1 if values.dtype.kind == "f" else 0
    for channel in range(count):
        channels += (
            f'<ChannelDescription DataType="{kind}" ChannelTag="0" Resolution="{8 * values.dtype.itemsize}" '
            'NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" LUTName="Gray" IsLUTInverted="0" '
            f'BytesInc="{channel * step}" BitInc="0"/>'
        )
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="a" UniqueID="0"><Children>'
        '<Element Name="Series001" UniqueID="1"><Data><Image TextDescription=""><ImageDescription>'
        f"<Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
        f'<Memory Size="{values.nbytes}" MemoryBlockID="MemBlock_1"/></Element>'
        "</Children></Element></LMSDataContainerHeader>"
    ).encode("utf-16-le")
    name = "MemBlock_1".encode("utf-16-le")
    content = struct.pack("<IIBI", 0x70, 5 + len(xml), 0x2A, len(xml) // 2) + xml
    content += struct.pack("<IIBQBI", 0x70, 14 + len(name), 0x2A, values.nbytes, 0x2A, len(name) // 2) + name
    path.write_bytes(content + values.astype(values.dtype.newbyteorder("<")).tobytes())
    return path


def write_czi(path: Path, values: NDArray[Any], voxel_size: tuple[float, float, float] = (50, 5, 4)) -> Path:
    """``values`` is ``(C, Z, Y, X)``, by Zeiss' own library."""
    import pytest

    czi = pytest.importorskip("pylibCZIrw.czi")
    z, y, x = (size * 1e-9 for size in voxel_size)
    path.unlink(missing_ok=True)
    with czi.create_czi(str(path)) as file:
        for channel, volume in enumerate(values):
            for k, plane in enumerate(volume):
                file.write(np.ascontiguousarray(plane[..., None]), plane={"C": channel, "Z": k, "T": 0})
        file.write_metadata(document_name="a", scale_x=x, scale_y=y, scale_z=z)
    return path


def write_imaris(
    path: Path,
    values: NDArray[Any],
    voxel_size: tuple[float, float, float] = (0.05, 0.005, 0.004),
    unit: str | None = "um",
    chunks: tuple[int, int, int] = (4, 16, 16),
) -> Path:
    """``values`` is ``(C, Z, Y, X)``; stored padded to whole blocks with 255, beside a coarser level of noise."""
    import h5py

    def letters(text: str) -> Any:
        return np.frombuffer(text.encode(), "S1")

    with h5py.File(path, "w") as file:
        image = file.create_group("DataSetInfo/Image")
        for place, axis in enumerate("XYZ"):
            count, size = values.shape[3 - place], voxel_size[2 - place]
            image.attrs[axis] = letters(str(count))
            image.attrs[f"ExtMin{place}"] = letters("10")
            image.attrs[f"ExtMax{place}"] = letters(f"{10 + count * size:.9g}")
        if unit is not None:
            image.attrs["Unit"] = letters(unit)
        for channel, one in enumerate(values):
            group = file.create_group(f"DataSet/ResolutionLevel 0/TimePoint 0/Channel {channel}")
            padded = [(0, -n % c) for n, c in zip(one.shape, chunks, strict=True)]
            group.create_dataset(
                "Data", data=np.pad(one, padded, constant_values=99), chunks=chunks, compression="gzip"
            )
            coarse = file.create_group(f"DataSet/ResolutionLevel 1/TimePoint 0/Channel {channel}")
            coarse.create_dataset("Data", data=one[::2, ::2, ::2])
            for axis, count in zip("ZYX", one.shape, strict=True):
                group.attrs[f"ImageSize{axis}"] = letters(str(count))
    return path
