"""Every row of the registry of input formats keeps to the contract of readers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import h5py
import imageio.v3 as iio
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from napari_emgauss.stack import input_formats

from . import lab_formats
from .reader_contract import EVERY_TYPE, VOXEL_SIZE, ReaderContract, Variant
from .test_mrc import write as write_mrc_by_hand

Writer = Callable[[Path, NDArray[Any]], Path]
NO_HALF = tuple(kind for kind in EVERY_TYPE if kind != "f2")
IN_UM = tuple(size / 1000 for size in VOXEL_SIZE)


def write_mrc(folder: Path, values: NDArray[Any]) -> Path:
    with mrcfile.new(folder / "a.mrc", values) as file:
        file.voxel_size = tuple(10 * size for size in reversed(VOXEL_SIZE))
        file.set_volume()
    return folder / "a.mrc"


def mrc_by_hand(order: str = "<", layout: str = "XYZ", **fields: Any) -> Writer:
    modes = {"i1": 0, "u1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12}

    def write(folder: Path, values: NDArray[Any]) -> Path:
        turned = np.ascontiguousarray(values.transpose(["ZYX".index(axis) for axis in reversed(layout)]))
        nz, ny, nx = values.shape
        about = {
            "map": ["XYZ".index(axis) + 1 for axis in layout],
            "intervals": (nx, ny, nz),
            "cell": [10 * size * n for size, n in zip(reversed(VOXEL_SIZE), (nx, ny, nz), strict=True)],
            **({"statistics": (-128, 127, 0)} if values.dtype == "i1" else {}),
            **fields,
        }
        return write_mrc_by_hand(folder / "a.mrc", turned, modes[values.dtype.str[1:]], order, **about)

    return write


class TestMRC(ReaderContract):
    name = "mrc"
    variants: ClassVar = {
        "mrcfile": Variant(write_mrc, ("i1", "i2", "u2", "f2", "f4")),
        "big-endian": Variant(mrc_by_hand(">"), ("i1", "i2", "u2", "f2", "f4")),
        "unsigned bytes of IMOD": Variant(mrc_by_hand(imod=(1146047817, 0)), ("u1",)),
        "extended header": Variant(mrc_by_hand(extended=b"x" * 777), ("i2", "f4")),
        "z first": Variant(mrc_by_hand(">", "ZYX"), ("i2", "f4")),
        "y, z, x": Variant(mrc_by_hand("<", "YZX"), ("i2",)),
    }


def hdf5(axes: str = "", order: str = "", **options: Any) -> Writer:
    def write(folder: Path, values: NDArray[Any]) -> Path:
        with h5py.File(folder / "a.h5", "w") as file:
            file.attrs["note"] = "the size stands with the group"
            group = file.create_group("volumes")
            group.attrs["resolution"], group.attrs["units"] = IN_UM, ["um", "um", "um"]
            data = values
            if axes:
                data = np.ascontiguousarray(values.transpose([("zyx").index(axis) for axis in axes if axis != "c"]))
                data = data[..., None] if axes.endswith("c") else data
            typed = data.astype(data.dtype.newbyteorder(order)) if order else data
            raw = group.create_dataset("raw", data=typed, **options)
            if axes:
                raw.attrs["axistags"] = json.dumps({"axes": [{"key": axis, "resolution": 0} for axis in axes]})
            group.create_dataset("labels", data=np.zeros(values.shape, "u8"))
        return folder / "a.h5"

    return write


def plugin(name: str, **options: Any) -> Writer:
    def write(folder: Path, values: NDArray[Any]) -> Path:
        filters = pytest.importorskip("hdf5plugin")
        return hdf5(chunks=(2, 4, 5), compression=getattr(filters, name)(**options))(folder, values)

    return write


class TestHDF5(ReaderContract):
    name = "hdf5"
    variants: ClassVar = {
        "contiguous": Variant(hdf5()),
        "big-endian": Variant(hdf5(order=">"), ("u2", "i4", "f8")),
        "chunks": Variant(hdf5(chunks=(2, 4, 5)), ("u1", "i2")),
        "gzip": Variant(hdf5(chunks=(3, 4, 5), compression="gzip", shuffle=True, fletcher32=True)),
        "lzf": Variant(hdf5(chunks=(2, 4, 5), compression="lzf"), ("u1", "f4")),
        "scale-offset": Variant(hdf5(chunks=(2, 4, 5), scaleoffset=0), ("u2", "i2")),
        "x, y, z": Variant(hdf5("xyz"), ("u1", "f4")),
        "z, y, x, c": Variant(hdf5("zyxc", chunks=(2, 4, 5, 1), compression="gzip"), ("u1", "u2")),
        "Blosc": Variant(plugin("Blosc"), ("u1", "f4")),
        "Blosc2": Variant(plugin("Blosc2"), ("u2",)),
        "bitshuffle": Variant(plugin("Bitshuffle"), ("u1", "u2", "f4")),
        "LZ4": Variant(plugin("LZ4"), ("u2",)),
        "Zstandard": Variant(plugin("Zstd"), ("u2",)),
    }


def ome_zarr(version: str, axes: str = "zyx", **options: Any) -> Writer:
    """The scale of the level is in pixels, that of the image in µm: only together they are right."""

    def write(folder: Path, values: NDArray[Any]) -> Path:
        group = zarr.open_group(str(folder / "a.zarr"), mode="w", zarr_format=2 if version == "0.4" else 3)
        data = np.ascontiguousarray(values.transpose(["zyx".index(axis) for axis in axes]))
        chunks = tuple({"z": 2, "y": 4, "x": 5}[axis] for axis in axes)
        group.create_array("0", shape=data.shape, chunks=chunks, dtype=data.dtype, **options)[:] = data
        sizes = dict(zip("zyx", IN_UM, strict=True))
        described = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in axes]
        level = [{"type": "scale", "scale": [10.0, 10.0, 10.0]}]
        whole = [{"type": "scale", "scale": [sizes[axis] / 10 for axis in axes]}]
        image = {"axes": described, "datasets": [{"path": "0", "coordinateTransformations": level}]}
        multiscales = [{"version": version, **image, "coordinateTransformations": whole}]
        if version == "0.4":
            group.attrs["multiscales"] = multiscales
        else:
            group.attrs["ome"] = {"version": version, "multiscales": multiscales}
        return folder / "a.zarr"

    return write


def plain_zarr(version: int, **options: Any) -> Writer:
    def write(folder: Path, values: NDArray[Any]) -> Path:
        options_now = {"chunks": (2, 4, 5), **options}
        typed = values.astype(values.dtype.newbyteorder(options_now.pop("byte_order", "=")))
        array = zarr.create_array(
            str(folder / "a.zarr"), shape=values.shape, dtype=typed.dtype, zarr_format=version, **options_now
        )
        array[:] = typed
        array.attrs["resolution"], array.attrs["unit"] = list(IN_UM), "um"
        return folder / "a.zarr"

    return write


def zarr_by_tensorstore(driver: str, **metadata: Any) -> Writer:
    def write(folder: Path, values: NDArray[Any]) -> Path:
        tensorstore = pytest.importorskip("tensorstore")
        where = {"driver": "file", "path": str(folder / "a.zarr")}
        tensorstore.open(
            {"driver": driver, "kvstore": where, "metadata": metadata},
            create=True,
            dtype=values.dtype.name,
            shape=values.shape,
        ).result().write(values).result()
        return folder / "a.zarr"

    return write


def numcodec(name: str, **settings: Any) -> Any:
    import numcodecs

    return getattr(numcodecs, name)(**settings)


class TestZarr(ReaderContract):
    name = "zarr"
    variants: ClassVar = {
        "OME-Zarr 0.4": Variant(ome_zarr("0.4")),
        "OME-Zarr 0.5": Variant(ome_zarr("0.5")),
        "OME-Zarr, x first": Variant(ome_zarr("0.5", "xyz"), ("u1", "f4")),
        "2, Fortran order": Variant(plain_zarr(2, order="F"), ("u1", "i2", "f8")),
        "2, big-endian": Variant(plain_zarr(2, byte_order=">"), ("u2", "i4", "f4")),
        "2, blocks in folders": Variant(plain_zarr(2, chunk_key_encoding={"name": "v2", "separator": "/"}), ("u1",)),
        "2, Blosc": Variant(plain_zarr(2, compressors=numcodec("Blosc")), ("u1", "u2")),
        "2, gzip": Variant(plain_zarr(2, compressors=numcodec("GZip")), ("u2",)),
        "2, zlib and delta": Variant(
            plain_zarr(2, compressors=numcodec("Zlib"), filters=[numcodec("Delta", dtype="<u2")]), ("u2",)
        ),
        "2, LZMA": Variant(plain_zarr(2, compressors=numcodec("LZMA")), ("u2",)),
        "2, bzip2": Variant(plain_zarr(2, compressors=numcodec("BZ2")), ("u2",)),
        "2, LZ4": Variant(plain_zarr(2, compressors=numcodec("LZ4")), ("u2",)),
        "2, not packed": Variant(plain_zarr(2, compressors=None), ("u1", "f4")),
        "3": Variant(plain_zarr(3), EVERY_TYPE),
        "3, gzip": Variant(plain_zarr(3, compressors=zarr.codecs.GzipCodec()), ("u2",)),
        "3, Blosc": Variant(plain_zarr(3, compressors=zarr.codecs.BloscCodec()), ("u2", "f4")),
        "3, big-endian": Variant(plain_zarr(3, serializer=zarr.codecs.BytesCodec(endian="big")), ("u2", "f8")),
        "3, turned blocks": Variant(plain_zarr(3, filters=[zarr.codecs.TransposeCodec(order=(2, 0, 1))]), ("u2",)),
        "3, shards": Variant(plain_zarr(3, shards=(4, 8, 10)), ("u1", "u2", "f4")),
        "3, checksums": Variant(
            plain_zarr(3, compressors=[zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()]), ("u2",)
        ),
        "2 by tensorstore": Variant(zarr_by_tensorstore("zarr", chunks=[2, 4, 5]), ("u1", "f4"), tells_size=False),
        "3 by tensorstore": Variant(zarr_by_tensorstore("zarr3"), ("u2", "f8"), tells_size=False),
    }


def n5(kind: str = "gzip", inside: str = "", **settings: Any) -> Writer:
    def write(folder: Path, values: NDArray[Any]) -> Path:
        tensorstore = pytest.importorskip("tensorstore")
        root = folder / "a.n5"
        about = {
            "dimensions": list(values.shape[::-1]),
            "blockSize": [5, 4, 2],
            "dataType": values.dtype.name,
            "compression": {"type": kind, **settings},
        }
        where = {"driver": "file", "path": str(root / inside)}
        store = tensorstore.open({"driver": "n5", "kvstore": where, "metadata": about}, create=True).result()
        store.T.write(values).result()
        size = {"pixelResolution": {"dimensions": list(reversed(IN_UM)), "unit": "um"}}
        file = root / "attributes.json"
        if inside:
            file.write_text(json.dumps({"n5": "2.0.0", **size}))
        else:
            file.write_text(json.dumps({**json.loads(file.read_text()), **size}))
        return root

    return write


class TestN5(ReaderContract):
    name = "n5"
    variants: ClassVar = {
        "gzip": Variant(n5(), NO_HALF),
        "a group": Variant(n5("raw", "volumes/raw"), ("u1", "f4"), options={"dataset": "volumes"}),
        "an array": Variant(n5("raw", "volumes/raw/s0"), ("u2",), options={"dataset": "volumes/raw/s0"}),
        "bzip2": Variant(n5("bzip2"), ("u2",)),
        "xz": Variant(n5("xz"), ("u2",)),
        "Blosc": Variant(n5("blosc", cname="lz4", clevel=5, shuffle=1), ("u2",)),
        "Zstandard": Variant(n5("zstd"), ("u2",)),
    }


def npy(order: str, byte_order: str = "=") -> Writer:
    def write(folder: Path, values: NDArray[Any]) -> Path:
        np.save(folder / "a.npy", np.asarray(values.astype(values.dtype.newbyteorder(byte_order)), order=order))
        return folder / "a.npy"

    return write


def npy_by_hand(folder: Path, values: NDArray[Any]) -> Path:
    """After the description of format 2.0."""
    header = f"{{'descr': '{values.dtype.str}', 'fortran_order': False, 'shape': {values.shape}, }}".ljust(115) + "\n"
    start = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header))
    (folder / "a.npy").write_bytes(start + header.encode() + values.tobytes())
    return folder / "a.npy"


class TestNumPy(ReaderContract):
    name = "npy"
    variants: ClassVar = {
        "C order": Variant(npy("C"), tells_size=False),
        "Fortran order": Variant(npy("F"), tells_size=False),
        "big-endian": Variant(npy("C", ">"), ("u2", "i8", "f4"), tells_size=False),
        "by hand": Variant(npy_by_hand, ("u1", "f8"), tells_size=False),
    }


def tiff(**options: Any) -> Writer:
    def write(folder: Path, values: NDArray[Any]) -> Path:
        tifffile.imwrite(folder / "a.tif", values, photometric="minisblack", **options)
        return folder / "a.tif"

    return write


def imagej(folder: Path, values: NDArray[Any]) -> Path:
    about = {"axes": "ZYX", "spacing": IN_UM[0], "unit": "um"}
    tifffile.imwrite(folder / "a.tif", values, imagej=True, resolution=(1 / IN_UM[2], 1 / IN_UM[1]), metadata=about)
    return folder / "a.tif"


OME = {"axes": "ZYX"} | {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", IN_UM, strict=True)}


def tiff_by_pillow(folder: Path, values: NDArray[Any]) -> Path:
    from PIL import Image

    pages = [Image.fromarray(page) for page in values]
    pages[0].save(folder / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    return folder / "a.tif"


class TestTIFF(ReaderContract):
    name = "tiff"
    variants: ClassVar = {
        "OME": Variant(tiff(ome=True, metadata=OME), ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")),
        "OME, tiles, LZW": Variant(tiff(ome=True, metadata=OME, tile=(16, 16), compression="lzw"), ("u1", "u2")),
        "ImageJ": Variant(imagej, ("u1", "u2", "f4")),
        "plain": Variant(tiff(metadata=None), tells_size=False),
        "big-endian": Variant(tiff(metadata=None, byteorder=">"), ("u2", "i4", "f8"), tells_size=False),
        "BigTIFF": Variant(tiff(metadata=None, bigtiff=True, rowsperstrip=3), ("u2",), tells_size=False),
        "zlib": Variant(tiff(metadata=None, compression="zlib", predictor=True), ("u1", "u2"), tells_size=False),
        "Pillow": Variant(tiff_by_pillow, ("u1", "u2"), tells_size=False),
    }


def images(ending: str, save: Callable[[Path, NDArray[Any]], Any]) -> Writer:
    def write(folder: Path, values: NDArray[Any]) -> Path:
        (folder / "slices").mkdir()
        for number, page in enumerate(values):
            save(folder / "slices" / f"em_{number + 8}{ending}", page)
        return folder / "slices"

    return write


def by_pillow(path: Path, page: NDArray[Any]) -> None:
    from PIL import Image

    Image.fromarray(page).save(path)


class TestImages(ReaderContract):
    name = "images"
    variants: ClassVar = {
        "PNG": Variant(images(".png", iio.imwrite), ("u1", "u2"), tells_size=False),
        "TIFF": Variant(images(".tif", tifffile.imwrite), NO_HALF, tells_size=False),
        "BMP": Variant(images(".bmp", by_pillow), ("u1",), tells_size=False),
        "PGM": Variant(images(".pgm", by_pillow), ("u1",), tells_size=False),
    }


class TestDM(ReaderContract):
    name = "dm"
    variants: ClassVar = {
        f"DM{version}": Variant(
            lambda folder, values, version=version: lab_formats.write_dm(
                folder / f"a.dm{version}", values, VOXEL_SIZE, version=version
            ),
            ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"),
        )
        for version in (3, 4)
    }


def nifti_by_nibabel(folder: Path, values: NDArray[Any]) -> Path:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(values.transpose(2, 1, 0), np.diag([*reversed(IN_UM), 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, folder / "a.nii.gz")
    return folder / "a.nii.gz"


class TestNIfTI(ReaderContract):
    name = "nifti"
    variants: ClassVar = {
        "by hand": Variant(
            lambda folder, values: lab_formats.write_nifti(folder / "a.nii", values, IN_UM),
            ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"),
        ),
        "big-endian": Variant(
            lambda folder, values: lab_formats.write_nifti(folder / "a.nii", values, IN_UM, order=">"), ("i2", "f4")
        ),
        "nibabel": Variant(nifti_by_nibabel, ("u1", "u2", "i2", "f4", "f8")),
    }


class TestImaris(ReaderContract):
    name = "imaris"
    variants: ClassVar = {
        "h5py": Variant(
            lambda folder, values: lab_formats.write_imaris(folder / "a.ims", values[None], IN_UM), ("u1", "u2", "f4")
        )
    }


class TestAmira(ReaderContract):
    name = "amira"
    variants: ClassVar = {
        "by hand": Variant(
            lambda folder, values: lab_formats.write_amira(folder / "a.am", values, VOXEL_SIZE),
            ("u1", "i2", "u2", "f4"),
        )
    }


class TestCZI(ReaderContract):
    name = "czi"
    variants: ClassVar = {
        "pylibCZIrw": Variant(
            lambda folder, values: lab_formats.write_czi(folder / "a.czi", values[None], VOXEL_SIZE), ("u1", "u2", "f4")
        )
    }


class TestLIF(ReaderContract):
    name = "lif"
    variants: ClassVar = {
        "by hand": Variant(
            lambda folder, values: lab_formats.write_lif(folder / "a.lif", values[None], VOXEL_SIZE), ("u1", "u2", "f4")
        )
    }


def precomputed(folder: Path, values: NDArray[Any]) -> Path:
    tensorstore = pytest.importorskip("tensorstore")
    where = {"driver": "file", "path": str(folder / "a.precomputed")}
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": where,
        "multiscale_metadata": {"type": "image", "data_type": values.dtype.name, "num_channels": 1},
        "scale_metadata": {
            "resolution": list(reversed(VOXEL_SIZE)),
            "encoding": "raw",
            "chunk_size": [5, 4, 2],
            "size": list(values.shape[::-1]),
        },
    }
    store = tensorstore.open(spec, create=True).result()
    store[..., 0].T.write(values).result()
    return folder / "a.precomputed"


class TestPrecomputed(ReaderContract):
    name = "precomputed"
    variants: ClassVar = {"tensorstore": Variant(precomputed, ("u1", "u2", "u4", "u8", "f4"))}


CONTRACTS = [one for one in list(globals().values()) if isinstance(one, type) and issubclass(one, ReaderContract)]


def test_every_row_has_a_contract() -> None:
    held = {contract.name for contract in CONTRACTS if contract is not ReaderContract}
    assert held == {row.name for row in input_formats(entry_points=False)}
