"""TIFF, OME-TIFF and ImageJ TIFF through tifffile, of each page what is asked for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._axes import choose_axes
from napari_emgauss.stack._slices import LazySlices
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize, nm_per_unit

from ._tiff_chain import check_chain
from ._tiff_window import read_window

# Deflate cannot shrink data by more than about 1030 to 1, other codecs hardly so; a page that claims more is broken.
_MAX_COMPRESSION = 2000


class TiffSlices(LazySlices):
    """Slices of a TIFF series. The file stays open; one lock lets several threads read.

    Parameters
    ----------
    path : Path
    series : int
        Which of the file's series.
    pages : ndarray
        ``(K,)`` which plane of the series is each slice.
    """

    def __init__(self, path: Path, series: int, pages: NDArray[np.integer[Any]]) -> None:
        import tifffile

        self._arguments = (path, series, pages)
        self._path, self._planes = path, [int(page) for page in pages]
        self._lock = threading.Lock()
        self._file = tifffile.TiffFile(path)
        self._series = self._file.series[series].levels[0]
        height, width = _plane_shape(self._series)
        super().__init__((len(self._planes), height, width), self._series.dtype)
        # ImageJ writes a whole stack behind one page; several planes a page also happens with volumetric TIFF.
        self._one_page_each = len(self._series.pages) * height * width == self._series.size
        self._mapped: NDArray[Any] | None = None

    def __reduce__(self) -> Any:
        return TiffSlices, self._arguments

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_file"):
            self._file.close()

    def __del__(self) -> None:
        self.close()

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        down, along = range(*rows.indices(self._shape[1])), range(*columns.indices(self._shape[2]))
        if not down or not along:
            return np.empty((len(down), len(along)), self._dtype)
        window = [range(min(part), max(part) + 1) for part in (down, along)]
        try:
            part = self._read_part(self._planes[index], *window)
        except (StackError, KeyboardInterrupt):
            raise
        except Exception as error:  # codecs raise errors of many kinds
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise StackFileError(f"Slice {index} of {self._path.name} cannot be read: {reason}") from error
        if down.step != 1 or along.step != 1:
            part = part[np.ix_(np.asarray(down) - window[0].start, np.asarray(along) - window[1].start)]
        return part.astype(self._dtype, copy=False)

    def _read_part(self, number: int, rows: range, columns: range) -> NDArray[Any]:
        height, width = self._shape[1:]
        part = np.s_[rows.start : rows.stop, columns.start : columns.stop]
        with self._lock:
            if self._one_page_each:
                page = self._series.pages[number]
                if page is None:
                    raise StackFileError(f"{self._path.name} is incomplete: it lacks page {number}.")
                _check_claimed_size(page, self._path)
                same_size = (page.keyframe.imagelength, page.keyframe.imagewidth) == (height, width)
                window = read_window(page, rows, columns) if same_size else None
                if window is not None:
                    return window
                return np.asarray(page.asarray(maxworkers=1)).reshape(height, width)[part]
            if self._mapped is None:
                offset = self._series.dataoffset
                if offset is not None:
                    kind = np.dtype(self._file.byteorder + self._series.dtype.char)
                    self._mapped = np.memmap(
                        self._path, kind, "r", offset, (int(self._series.size) // (height * width), height, width)
                    )
                else:  # compressed volumes: several planes in one page
                    self._mapped = np.asarray(self._series.asarray(maxworkers=1)).reshape(-1, height, width)
            return np.asarray(self._mapped[number][part])


def open_tiff(path: Path, selection: Selection) -> OpenedFile:
    """Open a TIFF file as a stack without reading its slices.

    Raises
    ------
    StackFileError
        Not a TIFF file, or a truncated one.
    StackError
        Not a stack.
    """
    import tifffile

    told: list[str] = []
    try:
        check_chain(path)
        with _listening(told), tifffile.TiffFile(path) as file:
            number, series = _choose_series(file, selection)
            choice = choose_axes(series.axes, series.shape, selection.channel, selection.time)
            kind, voxel_size = tiff_voxel_size(file, number)
            if len(series.pages) == 0 or series.pages[0] is None:
                raise StackFileError(f"{path.name} is incomplete: it holds no image.")
            _check_claimed_size(series.pages[0], path)
            missing = sum(page is None for page in series.pages)
            if missing:
                raise StackFileError(
                    f"{path.name} is incomplete: {missing} of {len(series.pages)} pages are missing "
                    "(a truncated copy, or the other files of a multi-file OME-TIFF are not beside it)."
                )
            slices = TiffSlices(path, number, choice.pages)
    except StackError as error:
        if told and not isinstance(error, StackFileError):
            # "A single image" is what a stack looks like whose later pages are cut off.
            raise StackFileError(
                f"{path.name} is damaged or truncated: {len(told)} of its parts are broken."
            ) from error
        raise
    except KeyboardInterrupt:
        raise
    except Exception as error:  # a broken file can fail anywhere in the parser
        raise _unreadable(path) from error
    notes = (choice.note,) if choice.note else ()
    return OpenedFile(slices, voxel_size, kind, notes, channels=choice.channels)


@contextmanager
def _listening(told: list[str]) -> Iterator[None]:
    """Collect what tifffile only logs of a broken file: it goes on with the pages it can find."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    collector, log = Collector(logging.WARNING), logging.getLogger("tifffile")
    log.addHandler(collector)
    try:
        yield
    finally:
        log.removeHandler(collector)


