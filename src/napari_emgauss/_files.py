"""Files written whole or not at all: the one way in which this project makes, replaces and clears away files.

What is being written is a part (see ``_parts``) beside its target, renamed when it is whole and on the disk. An
exception, and so a signal that is turned into one, takes it away; after a kill that nothing survives, the next writer
of the same name does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_emgauss._errors import ExportError
from napari_emgauss._parts import HAS_LOCKS, NEW, OLD, Owns, file_part, folder_part, sweep, walk
from napari_emgauss._paths import PathLike, check_kind, explained, kind_of, missing_folder, real_target
from napari_emgauss._remedies import remedy


def check_writable(path: PathLike, *, overwrite: bool = False, folder: bool = False, nbytes: int = 0) -> Path:
    """Find out, by writing beside it, whether an output can be written; nothing is left behind.

    Parameters
    ----------
    path : path
        The output.
    overwrite : bool
        Whether it may exist.
    folder : bool
        Whether it is to be a folder.
    nbytes : int
        Space that it will need, as far as that is known.

    Returns
    -------
    Path
        The file that will be written, with links followed.

    Raises
    ------
    ExportError
        It exists, is a folder where a file is wanted (or the other way round), a device or a pipe, its name is too
        long, its folder is missing or not writable, or the space does not suffice.
    """
    shown = os.fspath(path)
    target = real_target(path)
    try:
        found = kind_of(target)
        if not overwrite and (found is not None or os.path.islink(path)):
            raise ExportError(f"'{shown}' already exists", remedy=remedy("overwrite"))
        check_kind(target, folder=folder, shown=shown)
        if not os.path.isdir(target.parent):  # unlike Path.is_dir, no error for a name that is too long
            raise missing_folder(target.parent)
        _check_replaceable(target, shown)
        free = shutil.disk_usage(target.parent).free
        if nbytes > free:
            raise ExportError(f"'{shown}' needs {_size(nbytes)}, but only {_size(free)} are free in '{target.parent}'.")
        with folder_part(target) if folder else file_part(target) as part:
            trial = part / NEW if folder else part
            try:
                trial.write_bytes(bytes(4096))
                _to_disk(trial)
            finally:
                trial.unlink(missing_ok=True)
    except OSError as error:
        raise explained(error, shown) from error
    return target


@contextmanager
def whole(path: PathLike, *, overwrite: bool = True) -> Iterator[Path]:
    """Write a file whole or not at all; one that exists is replaced when the new one lies on the disk.

    Parameters
    ----------
    path : path
        The file; through a link, the file that it leads to.
    overwrite : bool
        False: one that exists, or appears meanwhile, is an error.

    Yields
    ------
    Path
        A new empty file in the target's folder, to write to or replace. It is renamed at the end of the block, and
        removed if that is left by an exception.

    Raises
    ------
    ExportError
        The file cannot be written: what was at ``path`` is still there.
    """
    target = real_target(path)

    def check() -> None:
        check_kind(target, folder=False, shown=path)
        if not overwrite and kind_of(target) is not None:
            raise ExportError(f"'{os.fspath(path)}' already exists: choose another name.")

    try:
        check()
        sweep(target)
        with file_part(target) as part:
            yield part
            _to_disk(part)
            check()  # minutes may have passed
            os.replace(part, target)
            _to_disk(target.parent)
    except OSError as error:
        raise explained(error, path) from error


def write_bytes(path: PathLike, data: bytes | memoryview) -> None:
    """Write bytes to a file, whole or not at all; errors are those of :func:`whole`."""
    with whole(path) as part, part.open("wb") as file:
        file.write(data)


def write_text(path: PathLike, text: str) -> None:
    """Write text as UTF-8, whole or not at all; errors are those of :func:`whole`."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def whole_folder(path: PathLike, owns: Owns, *, check_old: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Write a folder of files whole or not at all.

    Parameters
    ----------
    path : path
        The folder; through a link, the one that it leads to.
    owns : callable
        Tells, of a path relative to the folder, whether such a file is written here: no other file is ever deleted.
    check_old : callable, optional
        Allows a folder that exists to be replaced: called with it, raises if anything in it is not ours. By default a
        folder that exists is an error.

    Yields
    ------
    Path
        A new empty folder, renamed at the end of the block.

    Raises
    ------
    ExportError
        The folder cannot be written, or exists and may not be replaced: what was at ``path`` is still there.
    """
    target = real_target(path)

    def check() -> bool:
        check_kind(target, folder=True, shown=path)
        if not target.exists():
            return False
        if check_old is None:
            raise ExportError(f"'{path}' already exists: choose another name.")
        check_old(target)
        return True

    try:
        sweep(target, owns)
        check()
        with folder_part(target, owns) as part:
            new, old = part / NEW, part / OLD
            new.mkdir()
            yield new
            _tree_to_disk(new)
            # A folder cannot be replaced in one step: the old one steps aside until the new one is there. Minutes
            # have passed, so it is looked at again.
            if check():
                os.rename(target, old)
            try:
                os.rename(new, target)
            except OSError:
                if old.exists():
                    os.rename(old, target)
                raise
            _to_disk(target.parent)
    except OSError as error:
        raise explained(error, path) from error


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.2f} MB"


def _check_replaceable(target: Path, shown: str) -> None:
    """In a folder such as /tmp nobody may replace what belongs to others, however writable it is."""
    if not hasattr(os, "getuid") or kind_of(target) is None:
        return
    folder, user = target.parent.stat(), os.getuid()
    if folder.st_mode & stat.S_ISVTX and user not in (0, folder.st_uid, target.lstat().st_uid):
        raise ExportError(f"'{shown}' belongs to another user and cannot be replaced: choose another name.")


def _to_disk(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    if path.is_dir():
        if not HAS_LOCKS:
            return
        # Some file systems cannot do this for folders; the rename itself is done all the same.
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        return
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _tree_to_disk(folder: Path) -> None:
    for found in walk(folder):
        _to_disk(folder / found)
