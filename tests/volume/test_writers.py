"""Every format out, read with somebody else's reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import mrcfile
import ngff_zarr
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss.cli import main
from napari_emgauss.volume import ExportFormat, export, export_formats, register_writer
from napari_emgauss.volume.formats import _registry

from .writer_contract import KnownVolume, WriterContract, plan_of

Read = tuple[NDArray[Any], tuple[float, float, float]]


class TestOmeTiff(WriterContract):
    format = "ome-tiff"

    def read(self, path: Path) -> Read:
        with tifffile.TiffFile(path) as file:
            image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
            sizes = [float(image["Pixels"][f"PhysicalSize{axis}"]) for axis in "ZYX"]
            return _with_axes(file.series[0]), (sizes[0], sizes[1], sizes[2])


def _with_axes(series: Any) -> NDArray[Any]:
    """``(Z, Y, X)`` or ``(Z, C, Y, X)``: tifffile leaves axes of length 1 out."""
    values = series.asarray()
    return values if "C" in series.axes or values.ndim == 3 else values.reshape(5, *series.keyframe.shape)


class TestImagejTiff(WriterContract):
    format = "imagej-tiff"

    def read(self, path: Path) -> Read:
        with tifffile.TiffFile(path) as file:
            if not file.is_imagej:
                return TestOmeTiff().read(path)
            tags = file.pages.first.tags
            (x_top, x_bottom), (y_top, y_bottom) = tags["XResolution"].value, tags["YResolution"].value
            z_nm = float(file.imagej_metadata["spacing"])
            return _with_axes(file.series[0]), (z_nm, y_bottom / y_top, x_bottom / x_top)


class TestOmeZarr(WriterContract):
    format = "ome-zarr"
    version = "0.4"

    def read(self, path: Path) -> Read:
        image = ngff_zarr.from_ngff_zarr(str(path), validate=True, version=self.version).images[0]
        values = np.asarray(image.data)
        assert {image.axes_units[axis] for axis in "zyx"} == {"nanometer"}
        return values if values.ndim == 3 else np.moveaxis(values, 0, 1), tuple(image.scale[axis] for axis in "zyx")


class TestOmeZarr5(TestOmeZarr):
    format = "ome-zarr-0.5"
    version = "0.5"


class TestOmeZarr6(TestOmeZarr):
    format = "ome-zarr-0.6"
    version = "0.6"


class TestPrecomputed(WriterContract):
    format = "precomputed"

    def read(self, path: Path) -> Read:
        """The finest scale after the published layout: blocks are named by their range of x, y and z."""
        info = json.loads((path / "info").read_text())
        assert (info["@type"], info["type"]) == ("neuroglancer_multiscale_volume", "image")
        scale = info["scales"][0]
        shape, first = (*scale["size"], info["num_channels"]), scale["voxel_offset"]
        values = np.full(shape, 77, info["data_type"])
        names = [file.name for file in (path / scale["key"]).iterdir()]
        for name in names:
            x, y, z = (
                slice(*(int(n) - start for n in part.split("-")))
                for part, start in zip(name.split("_"), first, strict=True)
            )
            block = values[x, y, z]
            block[:] = self.unpacked(path / scale["key"] / name, block.shape, block.dtype)
        size = [-(-n // c) for n, c in zip(scale["size"], scale["chunk_sizes"][0], strict=True)]
        assert len(names) == np.prod(size)  # blocks of black alone are there, too
        x_nm, y_nm, z_nm = scale["resolution"]
        return (values[..., 0].T if shape[-1] == 1 else values.transpose(2, 3, 1, 0)), (z_nm, y_nm, x_nm)

    def unpacked(self, file: Path, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """x is the fastest axis, channels the slowest."""
        return np.fromfile(file, dtype.newbyteorder("<")).reshape(shape, order="F")


class TestPrecomputedPng(TestPrecomputed):
    format = "precomputed-png"

    def unpacked(self, file: Path, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Rows of y and z below each other; channels as colours."""
        x, y, z, channels = shape
        return imagecodecs.png_decode(file.read_bytes()).reshape(z, y, x, channels).transpose(2, 1, 0, 3)


class TestMrc(WriterContract):
    format = "mrc"

    def read(self, path: Path) -> Read:
        # The validator calculates in the precision of the file, in which the largest numbers overflow.
        assert mrcfile.read(path).dtype.kind == "f" or mrcfile.validate(path)
        with mrcfile.open(path) as file:
            size = file.voxel_size
            return np.array(file.data), (float(size.z) / 10, float(size.y) / 10, float(size.x) / 10)


def test_every_row_keeps_the_contract() -> None:
    tested = {kind.format for kind in _heirs(WriterContract)}
    assert tested == set(export_formats())


def _heirs(kind: type) -> Iterator[Any]:
    for heir in kind.__subclasses__():
        yield heir
        yield from _heirs(heir)


@pytest.fixture
def raw() -> Iterator[ExportFormat]:
    """A format of our own: a toy of ten lines."""

    def write_raw(plan: Any, planes: Iterator[NDArray[Any]], target: Path) -> None:
        with target.open("wb") as file:
            for plane in planes:
                file.write(plane.tobytes())

    row = ExportFormat("raw", "Raw bytes", (".raw",), write_raw, ("uint16",), has_channels=False)
    register_writer(row)
    yield row
    _registry.unregister_writer("raw")


def test_a_format_of_ones_own(tmp_path: Path, raw: ExportFormat, capsys: pytest.CaptureFixture[str]) -> None:
    model = KnownVolume("uint8")
    path = export(model, tmp_path / "a.raw", spacing_nm=5)
    np.testing.assert_array_equal(np.fromfile(path, np.uint16).reshape(5, 6, 7), model.values)
    with pytest.raises(ConfigError, match="Raw bytes cannot hold grey values of type int16, only uint16: write it as"):
        plan_of(KnownVolume("int16"), tmp_path / "b.raw")
    with pytest.raises(ConfigError, match="already a format 'raw'"):
        register_writer(raw)
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "raw (Raw bytes)" in text
    assert ".raw" in text


@pytest.mark.parametrize(
    ("endings", "dtypes", "message"),
    [((), ("uint8",), "must name a file ending"), (("raw",), ("uint8",), "is not the ending"), ((".r",), (), "types")],
)
def test_rows_that_cannot_work(endings: tuple[str, ...], dtypes: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        register_writer(ExportFormat("raw", "Raw", endings, "a:b", dtypes))
    assert "raw" not in export_formats()
