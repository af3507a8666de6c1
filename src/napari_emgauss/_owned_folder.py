"""Folders of which we can prove what in them is ours, so that nothing else is ever deleted with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from napari_emgauss._errors import ExportError
from napari_emgauss._files import write_text
from napari_emgauss._parts import Owns, first_foreign, remove_files
from napari_emgauss._paths import kind_of

MANIFEST_NAME = "emgauss-files.json"
_FORMAT = "napari-emgauss-files"
_FORMAT_VERSION = 1
_LARGEST_MANIFEST = 64 << 20


def _nothing_last(_path: PurePosixPath) -> bool:
    return False


@dataclass(frozen=True)
class OwnedFolder:
    """A folder and the knowledge which of its files are ours.

    Parameters
    ----------
    path : Path
        The folder.
    owns : callable
        Tells, of a path relative to the folder, whether a file of that name is ours: from a manifest, or from the
        content of an index that names what was written. Links and devices are never ours.
    proof : callable, optional
        Tells which of them say what is ours: they are deleted last, so that a removal that is cut off can be
        completed.
    """

    path: Path
    owns: Owns
    proof: Callable[[PurePosixPath], bool] = _nothing_last

    def foreign(self) -> Path | None:
        """Something in the folder that is not ours; None if all of it is."""
        return first_foreign(self.path, self.owns)

    def check(self) -> None:
        """Refuse to touch the folder where anything in it is not ours.

        Raises
        ------
        ExportError
            Names the first such file.
        """
        try:
            foreign = self.foreign()
        except OSError as error:
            raise ExportError(f"'{self.path}' cannot be searched: {error.strerror or error}.") from error
        if foreign is not None:
            raise ExportError(
                f"'{self.path}' also holds '{foreign.relative_to(self.path)}', which napari-emgauss did not write: "
                "move it away, or choose another name. Nothing was deleted."
            )

    def clear(self) -> None:
        """Delete our files one by one, then the folders left empty; what is not ours stays.

        Raises
        ------
        ExportError
            A file cannot be deleted.
        """
        try:
            remove_files(self.path, self.owns, last=self.proof)
        except OSError as error:
            raise ExportError(f"'{self.path}' cannot be cleared: {error.strerror or error}.") from error


def read_manifest(folder: str | Path) -> OwnedFolder | None:
    """What the manifest of a folder says is ours; None without a manifest of ours."""
    path = Path(folder)
    names = _names_in(path / MANIFEST_NAME)
    if names is None:
        return None
    owned = frozenset((*names, PurePosixPath(MANIFEST_NAME)))
    return OwnedFolder(path, owned.__contains__, lambda found: found == PurePosixPath(MANIFEST_NAME))


def note_in_manifest(folder: str | Path, names: Iterable[str]) -> None:
    """Add to the manifest the files that are about to be written to a folder; makes the manifest if there is none.

    Parameters
    ----------
    folder : path
        The folder; it must exist.
    names : iterable of str
        Paths within it, with slashes.

    Raises
    ------
    ExportError
        A file of such a name exists that is not ours, or the manifest cannot be written.
    """
    path = Path(folder)
    known = _names_in(path / MANIFEST_NAME)
    if known is None and kind_of(path / MANIFEST_NAME) is not None:
        raise ExportError(f"'{path / MANIFEST_NAME}' was not written by napari-emgauss: choose another folder.")
    noted = set(known or ())
    for name in names:
        found = PurePosixPath(name)
        if not _is_within(found):
            raise ExportError(f"'{name}' is not a file in '{path}'.")
        if found not in noted and kind_of(path / found) is not None:
            raise ExportError(f"'{path / found}' was not written by napari-emgauss: move it away.")
        noted.add(found)
    if noted != known:
        _write(path, noted)


def remove_from_manifest(folder: str | Path, names: Iterable[str]) -> None:
    """Delete files that the manifest says are ours, and strike them off; others of these names stay.

    Raises
    ------
    ExportError
        The manifest cannot be written.
    """
    path = Path(folder)
    known = _names_in(path / MANIFEST_NAME)
    if known is None:
        return
    gone = {PurePosixPath(name) for name in names} & known
    remove_files(path, gone.__contains__)
    if path.is_dir():
        _write(path, known - gone)


def _write(folder: Path, names: set[PurePosixPath]) -> None:
    values = {"format": _FORMAT, "format_version": _FORMAT_VERSION, "files": sorted(map(str, names))}
    write_text(folder / MANIFEST_NAME, json.dumps(values, indent=1) + "\n")


def _names_in(manifest: Path) -> set[PurePosixPath] | None:
    """Names in a manifest; None where it is missing, damaged, or not of ours."""
    if kind_of(manifest) != "file" or manifest.stat().st_size > _LARGEST_MANIFEST:
        return None
    try:
        values: Any = json.loads(manifest.read_text(encoding="utf-8"))
        if values["format"] != _FORMAT or values["format_version"] > _FORMAT_VERSION:
            return None
        names = {PurePosixPath(name) for name in values["files"]}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return {name for name in names if _is_within(name)}


def _is_within(name: PurePosixPath) -> bool:
    return not name.is_absolute() and bool(name.parts) and ".." not in name.parts
