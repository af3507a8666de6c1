"""Slices that lie in pages of TIFF files, each decoded as its own page says."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._slices import LazySlices

from ._tiff_codecs import check_page
from ._tiff_directories import Directory, read_directories
from ._tiff_grey import grey_values, table_of
from ._tiff_window import read_window

# Of a stack in many files, so many stay open.
_OPEN_FILES = 8


@dataclass(frozen=True)
class TiffPlanes:
    """Where the planes of a stack lie.

    Parameters
    ----------
    files : tuple of Path
    places : ndarray
        ``(K, 3)`` of each slice: number of the file, offset or number of the page, which plane of it.
    how : {"pages", "series", "run"}
        See :class:`Picture`.
    number : int
        Of tifffile's series.
    keep_colours : bool
        Whether colour tables are only for show.
    """

    files: tuple[Path, ...]
    places: NDArray[np.int64]
    how: Literal["pages", "series", "run"] = "pages"
    number: int = 0
    keep_colours: bool = False


class _OpenFile:
    """One file, and of each layout of its pages the first page: those alike are read by it."""

    def __init__(self, path: Path, how: str, number: int) -> None:
        import tifffile

        self.path, self._how, self._number = path, how, number
        self.bytes = path.stat().st_size
        self.directories = {one.offset: one for one in read_directories(path)}
        self.file = tifffile.TiffFile(path, _multifile=False)
        self._keyframes: dict[Any, Any] = {}

    def page(self, place: int) -> tuple[Any, Directory]:
        """A page of tifffile, and what the page says of itself."""
        import tifffile

        if self._how == "series":
            page = self.file.series[self._number].levels[0].pages[place]
            if page is None:
                raise StackFileError("it lacks this page.")
            return page, self.directories[int(page.offset)]
        directory = self.directories.get(place)
        if directory is None:
            raise StackFileError("the file has changed since it was opened.")
        keyframe = self._keyframes.get(directory.layout)
        number = list(self.directories).index(place) if keyframe is None else 0
        self.file.filehandle.seek(place)
        if keyframe is None:
            page = self._keyframes[directory.layout] = tifffile.TiffPage(self.file, number)
        elif keyframe.offset == place:
            page = keyframe
        else:
            page = tifffile.TiffFrame(self.file, number, keyframe=keyframe)
        return page, directory

    def close(self) -> None:
        self.file.close()


class TiffSlices(LazySlices):
    """Slices in pages of TIFF files. Files stay open; one lock lets several threads read.

    Parameters
    ----------
    planes : TiffPlanes
        Where they are.
    shape : tuple of int
        Rows and columns.

    Raises
    ------
    StackError, StackFileError
        The first page cannot be read as grey values.
    """

    def __init__(self, planes: TiffPlanes, shape: tuple[int, int]) -> None:
        self._planes = planes
        self._lock = threading.Lock()
        self._open: OrderedDict[int, _OpenFile] = OrderedDict()
        self._tables: dict[Any, NDArray[Any] | None] = {}
        name = planes.files[int(planes.places[0, 0])].name
        page, directory, opened = self._page(0)
        check_page(page, name, opened.bytes)
        if page.keyframe.dtype is None:
            raise StackError(f"{name} holds {directory.described()}, which are not grey values that can be read.")
        table = self._table(directory, name)
        super().__init__((len(planes.places), *shape), page.keyframe.dtype if table is None else table.dtype)

    def __reduce__(self) -> Any:
        return TiffSlices, (self._planes, self._shape[1:])

    def close(self) -> None:
        """Close the files."""
        for opened in getattr(self, "_open", {}).values():
            opened.close()

    def __del__(self) -> None:
        self.close()

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        down, along = range(*rows.indices(self._shape[1])), range(*columns.indices(self._shape[2]))
        if not down or not along:
            return np.empty((len(down), len(along)), self._dtype)
        window = [range(min(part), max(part) + 1) for part in (down, along)]
        name = self._planes.files[int(self._planes.places[index, 0])].name
        try:
            part = self._read_part(index, *window)
        except KeyboardInterrupt:
            raise
        except StackError as error:
            raise StackFileError(f"Slice {index} of {name} cannot be read: {error}") from error
        except Exception as error:  # codecs raise errors of many kinds
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise StackFileError(f"Slice {index} of {name} cannot be read: {reason}") from error
        if down.step != 1 or along.step != 1:
            part = part[np.ix_(np.asarray(down) - window[0].start, np.asarray(along) - window[1].start)]
        return part

    def _read_part(self, index: int, rows: range, columns: range) -> NDArray[Any]:
        part = int(self._planes.places[index, 2])
        with self._lock:
            page, directory, opened = self._page(index)
            name = opened.path.name
            if self._planes.how == "run":
                values = self._of_run(page, part, rows, columns)
            else:
                check_page(page, name, opened.bytes)
                values = read_window(page, part, rows, columns, name)
            values = grey_values(values, directory, self._table(directory, name))
        if values.dtype != self._dtype:
            raise StackFileError(f"its values are {values.dtype}, but those of the first slice are {self._dtype}.")
        return values

    def _of_run(self, page: Any, number: int, rows: range, columns: range) -> NDArray[Any]:
        height, width = self._shape[1:]
        kind = np.dtype(page.parent.byteorder + page.dtype.char)
        offset = page.dataoffsets[0] + number * height * width * kind.itemsize
        mapped = page.parent.filehandle.memmap_array(kind, (height, width), offset=offset)
        return np.array(mapped[rows.start : rows.stop, columns.start : columns.stop], dtype=page.dtype)

    def _page(self, index: int) -> tuple[Any, Directory, _OpenFile]:
        number, place = (int(n) for n in self._planes.places[index, :2])
        opened = self._open.get(number)
        if opened is None:
            opened = self._open[number] = _OpenFile(self._planes.files[number], self._planes.how, self._planes.number)
            if len(self._open) > _OPEN_FILES:
                _, oldest = self._open.popitem(last=False)
                oldest.close()
        self._open.move_to_end(number)
        return *opened.page(place), opened

    def _table(self, directory: Directory, name: str) -> NDArray[Any] | None:
        key = directory.layout
        if key not in self._tables:
            self._tables[key] = table_of(directory, keep_colours=self._planes.keep_colours, name=name)
        return self._tables[key]
