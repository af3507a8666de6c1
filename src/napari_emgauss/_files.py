"""Files written whole or not at all: the one way in which this project makes, replaces and clears away files.

What is being written lies beside its target as ``.NAME.<8 hex digits>.emgauss-part`` and is renamed when it is whole
and on the disk. An exception, and so a signal that is turned into one, takes it away; after a kill that nothing
survives, the next writer of the same name does. A part is proved to be ours by its name, and its writer to be gone by
the lock that every writer holds on its part: the operating system lets go of it with the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath

from napari_emgauss._errors import ExportError
from napari_emgauss._paths import PathLike, check_kind, explained, kind_of, missing_folder, real_target

Owns = Callable[[PurePosixPath], bool]
"""Tells of a file's path within a folder whether it is one of ours."""

PART_SUFFIX = ".emgauss-part"
_NEW, _OLD = "new", "old"  # inside the part of a folder
# Some encrypted file systems take names of 143 bytes, the others 255: a part's name stays below either.
_STEM_BYTES = 100
# Where the file system knows no locks, a part that nobody touched for a day has lost its writer.
_FORGOTTEN_S = 24 * 3600.0
_HAS_LOCKS = importlib.util.find_spec("fcntl") is not None  # Windows has none


def check_writable(
    path: PathLike, *, overwrite: bool = False, folder: bool = False, nbytes: int = 0, advice: str = ""
) -> Path:
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
    advice : str
        How the user overwrites on purpose, in the words of the door: "or --force to overwrite it".

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
            raise ExportError(f"'{shown}' exists already; give another name{', ' + advice if advice else ''}.")
        check_kind(target, folder=folder, shown=shown)
        if not os.path.isdir(target.parent):  # unlike Path.is_dir, no error for a name that is too long
            raise missing_folder(target.parent)
        _check_replaceable(target, shown)
        free = shutil.disk_usage(target.parent).free
        if nbytes > free:
            raise ExportError(
                f"'{shown}' needs {nbytes / 1e9:.2f} GB, but only {free / 1e9:.2f} GB are free in '{target.parent}'."
            )
        with _folder_part(target) if folder else _file_part(target) as part:
            trial = part / _NEW if folder else part
            try:
                trial.write_bytes(bytes(4096))
                _to_disk(trial)
            finally:
                trial.unlink(missing_ok=True)
    except OSError as error:
        raise explained(error, shown) from error
    return target