def read_tiff_voxel_size(path: Path, selection: Selection) -> VoxelSize:
    """What a TIFF file says of its voxel size; reads the header only."""
    import tifffile

    try:
        check_chain(path)
        with tifffile.TiffFile(path) as file:
            number, _ = _choose_series(file, selection)
            return tiff_voxel_size(file, number)[1]
    except (StackError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> StackFileError:
    return StackFileError(f"{path.name} cannot be read as a TIFF file: it is damaged, or of another format.")


def _choose_series(file: Any, selection: Selection) -> tuple[int, Any]:
    count = len(file.series)
    if count == 0:
        raise StackFileError(f"{file.filename} holds no image.")
    if selection.dataset is not None:
        try:
            number = int(selection.dataset)
        except ValueError:
            raise StackError(f"The images of a TIFF file are chosen by number, not {selection.dataset!r}.") from None
        if not 0 <= number < count:
            raise StackError(f"There is no image {number} in this TIFF file: it holds {count}.")
    else:
        # Microscopes put overviews and labels beside the stack: the largest is meant.
        number = max(range(count), key=lambda k: int(file.series[k].size))
    return number, file.series[number].levels[0]


def _plane_shape(series: Any) -> tuple[int, int]:
    axes = series.axes.upper()
    return int(series.shape[axes.index("Y")]), int(series.shape[axes.index("X")])


def _check_claimed_size(page: Any, path: Path) -> None:
    claimed, actual = int(page.nbytes), max(path.stat().st_size, 1)
    compressed = int(getattr(page, "compression", 1)) != 1
    if claimed > actual * (_MAX_COMPRESSION if compressed else 1) and claimed > 1 << 16:
        raise StackFileError(
            f"{path.name} is damaged or truncated: "
            f"it claims {claimed / 1e6:.0f} MB a page, but the file has {actual / 1e6:.2g} MB."
        )


def tiff_voxel_size(file: Any, series: int = 0) -> tuple[str, VoxelSize]:
    """Kind of TIFF, and what its metadata say of the voxel size.

    OME: PhysicalSize with its unit, micrometre where none is given (OME schema). ImageJ: ``spacing`` and ``unit`` of
    the description, pixels per unit of the resolution tags. LSM: metres. A plain TIFF's resolution is meant for
    printers and is not believed.
    """
    if file.is_ome and file.ome_metadata:
        return "OME-TIFF", _ome_voxel_size(file.ome_metadata, series)
    if file.is_imagej:
        return "ImageJ TIFF", _imagej_voxel_size(file)
    if file.is_lsm and file.lsm_metadata:
        metres = [file.lsm_metadata.get(f"VoxelSize{axis}") for axis in "ZYX"]
        sizes = [None if size is None else float(size) * 1e9 for size in metres]
        return "LSM", VoxelSize(sizes[0], sizes[1], sizes[2], source="LSM metadata")
    return "TIFF", VoxelSize()


def _ome_voxel_size(xml: str, series: int) -> VoxelSize:
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return VoxelSize()
    found = [element for element in root.iter() if element.tag.rsplit("}", 1)[-1] == "Pixels"]
    if not found:
        return VoxelSize()
    pixels = found[min(series, len(found) - 1)]
    sizes: list[float | None] = []
    for axis in "ZYX":
        value, factor = pixels.get(f"PhysicalSize{axis}"), nm_per_unit(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        try:
            sizes.append(None if value is None or factor is None else float(value) * factor)
        except ValueError:
            sizes.append(None)
    return VoxelSize(sizes[0], sizes[1], sizes[2], source="OME metadata" if any(sizes) else "unknown")


def _imagej_voxel_size(file: Any) -> VoxelSize:
    metadata = file.imagej_metadata or {}
    factor = nm_per_unit(str(metadata.get("unit", "")))
    if factor is None:
        return VoxelSize()
    tags = file.pages[0].tags
    sizes: list[float | None] = []
    # Without a spacing ImageJ shows 1.0, which may mean "never set": unknown is not 1.
    spacing = metadata.get("spacing")
    sizes.append(float(spacing) * factor if isinstance(spacing, (int, float)) else None)
    for name in ("YResolution", "XResolution"):
        numerator, denominator = tags[name].value if name in tags else (0, 1)
        sizes.append(factor * denominator / numerator if numerator and denominator else None)
    return VoxelSize(sizes[0], sizes[1], sizes[2], source="ImageJ metadata" if any(sizes) else "unknown")
