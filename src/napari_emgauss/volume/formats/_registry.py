"""The formats that volumes are written in: one row each, from which everything that lists formats derives.

Writing, the command line's help, the window's export tab and its file dialog, and the table in the documentation all
ask this list. A new format is a module with a writer and a row here; other packages add theirs by
:func:`register_writer`, or by an entry point of the group ``napari_emgauss.writers``.

Kept light: the command line's help asks for it, so nothing here imports NumPy or a file library.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from napari_emgauss._entry_points import EntryPointGroup
from napari_emgauss._errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_emgauss._owned_folder import OwnedFolder
    from napari_emgauss.volume._plan import ExportPlan

Writer: TypeAlias = "Callable[[ExportPlan, Iterator[NDArray[Any]], Path], None]"
"""Writes planes as planned, slice after slice, ``(H, W)`` or ``(C, H, W)`` of the plan's dtype: over the empty file, or
into the empty folder, of a path."""
Owned: TypeAlias = "Callable[[Path], OwnedFolder | None]"

# Classic TIFF counts bytes with 32 bits; the rest is left for the pages' headers and the metadata.
CLASSIC_TIFF_BYTES = 2**32 - 2**25
_HERE = "napari_emgauss.volume.formats"
_OME_DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")
_ZARR_DTYPES = (*_OME_DTYPES, "uint64", "int64", "float16")
# Metadata, and chunks of numbered arrays; both have another name while zarr-python writes them.
_ZARR_FILES = (
    r"(\d+/)?(\.zgroup|\.zattrs|\.zarray|zarr\.json|(\.?\w+\.)*[0-9a-f]{32}\.partial)"
    r"|\d+/(c/)?(\d+/)*\d+(\.[0-9a-f]{32}\.partial)?"
)
# Metadata, and blocks named by their range; tensorstore adds to a name while it writes.
_PRECOMPUTED_FILES = r"(info|provenance|[^/]+/\d+-\d+_\d+-\d+_\d+-\d+)(\.__lock)?"
_ZARR_OWNED = f"{_HERE}._zarr_files:owned_zarr"


@dataclass(frozen=True)
class ExportFormat:
    """One way to write a volume.

    Parameters
    ----------
    name : str
        What ``format=`` and ``--format`` call it.
    label : str
        For people.
    endings : tuple of str
        Of file names, the usual one first. Where two formats share an ending, it means the one registered first.
    writer : callable or str
        The function that writes, or ``"module:function"``, imported when it is needed.
    dtypes : tuple of str
        NumPy names of the grey values' types that it can hold. Another type is written as the first of these that
        holds all its values; where none does, the volume is refused.
    kind : {"file", "folder"}
        Which of them is written.
    files : str
        For a folder: a regular expression of the files' paths in it, in the middle of writing, too. Only these are
        removed when writing fails or was killed.
    owned : callable or str, optional
        For a folder: tells which files in one that exists an export wrote, or None for a foreign folder, which is
        never replaced; or ``"module:function"``.
    has_channels : bool
        It has room for several grey values of a voxel.
    needs : tuple of str
        Packages to import, beyond those that every installation has.
    install : str
        What ``pip install`` brings them.
    most_bytes : int, optional
        The largest size of all grey values; None for any.
    instead : str, optional
        Name of the format to take where this one cannot hold the type or the size.
    note : str
        What is written, for tables: a phrase.
    checked_with : str
        Readers that the tests compare with.
    """

    name: str
    label: str
    endings: tuple[str, ...]
    writer: Writer | str
    dtypes: tuple[str, ...]
    kind: Literal["file", "folder"] = "file"
    files: str = r".*"
    owned: Owned | str | None = None
    has_channels: bool = True
    needs: tuple[str, ...] = ()
    install: str = ""
    most_bytes: int | None = None
    instead: str | None = None
    note: str = ""
    checked_with: str = ""

    @property
    def ending(self) -> str:
        """The usual ending of a file's name."""
        return self.endings[0]

    def missing(self) -> tuple[str, ...]:
        """Packages that it needs and that are not installed; looked for, not imported."""
        return tuple(package for package in self.needs if importlib.util.find_spec(package) is None)

    @property
    def install_command(self) -> str:
        """The command that installs what it needs; empty where nothing is needed."""
        what = self.install or " ".join(self.needs)
        quoted = f"'{what}'" if "[" in what else what
        return f"pip install {quoted}" if what else ""

    @property
    def file_filter(self) -> str:
        """For dialogs: ``OME-TIFF (*.ome.tif *.ome.tiff)``."""
        return f"{self.label} ({' '.join(f'*{ending}' for ending in self.endings)})"

    def load_writer(self) -> Writer:
        """The function that writes.

        Raises
        ------
        ConfigError
            A package is missing.
        """
        missing = self.missing()
        if missing:
            raise ConfigError(f"Writing {self.label} needs {' and '.join(missing)}: {self.install_command}.")
        if not isinstance(self.writer, str):
            return self.writer
        writer: Writer = _named(self.writer)
        return writer

    def writes(self, path: PurePosixPath) -> bool:
        """Whether a file of this path within a folder is one that the writer makes."""
        return re.fullmatch(self.files, str(path)) is not None

    def owned_in(self, folder: Path) -> OwnedFolder | None:
        """What in an existing folder an export wrote; None where that cannot be proved."""
        if self.owned is None:
            return None
        find: Owned = _named(self.owned) if isinstance(self.owned, str) else self.owned
        return find(folder)


