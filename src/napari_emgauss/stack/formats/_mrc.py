"""MRC volumes, memory-mapped, read by what their header says of its bytes.

After MRC2014 (Cheng et al., J. Struct. Biol. 192, 2015) and IMOD's description of its own files. Rows come in the order
of the file: IMOD and UCSF Chimera draw the first one at the bottom, microscopes' software and image viewers at the top,
and the format leaves open which is meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack._array_slices import ArraySlices
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize

_ANGSTROM_PER_NM = 10.0
# IMOD marks its files with this number at byte 152; bits of the next word say what is special about the bytes.
_IMOD_STAMP = 1146047817
_IMOD_SIGNED, _IMOD_NIBBLES = 1, 16
# Modes of grey values.
_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_FOUR_BITS = "4-bit values, two in a byte: convert them to bytes first, in IMOD with 'newstack -mode 0 IN OUT'"
_REFUSED = {
    3: "complex 16-bit numbers, a Fourier transform: only images are read",
    4: "complex floating-point numbers, a Fourier transform: only images are read",
    16: "colours (three bytes per pixel): convert them to grey values first",
    101: _FOUR_BITS,
}
# Space groups of stacks of volumes: 401 and up.
_VOLUME_STACKS = range(401, 631)
# Of the middle slice so much is looked at where the header leaves open what bytes mean.
_SAMPLE_PIXELS = 512


@dataclass(frozen=True)
class _Header:
    """What the first 1024 bytes say.

    Parameters
    ----------
    values : numpy.void
        The fields, in the file's byte order.
    order : str
        ``"<"`` or ``">"``.
    stamp, flags : int
        IMOD's mark and its bits.
    """

    values: Any
    order: str
    stamp: int
    flags: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sections, rows and columns as they follow each other in the file."""
        return int(self.values["nz"]), int(self.values["ny"]), int(self.values["nx"])

    @property
    def mode(self) -> int:
        """Kind of values."""
        return int(self.values["mode"])

    @property
    def data_offset(self) -> int:
        """Where the values start: after the header and its extension."""
        return int(self.values.nbytes) + int(self.values["nsymbt"])

    @property
    def claimed_bytes(self) -> int:
        """How long the file has to be; 0 where the mode does not say."""
        if self.mode not in _DTYPES:
            return 0
        return self.data_offset + prod(self.shape) * np.dtype(_DTYPES[self.mode]).itemsize

    @property
    def axes(self) -> str:
        """Which axes sections, rows and columns run along: ``"ZYX"`` in nearly every file."""
        which = [int(self.values[name]) for name in ("maps", "mapr", "mapc")]
        return "".join("XYZ"[one - 1] for one in which) if sorted(which) == [1, 2, 3] else "ZYX"

    @property
    def slices_a_volume(self) -> int:
        """Sections of each volume in a stack of volumes; all of them in any other file."""
        count, each = self.shape[0], int(self.values["mz"])
        stacked = int(self.values["ispg"]) in _VOLUME_STACKS and 0 < each < count
        return each if stacked else count


def open_mrc(path: Path, selection: Selection) -> OpenedFile:
    """Open an MRC volume, an image stack, or one volume of a stack of volumes (``dataset``: its number).

    Raises
    ------
    StackFileError
        Not an MRC file, a truncated one, or values that are no grey values.
    StackError
        A stack of volumes of which none is chosen.
    """
    header = _read_header(path)
    _check(header, path)
    dtype, note = _value_type(header, path)
    volume = _chosen_volume(header, selection.dataset, path.name)
    # The axes of the file are turned here, so that everything after sees depth, rows, columns.
    slices = ArraySlices(_map, (path, dtype.str, volume), selection, header.axes, path.name)
    sizes = []
    for axis, intervals in (("z", "mz"), ("y", "my"), ("x", "mx")):
        cells = int(header.values[intervals])
        sizes.append(float(header.values["cella"][axis]) / cells / _ANGSTROM_PER_NM if cells > 0 else None)
    # mz is 1 in image stacks: the cell then is one slice thick.
    voxel_size = VoxelSize(sizes[0], sizes[1], sizes[2], source="MRC header")
    known = any((voxel_size.z_nm, voxel_size.y_nm, voxel_size.x_nm))
    return OpenedFile(slices, voxel_size if known else VoxelSize(), "MRC", (note,) if note else ())


def _read_header(path: Path) -> _Header:
    """The header in the byte order that its machine stamp names, or else in the one in which it makes sense.

    Not through ``mrcfile.open``, which also reads the extended header, of whatever size a damaged file claims.
    """
    from mrcfile.dtypes import HEADER_DTYPE

    try:
        with path.open("rb") as file:
            data = file.read(HEADER_DTYPE.itemsize)
    except OSError as error:
        raise StackFileError(f"{path} cannot be opened: {error.strerror}.") from error
    headers = []
    if len(data) == HEADER_DTYPE.itemsize:
        for order in (">", "<") if data[212:214] == b"\x11\x11" else ("<", ">"):
            stamp, flags = (int(number) for number in np.frombuffer(data, f"{order}i4", 2, 152))
            values = np.frombuffer(data, HEADER_DTYPE.newbyteorder(order))[0]
            header = _Header(values, order, stamp, flags)
            if _makes_sense(header):
                headers.append(header)
    if not headers:
        raise StackFileError(f"{path.name} cannot be read as an MRC file: it is damaged or in another format.")
    size = path.stat().st_size
    # A stamp can be wrong; a header that fits the file's length in the other order only is of that order.
    return next((header for header in headers if 0 < header.claimed_bytes <= size), headers[0])


