"""The formats that stacks are read from: one row each, from which everything that lists formats derives.

Reading, the window's file dialog, the command line's help, ``emgauss doctor`` and the table in the documentation all
ask this list. A new format is a module with an opener and a row here; other packages add theirs by
:func:`register_reader`, or by an entry point of the group ``napari_emgauss.readers``.

Kept light: the command line's help asks for it, so nothing here imports NumPy or a file library.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from napari_emgauss._entry_points import EntryPointGroup, imported
from napari_emgauss._errors import ConfigError, StackFileError
from napari_emgauss.stack._address import address_of

if TYPE_CHECKING:
    from napari_emgauss.stack._address import Address
    from napari_emgauss.stack._source import OpenedFile, Selection
    from napari_emgauss.stack._voxel_size import VoxelSize

    Opener = Callable[[Path, Selection], OpenedFile]
    RemoteOpener = Callable[[Address, Selection], OpenedFile]
    SizeReader = Callable[[Path, Selection], VoxelSize]

_HERE = "napari_emgauss.stack.formats"


@dataclass(frozen=True)
class InputFormat:
    """A format that stacks are read from: its row in the registry.

    Parameters
    ----------
    name : str
        Short and unique, such as ``"mrc"``.
    label : str
        For people: ``"MRC"``.
    opener : str or callable
        ``(path, selection) -> OpenedFile``, or where to import it from when needed: ``"package.module:function"``.
    endings : tuple of str
        Of file names, lower case with their dot; the longest that fits decides. Empty for formats told by their folder.
    kind : {"file", "folder"}
        Whether a stack of this format is one file or a folder.
    marks : tuple of str
        Names of files that tell a folder to be of this format, whatever its own name.
    needs : tuple of str
        Packages to import, beyond those that every installation has.
    install : str
        What ``pip install`` brings them.
    otherwise : str
        What else can be done when they are missing: the end of a sentence.
    dataset : str
        What ``--dataset`` chooses; empty where a file holds one stack only.
    voxel_size : str
        Where the voxel size is from, for the documentation.
    reads, refuses, checked_with : str
        What is read and what is refused, and which programs wrote the files that the tests compare with.
    remote_opener : str or callable, optional
        ``(address, selection) -> OpenedFile`` where it can be read from a server; ``marks`` tell it there, too.
    size_reader : str or callable, optional
        ``(path, selection) -> VoxelSize`` where that can be told without opening the slices.
    """

    name: str
    label: str
    opener: str | Opener
    endings: tuple[str, ...] = ()
    kind: Literal["file", "folder"] = "file"
    marks: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    install: str = ""
    otherwise: str = ""
    dataset: str = ""
    voxel_size: str = ""
    reads: str = ""
    refuses: str = ""
    checked_with: str = ""
    remote_opener: str | RemoteOpener | None = None
    size_reader: str | SizeReader | None = None

    def missing(self) -> tuple[str, ...]:
        """Packages that it needs and that are not installed; looked for, not imported."""
        return tuple(package for package in self.needs if importlib.util.find_spec(package) is None)

    def open(self, path: Path, selection: Selection) -> OpenedFile:
        """Open a stack, without checks.

        Raises
        ------
        StackFileError
            A package is missing, or the file cannot be read.
        StackError
            It holds no stack, or several and none is chosen.
        """
        address = address_of(path)
        if address is not None:
            return self._open_remote(address, selection)
        self.check_installed(path)
        opener = cast("Opener", imported(self.opener)) if isinstance(self.opener, str) else self.opener
        return opener(path, selection)

    def _open_remote(self, address: Address, selection: Selection) -> OpenedFile:
        check_servers_can_be_read(address)
        place = self.remote_opener
        if place is None:
            raise _not_from_a_server(address)
        opener = cast("RemoteOpener", imported(place)) if isinstance(place, str) else place
        return opener(address, selection)

    def read_size(self, path: Path, selection: Selection) -> VoxelSize:
        """The voxel size as far as the file says, from its header alone where the format allows that."""
        if self.size_reader is None:
            return self.open(path, selection).voxel_size
        self.check_installed(path)
        place = self.size_reader
        reader = cast("SizeReader", imported(place)) if isinstance(place, str) else place
        return reader(path, selection)

    def check_installed(self, path: Path) -> None:
        """Refuse, with the command that helps, where a package is missing.

        Raises
        ------
        StackFileError
        """
        missing = self.missing()
        if missing:
            raise StackFileError(
                f"Reading {path.name} ({self.label}) needs {' and '.join(missing)}: {self.install_command}"
                f"{f', or {self.otherwise}' if self.otherwise else ''}."
            )

    @property
    def install_command(self) -> str:
        """The command that installs what it needs; empty where nothing is needed."""
        what = self.install or " ".join(self.needs)
        quoted = f"'{what}'" if "[" in what else what
        return f"pip install {quoted}" if what else ""


_ROWS = (
    InputFormat(
        name="tiff",
        label="TIFF, OME-TIFF, ImageJ TIFF, LSM",
        opener=f"{_HERE}._tiff:open_tiff",
        size_reader=f"{_HERE}._tiff:read_tiff_voxel_size",
        endings=(".tif", ".tiff", ".btf", ".lsm"),
        dataset="number of the image, counted from 0",
        voxel_size="OME, ImageJ or LSM metadata; a plain TIFF's resolution is meant for printers and not believed",
        reads="grey values of 2 to 64 bit, one page or plane a slice, each page as it says itself; "
        "samples as channels; BigTIFF; LZW, Deflate, Zstandard, LZMA, PackBits, JPEG, JPEG 2000, JPEG XL, PNG",
        refuses="colours, yes/no masks, pages of several sizes or types, files that are cut off",
        checked_with="tifffile, Pillow",
    ),
    InputFormat(
        name="mrc",
        label="MRC",
        opener=f"{_HERE}._mrc:open_mrc",
        endings=(".mrc", ".rec", ".st", ".map"),
        needs=("mrcfile",),
        dataset="number of the volume in a stack of volumes, counted from 0",
        voxel_size="the header, in Å",
        reads=(
            "modes 0, 1, 2, 6 and 12 in either byte order; bytes signed or not as IMOD's mark, else the header's "
            "statistics say; axes in any order (mapc, mapr, maps); extended headers; volumes, image stacks, "
            "stacks of volumes"
        ),
        refuses="complex values (modes 3, 4), colours (16), 4-bit values (101), files that end early",
        checked_with="mrcfile, and headers written field by field after the specification",
    ),
    InputFormat(
        name="hdf5",
        label="HDF5",
        opener=f"{_HERE}._hdf5:open_hdf5",
        endings=(".h5", ".hdf5", ".hdf"),
        needs=("h5py",),
        install="napari-emgauss[formats]",
        dataset="path of an array or group within the file",
        voxel_size=(
            "an attribute `element_size_um`, `voxel_size`, `resolution` or `pixel_size` of the array or a group "
            "above, in the order z, y, x; axis tags; BigDataViewer's XML"
        ),
        reads=(
            "whole and floating-point numbers in either byte order, plain or in blocks packed by gzip, LZF, "
            "Blosc, bitshuffle, LZ4, Zstandard and others; axes as vigra and ilastik tag them; BigDataViewer; "
            "soft, external and virtual data within the file's folder"
        ),
        refuses=(
            "what leads out of the file's folder, blocks that decode to more than they declare, files that end early"
        ),
        checked_with="h5py, hdf5plugin",
    ),
    InputFormat(
        name="zarr",
        label="Zarr, OME-Zarr",
        opener=f"{_HERE}._zarr:open_zarr",
        remote_opener=f"{_HERE}._remote_zarr:open_remote_zarr",
        endings=(".zarr",),
        kind="folder",
        marks=("zarr.json", ".zgroup", ".zarray", ".zattrs"),
        needs=("zarr",),
        dataset="path of an array or group within the container, or level of an OME-Zarr",
        voxel_size=(
            "scales and units of an OME-Zarr, of the level and of the image; else the attributes that HDF5 has, "
            "of the array or a group above"
        ),
        reads=(
            "Zarr 2 and 3 in either byte order and memory order, shards, NGFF 0.3 to 0.6; gzip, zlib, bzip2, "
            "LZMA, Blosc, LZ4, Zstandard; a container, a group or an array within one"
        ),
        refuses=(
            "what leads out of the container, blocks that decode to more than they declare, codecs that run code "
            "(pickle)"
        ),
        checked_with="zarr, numcodecs, tensorstore",
    ),
    InputFormat(
        name="n5",
        label="N5",
        opener=f"{_HERE}._n5:open_n5",
        remote_opener=f"{_HERE}._remote_n5:open_remote_n5",
        endings=(".n5",),
        kind="folder",
        marks=("attributes.json",),
        needs=("tensorstore",),
        install="napari-emgauss[n5]",
        otherwise="convert it to Zarr or TIFF",
        dataset="path of an array or group within the container",
        voxel_size=(
            "`pixelResolution`, `resolution`, `transform` or `multiscales` of the array or a group above, times "
            "`downsamplingFactors`; BigDataViewer's XML"
        ),
        reads="raw, gzip, bzip2, xz, blosc and Zstandard blocks",
        refuses="what leads out of the container, blocks that decode to more than they declare",
        checked_with="tensorstore, and blocks written after the specification",
    ),
    InputFormat(
        name="dm",
        label="DigitalMicrograph DM3, DM4",
        opener=f"{_HERE}._dm:open_dm",
        endings=(".dm3", ".dm4"),
        needs=("ncempy",),
        install="napari-emgauss[formats]",
        otherwise="save it as TIFF with DigitalMicrograph or Fiji",
        dataset="number of the image, counted from 1 as in the file; its thumbnail counts",
        voxel_size="calibration of its axes, where their unit is a length",
        reads="whole and floating-point numbers, as a memory map of any size",
        refuses="complex values, colours, files of old Macintosh computers (big-endian)",
        checked_with="bytes written after the published layout of the tags; ncempy reads them",
    ),
    InputFormat(
        name="nifti",
        label="NIfTI",
        opener=f"{_HERE}._nifti:open_nifti",
        endings=(".nii", ".nii.gz"),
        needs=("nibabel",),
        install="napari-emgauss[formats]",
        voxel_size="`pixdim` in the unit of `xyzt_units`",
        reads="NIfTI-1 and 2 in either byte order, scaled by `scl_slope` and `scl_inter`; axes as stored, not turned",
        refuses="colours, complex values",
        checked_with="bytes written after the NIfTI-1 header, and nibabel",
    ),
    InputFormat(
        name="amira",
        label="AmiraMesh",
        opener=f"{_HERE}._amira:open_amira",
        endings=(".am",),
        dataset="name of the field, such as Data or Labels",
        voxel_size="bounding box and the unit of its coordinates",
        reads="lattices as bytes in either order (a memory map), as text, HxZip, and bytes as HxByteRLE",
        refuses="surfaces, several values for each voxel, stacked and curved coordinates' voxel sizes",
        checked_with="bytes written after the published layout",
    ),
    InputFormat(
        name="imaris",
        label="Imaris",
        opener=f"{_HERE}._imaris:open_imaris",
        endings=(".ims",),
        needs=("h5py",),
        install="napari-emgauss[formats]",
        voxel_size="corners of the volume (`ExtMin`, `ExtMax`), in µm unless the file says another unit",
        reads="the finest resolution level, channels and times, without the padding of its blocks",
        refuses="files without a volume",
        checked_with="h5py, after Imaris' published layout",
    ),
    InputFormat(
        name="czi",
        label="Zeiss CZI",
        opener=f"{_HERE}._czi:open_czi",
        endings=(".czi",),
        needs=("czifile",),
        install="napari-emgauss[formats]",
        otherwise="save it as OME-TIFF with ZEN or Fiji",
        voxel_size="`Scaling` in the metadata",
        reads="channels and times at full resolution; tiles of a plane are put together",
        refuses="colours, several scenes, views or phases",
        checked_with="pylibCZIrw",
    ),
    InputFormat(
        name="lif",
        label="Leica LIF",
        opener=f"{_HERE}._lif:open_lif",
        endings=(".lif",),
        needs=("liffile",),
        install="napari-emgauss[formats]",
        otherwise="save it as OME-TIFF with LAS X or Fiji",
        dataset="name of the image, or its number, counted from 0",
        voxel_size="lengths of its dimensions",
        reads="channels and times, plane by plane",
        refuses="colours, tiles of a mosaic, lifetimes",
        checked_with="bytes written after the layout that liffile describes",
    ),
    InputFormat(
        name="precomputed",
        label="Neuroglancer precomputed",
        opener=f"{_HERE}._precomputed:open_precomputed",
        remote_opener=f"{_HERE}._precomputed:open_precomputed",
        endings=(".precomputed",),
        kind="folder",
        marks=("info",),
        needs=("tensorstore",),
        install="napari-emgauss[remote]",
        dataset="key of the scale, such as 8_8_40, or its number",
        voxel_size="`resolution` of the scale, in nm",
        reads="raw, gzip, JPEG, PNG and segmentation blocks, sharded or not",
        refuses="meshes, skeletons, graphs",
        checked_with="blocks written after the published layout, and cloud-volume's description of it",
    ),
    InputFormat(
        name="npy",
        label="NumPy",
        opener=f"{_HERE}._npy:open_npy",
        endings=(".npy",),
        voxel_size="nothing: give it",
        reads="arrays of three to five axes in either byte order, C and Fortran order, memory-mapped",
        refuses="Python objects, which are never loaded, and archives of arrays",
        checked_with="NumPy, and bytes written after its description",
    ),
    # Last: any folder that is of no other format.
    InputFormat(
        name="images",
        label="a folder of images, one a slice",
        opener=f"{_HERE}._folder:open_image_series",
        kind="folder",
        voxel_size="the first image's metadata, if it has any",
        reads="TIFF, PNG, JPEG, BMP and PGM, in a folder or by a pattern such as `slices/em_*.png`",
        refuses="colour images, images of different sizes",
        checked_with="imageio, tifffile",
    ),
)
_FORMATS: dict[str, InputFormat] = {row.name: row for row in _ROWS}
_FALLBACK = "images"
_entry_points = EntryPointGroup("napari_emgauss.readers", "reader")


def input_formats(*, entry_points: bool = True) -> tuple[InputFormat, ...]:
    """All formats that stacks are read from.

    Parameters
    ----------
    entry_points : bool
        Look for those of other packages, too, which takes a fifth of a second the first time.
    """
    if entry_points:
        _entry_points.load()
    return tuple(_FORMATS.values())


def register_reader(row: InputFormat, *, replace: bool = False) -> None:
    """Add a format that stacks are read from.

    Its files are then read by `read_stack`, the command line and the window alike. Packages that want to be found
    without being imported name a callable without parameters that calls this, as an entry point of the group
    ``napari_emgauss.readers``.

    Parameters
    ----------
    row : InputFormat
        The new format.
    replace : bool
        Take the place of the format of this name, and the endings of others.

    Raises
    ------
    ConfigError
        Its name or one of its endings is taken, or an ending cannot be one.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_emgauss.stack import InputFormat, OpenedFile, VoxelSize, register_reader
    >>> def open_text(path, selection):
    ...     values = np.loadtxt(path).reshape(-1, 64, 64)
    ...     return OpenedFile(values, VoxelSize(40, 4, 4, source="this format"), "text")
    >>> register_reader(InputFormat("text", "Text", open_text, endings=(".em-text",)))
    """
    for ending in row.endings:
        if not ending.startswith(".") or ending != ending.lower() or len(ending) < 2:
            raise ConfigError(f"'{ending}' is no ending of a file name: write it in lower case and with its dot.")
    if not replace:
        if row.name in _FORMATS:
            raise ConfigError(f"There is a format '{row.name}' already: choose another name, or replace=True.")
        for other in _FORMATS.values():
            taken = sorted(set(other.endings) & set(row.endings))
            if taken:
                raise ConfigError(f"{', '.join(taken)} is read as {other.label} already: pass replace=True to take it.")
    # The newest is asked first; the folder of images, which takes any folder, stays last.
    others = {name: other for name, other in _FORMATS.items() if name != row.name}
    _FORMATS.clear()
    _FORMATS.update({row.name: row} | others)


def unregister_reader(name: str) -> None:
    """Take a format out again that `register_reader` added; one that is not there is none to take out."""
    _FORMATS.pop(name, None)
    for row in _ROWS:
        if row.name == name:
            _FORMATS[name] = row


def check_servers_can_be_read(address: Address) -> None:
    """Refuse an address where the package that reads from servers is missing.

    Raises
    ------
    StackFileError
    """
    if importlib.util.find_spec("tensorstore") is None:
        raise StackFileError(
            f"Reading {address} from its server needs tensorstore: pip install 'napari-emgauss[remote]'."
        )


def _not_from_a_server(address: Address) -> StackFileError:
    labels = [row.label for row in input_formats() if row.remote_opener is not None]
    return StackFileError(
        f"{address} is read from a disk only: download it first (read from servers are {', '.join(labels)})."
    )


def _format_at(address: Address) -> InputFormat:
    """The format at an address: by what stands in front of it, its ending, or the files that lie there."""
    check_servers_can_be_read(address)
    rows = [row for row in input_formats() if row.remote_opener is not None]
    named = next((row for row in rows if row.name == address.format), None)
    by_name = named or _by_ending(address.path, rows)
    if by_name is not None:
        return by_name
    if _by_ending(address.path, list(_FORMATS.values())) is not None:
        raise _not_from_a_server(address)
    from ._places import place_of

    place = place_of(address)
    for row in rows:
        if any(place.read(mark) is not None for mark in row.marks):
            return row
    labels = ", ".join(row.label for row in rows)
    raise StackFileError(f"There is no volume at {address}: none of {labels} was found there.")


def readable_suffixes() -> tuple[str, ...]:
    """Endings of the names that can be read, in alphabetical order."""
    return tuple(sorted({ending for row in input_formats() for ending in row.endings}))


def format_of(path: Path) -> InputFormat:
    """The format that a path is of, by the marks of a folder or the ending of its name.

    Raises
    ------
    StackFileError
        It is missing, or of no known format.
    """
    address = address_of(path)
    if address is not None:
        return _format_at(address)
    if not path.exists():
        if set("*?[") & set(path.name) and path.parent.is_dir():
            return _FORMATS[_FALLBACK]
        raise StackFileError(f"There is no file {path}.")
    kind: Literal["file", "folder"] = "folder" if path.is_dir() else "file"
    for known in (tuple(_FORMATS.values()), input_formats()):
        rows = [row for row in known if row.kind == kind]
        found = _by_marks(path, rows) or _by_ending(path.name, rows)
        if found is not None:
            return found
    if kind == "folder":
        return _of_container(path) or _FORMATS[_FALLBACK]
    if _by_ending(path.name, list(_FORMATS.values())) is not None:
        raise StackFileError(f"{path.name} is a file, but its format is a folder: name the folder that holds the data.")
    raise StackFileError(f"{path.name} is of no format that can be read: known are {', '.join(readable_suffixes())}.")


def _by_marks(path: Path, rows: Iterable[InputFormat]) -> InputFormat | None:
    """The format that the files in a folder tell."""
    return next((row for row in rows if any((path / mark).exists() for mark in row.marks)), None)


def _of_container(path: Path) -> InputFormat | None:
    """The format of the container that a folder without marks lies in, such as a group of an N5 container."""
    rows = [row for row in _FORMATS.values() if row.kind == "folder" and row.marks]
    for folder in path.absolute().parents:
        row = _by_ending(folder.name, rows)
        if row is not None and _by_marks(folder, [row]) is not None:
            return row
    return None


def _by_ending(name: str, rows: list[InputFormat]) -> InputFormat | None:
    """The first of the formats with the longest ending that the name has."""
    fitting = [(len(ending), row) for row in rows for ending in row.endings if name.lower().endswith(ending)]
    return max(fitting, key=lambda one: one[0])[1] if fitting else None


def dataset_help() -> str:
    """What ``--dataset`` means in each format that knows it: one line for the command line's help."""
    rows = [row for row in input_formats(entry_points=False) if row.dataset]
    return "which image, where the file holds several: " + "; ".join(f"{row.label}: {row.dataset}" for row in rows)


def dialog_filter(title: str, *more: str) -> str:
    """Filter of a file dialog (Qt's form): all stacks together, then each format, then all files.

    Parameters
    ----------
    title : str
        Of the first group.
    *more : str
        Patterns of the first group beside those of stacks, such as ``"*.safetensors"``.
    """
    files = [row for row in input_formats() if row.kind == "file" and row.endings]
    patterns = [f"*{ending}" for row in files for ending in row.endings]
    groups = [f"{title} ({' '.join([*patterns, *more])})"]
    groups += [f"{row.label} ({' '.join(f'*{ending}' for ending in row.endings)})" for row in files]
    return ";;".join([*groups, "All files (*)"])