def _named(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


_ROWS = (
    ExportFormat(
        name="ome-tiff",
        label="OME-TIFF",
        endings=(".ome.tif", ".ome.tiff"),
        writer=f"{_HERE}._tiff:write_ome_tiff",
        dtypes=_OME_DTYPES,
        note="voxel size and the depth of each slice; BigTIFF above 4 GB",
        checked_with="tifffile",
    ),
    ExportFormat(
        name="imagej-tiff",
        label="ImageJ TIFF",
        endings=(".tif", ".tiff"),
        writer=f"{_HERE}._tiff:write_imagej_tiff",
        dtypes=("uint8", "uint16", "float32"),
        most_bytes=CLASSIC_TIFF_BYTES,
        instead="ome-tiff",
        note="opens in Fiji with its voxel size; OME-TIFF where ImageJ cannot hold the type or the size",
        checked_with="tifffile",
    ),
    ExportFormat(
        name="ome-zarr",
        label="OME-Zarr 0.4",
        endings=(".ome.zarr", ".zarr"),
        writer=f"{_HERE}._zarr:write_ome_zarr",
        dtypes=_ZARR_DTYPES,
        kind="folder",
        files=_ZARR_FILES,
        owned=_ZARR_OWNED,
        note="Zarr 2, with a pyramid",
        checked_with="ngff-zarr, tensorstore",
    ),
    ExportFormat(
        name="ome-zarr-0.5",
        label="OME-Zarr 0.5",
        endings=(".ome.zarr", ".zarr"),
        writer=f"{_HERE}._zarr:write_ome_zarr",
        dtypes=_ZARR_DTYPES,
        kind="folder",
        files=_ZARR_FILES,
        owned=_ZARR_OWNED,
        note="Zarr 3, with a pyramid",
        checked_with="ngff-zarr, tensorstore",
    ),
    ExportFormat(
        name="ome-zarr-0.6",
        label="OME-Zarr 0.6",
        endings=(".ome.zarr", ".zarr"),
        writer=f"{_HERE}._zarr:write_ome_zarr",
        dtypes=_ZARR_DTYPES,
        kind="folder",
        files=_ZARR_FILES,
        owned=_ZARR_OWNED,
        note="Zarr 3, with a pyramid and coordinate systems; few programs read it yet",
        checked_with="ngff-zarr",
    ),
    ExportFormat(
        name="precomputed",
        label="Neuroglancer precomputed",
        endings=(".precomputed",),
        writer=f"{_HERE}._precomputed:write_precomputed",
        dtypes=("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "float32"),
        kind="folder",
        files=_PRECOMPUTED_FILES,
        owned=f"{_HERE}._precomputed_files:owned_precomputed",
        needs=("tensorstore",),
        install="napari-emgauss[remote]",
        note="raw blocks in several scales, resolution in nm",
        checked_with="blocks read after the published layout",
    ),
    ExportFormat(
        name="precomputed-png",
        label="Neuroglancer precomputed, compressed",
        endings=(".precomputed",),
        writer=f"{_HERE}._precomputed:write_precomputed",
        dtypes=("uint8", "uint16"),
        kind="folder",
        files=_PRECOMPUTED_FILES,
        owned=f"{_HERE}._precomputed_files:owned_precomputed",
        needs=("tensorstore",),
        install="napari-emgauss[remote]",
        note="the same with blocks as PNG, which is lossless",
        checked_with="blocks read after the published layout",
    ),
    ExportFormat(
        name="mrc",
        label="MRC",
        endings=(".mrc", ".rec", ".map"),
        writer=f"{_HERE}._mrc:write_mrc",
        # MRC2014 has no unsigned bytes and nothing wider than 32 bits.
        dtypes=("int8", "uint16", "int16", "float16", "float32"),
        has_channels=False,
        note="MRC2014; 8-bit data become 16-bit, because MRC has no unsigned bytes",
        checked_with="mrcfile",
    ),
)
_FORMATS: dict[str, ExportFormat] = {row.name: row for row in _ROWS}
_entry_points = EntryPointGroup("napari_emgauss.writers", "writer")


def register_writer(row: ExportFormat, *, replace: bool = False) -> None:
    """Add a format that volumes are written in.

    `export`, the command line and the window then know it alike. Packages that want to be found without being imported
    name a callable without parameters that calls this, as an entry point of the group ``napari_emgauss.writers``.

    Parameters
    ----------
    row : ExportFormat
        The new format.
    replace : bool
        Take the place of the format of this name.

    Raises
    ------
    ConfigError
        The name is taken, an ending cannot be one, or there is none, or no type.

    Examples
    --------
    >>> from napari_emgauss.volume import ExportFormat, register_writer
    >>> def write_raw(plan, planes, target):
    ...     with target.open("wb") as file:
    ...         for plane in planes:
    ...             file.write(plane.tobytes())
    >>> register_writer(ExportFormat("raw", "Raw bytes", (".raw",), write_raw, ("uint8",)))
    """
    for ending in row.endings:
        if not ending.startswith(".") or ending != ending.lower() or len(ending) < 2:
            raise ConfigError(f"'{ending}' is not the ending of a file name: write it in lower case and with its dot.")
    if not row.endings or not row.dtypes:
        raise ConfigError(f"The format '{row.name}' must name a file ending and the types that it can hold.")
    if row.name in _FORMATS and not replace:
        raise ConfigError(f"There is already a format '{row.name}': choose another name, or pass replace=True.")
    _FORMATS[row.name] = row


def unregister_writer(name: str) -> None:
    """Take a format out again that `register_writer` added; one that is not there is none to take out."""
    _FORMATS.pop(name, None)
    for row in _ROWS:
        if row.name == name:
            _FORMATS[name] = row


def export_formats() -> tuple[str, ...]:
    """Names of the formats that can be written."""
    return tuple(row.name for row in output_formats())


def output_formats(*, entry_points: bool = True) -> tuple[ExportFormat, ...]:
    """All formats that volumes are written in.

    Parameters
    ----------
    entry_points : bool
        Look for those of other packages, too, which takes a fifth of a second the first time.
    """
    if entry_points:
        _entry_points.load()
    return tuple(_FORMATS.values())


def export_format(name: str) -> ExportFormat:
    """The format called ``name``.

    Raises
    ------
    ConfigError
        There is none.
    """
    for known in (_FORMATS, {row.name: row for row in output_formats()}):
        if name in known:
            return known[name]
    raise ConfigError(f"There is no export format '{name}': choose one of {', '.join(_FORMATS)}.")


def export_format_of(name: str) -> ExportFormat | None:
    """The format that the ending of a file's name means; None for an unknown one."""
    ending = export_ending_of(name)
    return next((row for row in output_formats() if ending in row.endings), None)


def is_folder_format(path: str | Path, format: str | None = None) -> bool:
    """Whether a volume is written to ``path`` as a folder; False where the format cannot be told."""
    row = export_format_of(Path(path).name) if format is None else export_format(format)
    return row is not None and row.kind == "folder"


def export_ending_of(name: str) -> str:
    """The longest ending of a name that a format has; empty where there is none."""
    endings = {ending for row in output_formats() for ending in row.endings}
    lower = Path(name).name.lower()
    return max((e for e in endings if lower.endswith(e) and len(lower) > len(e)), key=len, default="")
