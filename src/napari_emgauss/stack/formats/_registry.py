"""The formats that stacks are read from: one row each, from which everything that lists formats derives.

Reading, the window's file dialog, the command line's help, ``emgauss doctor`` and the table in the documentation all
ask this list. A new format is a module with an opener and a row in ``_rows.py``; other packages add theirs by
:func:`register_reader`, or by an entry point of the group ``napari_emgauss.readers``.

Kept light: the command line's help asks for it, so nothing here imports NumPy or a file library.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_emgauss._entry_points import EntryPointGroup
from napari_emgauss._errors import ConfigError, StackFileError
from napari_emgauss.stack._address import address_of

from ._input_format import InputFormat, check_servers_can_be_read
from ._rows import ROWS

if TYPE_CHECKING:
    from napari_emgauss.stack._address import Address

_FORMATS: dict[str, InputFormat] = {row.name: row for row in ROWS}
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
            raise ConfigError(f"'{ending}' is not the ending of a file name: write it in lower case and with its dot.")
    if not replace:
        if row.name in _FORMATS:
            raise ConfigError(f"There is already a format '{row.name}': choose another name, or pass replace=True.")
        for other in _FORMATS.values():
            taken = sorted(set(other.endings) & set(row.endings))
            if taken:
                raise ConfigError(f"{', '.join(taken)} is already read as {other.label}: pass replace=True to take it.")
    # The newest is asked first; the folder of images, which takes any folder, stays last.
    others = {name: other for name, other in _FORMATS.items() if name != row.name}
    _FORMATS.clear()
    _FORMATS.update({row.name: row} | others)


def unregister_reader(name: str) -> None:
    """Take a format out again that `register_reader` added; one that is not there is none to take out."""
    _FORMATS.pop(name, None)
    for row in ROWS:
        if row.name == name:
            _FORMATS[name] = row


def _not_from_a_server(address: Address) -> StackFileError:
    labels = [row.label for row in input_formats() if row.remote_opener is not None]
    return StackFileError(
        f"{address} can be read from a disk only: download it first (servers can hold {', '.join(labels)})."
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
    raise StackFileError(
        f"{path.name} is not in a format that can be read: known are {', '.join(readable_suffixes())}."
    )


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
    return "which image, if the file holds several: " + "; ".join(f"{row.label}: {row.dataset}" for row in rows)


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