def _makes_sense(header: _Header) -> bool:
    """Whether the numbers can be those of a header; those of the wrong byte order hardly ever can."""
    values = header.values
    mapped = all(0 <= int(values[name]) <= 3 for name in ("mapc", "mapr", "maps"))
    return min(header.shape) > 0 and int(values["nsymbt"]) >= 0 and 0 <= header.mode < 256 and mapped


def _check(header: _Header, path: Path) -> None:
    """Refuse values that are no grey values, and a file that ends early."""
    mode = header.mode
    if mode not in _DTYPES:
        what = _REFUSED.get(mode, "values of a kind that the format does not know: it is damaged or in another format")
        raise StackFileError(f"{path.name} (MRC mode {mode}) holds {what}.")
    if mode == 0 and header.stamp == _IMOD_STAMP and header.flags & _IMOD_NIBBLES:
        raise StackFileError(f"{path.name} (MRC mode 0, packed by IMOD) holds {_FOUR_BITS}.")
    wanted, actual = header.claimed_bytes, path.stat().st_size
    if wanted > actual:
        raise StackFileError(
            f"{path.name} is truncated: its header claims {wanted / 1e6:,.3f} MB, the file has {actual / 1e6:,.3f} MB."
        )


def _chosen_volume(header: _Header, dataset: str | int | None, name: str) -> int | None:
    """Number of the volume to read; None where the file is no stack of volumes."""
    count, each = header.shape[0], header.slices_a_volume
    if each == count:
        if dataset not in (None, 0, "0", ""):
            raise StackError(f"{name} holds only one volume: there is no {dataset!r} to choose.")
        return None
    if count % each:
        raise StackFileError(f"{name} is damaged: a stack of volumes of {each} slices cannot have {count} slices.")
    volumes = count // each
    if dataset is None:
        raise StackError(
            f"{name} holds {volumes} volumes (0 to {volumes - 1})", remedy=remedy("choose dataset", example=0)
        )
    if not str(dataset).isdecimal() or int(dataset) >= volumes:
        raise StackError(f"There is no volume {dataset} in {name}: it holds {volumes}, counted from 0.")
    return int(dataset)


def _value_type(header: _Header, path: Path) -> tuple[np.dtype[Any], str]:
    """Type of the values in the file's byte order, and a note where it had to be guessed.

    Bytes are signed by MRC2014 and were unsigned in most programs before it. IMOD marks what it writes; else the
    statistics in the header tell, where they are of this file; and else the picture: read the wrong way, what lies
    around the middle of the range jumps to the other end of it.
    """
    if header.mode != 0:
        return np.dtype(_DTYPES[header.mode]).newbyteorder(header.order), ""  # type: ignore[arg-type]
    signed, unsigned = np.dtype(np.int8), np.dtype(np.uint8)
    if header.stamp == _IMOD_STAMP:
        return (signed if header.flags & _IMOD_SIGNED else unsigned), ""
    low, high, mean = (float(header.values[name]) for name in ("dmin", "dmax", "dmean"))
    if low < high and low <= mean <= high:  # the standard writes them the other way round where they are unknown
        if -128 <= low < 0 and high <= 127:
            return signed, ""
        if low >= 0 and 127 < high <= 255:
            return unsigned, ""
    sample = _middle_of(header, path)
    if not (sample < 0).any():
        return signed, ""
    # Sums of steps between neighbours, of both readings.
    steps = [
        sum(float(np.abs(np.diff(view.astype(np.int16), axis=axis)).sum()) for axis in (0, 1))
        for view in (sample, sample.view(np.uint8))
    ]
    chosen = signed if steps[0] <= steps[1] else unsigned
    name = "signed" if chosen == signed else "unsigned"
    return chosen, f"the header leaves open whether bytes are signed; they are read as {name}, which looks smoother"


def _middle_of(header: _Header, path: Path) -> NDArray[np.int8]:
    """The middle of the middle section, as signed bytes."""
    _, rows, columns = shape = header.shape
    section: NDArray[np.int8] = np.memmap(path, np.int8, "r", header.data_offset, shape)[shape[0] // 2]
    top, left = max(0, (rows - _SAMPLE_PIXELS) // 2), max(0, (columns - _SAMPLE_PIXELS) // 2)
    return np.array(section[top : top + _SAMPLE_PIXELS, left : left + _SAMPLE_PIXELS])


def _map(path: Path, dtype: str, volume: int | None) -> NDArray[Any]:
    """All sections of the file, or those of one volume, as they lie there."""
    header = _read_header(path)
    _check(header, path)
    values: NDArray[Any] = np.memmap(path, np.dtype(dtype), "r", header.data_offset, header.shape)
    each = header.slices_a_volume
    return values if volume is None else values[volume * each : (volume + 1) * each]