@contextmanager
def whole(path: PathLike) -> Iterator[Path]:
    """Write a file whole or not at all; one that exists is replaced when the new one lies on the disk.

    Parameters
    ----------
    path : path
        The file; through a link, the file that it leads to.

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
    try:
        check_kind(target, folder=False, shown=path)
        sweep(target)
        with _file_part(target) as part:
            yield part
            _to_disk(part)
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
            raise ExportError(f"'{path}' exists already; give another name.")
        check_old(target)
        return True

    try:
        sweep(target, owns)
        check()
        with _folder_part(target, owns) as part:
            new, old = part / _NEW, part / _OLD
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


def sweep(path: PathLike, owns: Owns | None = None) -> list[Path]:
    """Remove the parts that killed writers of this very name left.

    Parameters
    ----------
    path : path
        The output's name.
    owns : callable, optional
        For folders, see :func:`whole_folder`; without it only parts of files are removed.

    Returns
    -------
    list of Path
        What was removed. Parts of living writers, and whatever cannot be removed, stay.
    """
    target = real_target(path)
    pattern = re.compile(rf"\.{re.escape(_stem(target.name))}\.[0-9a-f]{{8}}{re.escape(PART_SUFFIX)}")
    removed: list[Path] = []
    with contextlib.suppress(OSError):
        with os.scandir(target.parent) as entries:
            found = [Path(entry.path) for entry in entries if pattern.fullmatch(entry.name)]
        for part in found:
            with contextlib.suppress(OSError):
                if _sweep_one(part, target, owns):
                    removed.append(part)
    return removed


def remove_files(folder: Path, owns: Owns, *, last: Callable[[PurePosixPath], bool] | None = None) -> None:
    """Delete those files in a folder that are ours, one by one, then the folders that are empty, itself included.

    Links are neither followed nor deleted. What is not ours stays, and so do the folders around it.

    Parameters
    ----------
    folder : Path
        The folder.
    owns : callable
        See :func:`whole_folder`.
    last : callable, optional
        Files to delete after all others: those that tell which are ours.
    """
    files = [found for found in _walk(folder) if kind_of(folder / found) == "file" and owns(found)]
    for found in sorted(files, key=lambda one: last is not None and last(one)):
        (folder / found).unlink(missing_ok=True)
    for place, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # not empty, or a link
            os.rmdir(place)


def first_foreign(folder: Path, owns: Owns) -> Path | None:
    """The first file (link, device, ...) in a folder that is not ours; None if there is none."""
    foreign = (found for found in _walk(folder) if not (owns(found) and kind_of(folder / found) == "file"))
    return next((folder / found for found in sorted(foreign)), None)


def _stem(name: str) -> str:
    raw = os.fsencode(name)
    if len(raw) <= _STEM_BYTES:
        return name
    start = raw[: _STEM_BYTES - 13].decode("utf-8", "ignore")
    return f"{start}~{hashlib.sha256(raw).hexdigest()[:12]}"


def _part_name(target: Path) -> Path:
    return target.with_name(f".{_stem(target.name)}.{secrets.token_hex(4)}{PART_SUFFIX}")


def _file_part(target: Path) -> AbstractContextManager[Path]:
    """A new empty file, held by its lock, that is gone after the block unless it was renamed."""

    def make(part: Path) -> None:
        # Made by open, not by mkstemp: as shareable as any other file of the user.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))

    return _held(target, make, lambda part: part.unlink(missing_ok=True))


def _folder_part(target: Path, owns: Owns | None = None) -> AbstractContextManager[Path]:
    """The same for a folder, emptied of what ``owns`` says is ours."""

    def remove(part: Path) -> None:
        _empty(part, target, owns or (lambda _path: False))

    return _held(target, os.mkdir, remove)


@contextmanager
def _held(target: Path, make: Callable[[Path], None], remove: Callable[[Path], None]) -> Iterator[Path]:
    while True:
        part = _part_name(target)
        try:
            make(part)
        except FileExistsError:
            continue
        handle = _lock(part)
        if part.exists():  # else somebody swept it before it was locked
            break
        _let_go(handle)
    try:
        yield part
    finally:
        try:
            with contextlib.suppress(OSError):
                remove(part)
        finally:
            _let_go(handle)


def _lock(part: Path) -> int | None:
    """Hold a part; None where the system knows no such locks.

    Raises
    ------
    BlockingIOError
        A living process holds it.
    """
    if not _HAS_LOCKS:
        return None
    import fcntl

    flags = os.O_RDONLY if part.is_dir() else os.O_RDWR
    try:
        handle = os.open(part, flags | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:  # some network file systems know no locks
        os.close(handle)
        return None
    return handle


def _let_go(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


def _sweep_one(part: Path, target: Path, owns: Owns | None) -> bool:
    kind = kind_of(part)
    if kind not in ("file", "folder") or (kind == "folder" and owns is None):
        return False
    try:
        handle = _lock(part)
    except BlockingIOError:
        return False
    try:
        if handle is None and time.time() - part.lstat().st_mtime < _FORGOTTEN_S:
            return False
        if kind == "file":
            part.unlink()
        elif owns is not None:
            _empty(part, target, owns)
        return not part.exists()
    finally:
        _let_go(handle)


def _empty(part: Path, target: Path, owns: Owns) -> None:
    """Take away the part of a folder; an old folder whose place is empty goes back there."""
    old = part / _OLD
    if kind_of(old) == "folder" and kind_of(target) is None:
        os.rename(old, target)
    remove_files(part, lambda found: found.parts[0] in (_NEW, _OLD) and owns(PurePosixPath(*found.parts[1:])))


def _walk(folder: Path) -> Iterator[PurePosixPath]:
    """Everything but folders below a folder, by path within it; links are not followed."""
    waiting = [PurePosixPath()]
    while waiting:
        place = waiting.pop()
        with os.scandir(folder / place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(place / entry.name)
                else:
                    yield place / entry.name


def _check_replaceable(target: Path, shown: str) -> None:
    """In a folder such as /tmp nobody may replace what belongs to others, however writable it is."""
    if not hasattr(os, "getuid") or kind_of(target) is None:
        return
    folder, user = target.parent.stat(), os.getuid()
    if folder.st_mode & stat.S_ISVTX and user not in (0, folder.st_uid, target.lstat().st_uid):
        raise ExportError(f"'{shown}' belongs to somebody else and cannot be replaced: give another name.")


def _to_disk(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    if path.is_dir():
        if not _HAS_LOCKS:
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
    for found in _walk(folder):
        _to_disk(folder / found)
