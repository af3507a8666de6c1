"""Parts: what files and folders are called while they are written, who holds them, and how they are swept.

A part lies beside its target as ``.NAME.<8 hex digits>.emgauss-part``. It is proved to be ours by that name, and its
writer to be gone by the lock that every writer holds on its part: the operating system lets go of it with the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath

from napari_emgauss._paths import PathLike, kind_of, real_target

Owns = Callable[[PurePosixPath], bool]
"""Tells of a file's path within a folder whether it is one of ours."""

PART_SUFFIX = ".emgauss-part"
_PART = re.compile(rf"\.(?P<stem>.+)\.[0-9a-f]{{8}}{re.escape(PART_SUFFIX)}", re.DOTALL)
NEW, OLD = "new", "old"  # inside the part of a folder
# Some encrypted file systems take names of 143 bytes, the others 255: a part's name stays below either.
_STEM_BYTES = 100
# Where the file system knows no locks, a part that nobody touched for a day has lost its writer.
_FORGOTTEN_S = 24 * 3600.0
HAS_LOCKS = importlib.util.find_spec("fcntl") is not None  # Windows has none


def is_part(name: str) -> bool:
    """Whether a file's name is that of a part: of something of ours that is being, or was not, written to its end."""
    return _PART.fullmatch(name) is not None


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
    stem = short_name(target.name)
    removed: list[Path] = []
    for part in _parts_in(target.parent):
        found = _PART.fullmatch(part.name)
        if found is not None and found["stem"] == stem:
            with contextlib.suppress(OSError):
                if _sweep_one(part, target, owns):
                    removed.append(part)
    return removed


def sweep_folder(folder: Path) -> None:
    """Remove the parts of files that killed writers left in a folder of ours, of whatever name."""
    for part in _parts_in(folder):
        with contextlib.suppress(OSError):
            _sweep_one(part, folder, None)


def file_part(target: Path) -> AbstractContextManager[Path]:
    """A new empty file, held by its lock, that is gone after the block unless it was renamed."""

    def make(part: Path) -> None:
        # Made by open, not by mkstemp: as shareable as any other file of the user.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))

    return _held(target, make, lambda part: part.unlink(missing_ok=True))


def folder_part(target: Path, owns: Owns | None = None) -> AbstractContextManager[Path]:
    """The same for a folder, emptied of what ``owns`` says is ours."""

    def remove(part: Path) -> None:
        _empty(part, target, owns or (lambda _path: False))

    return _held(target, os.mkdir, remove)


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
    files = [found for found in walk(folder) if kind_of(folder / found) == "file" and owns(found)]
    for found in sorted(files, key=lambda one: last is not None and last(one)):
        (folder / found).unlink(missing_ok=True)
    for place, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # not empty, or a link
            os.rmdir(place)


def first_foreign(folder: Path, owns: Owns) -> Path | None:
    """The first file (link, device, ...) in a folder that is not ours; None if there is none."""
    foreign = (found for found in walk(folder) if not (owns(found) and kind_of(folder / found) == "file"))
    return next((folder / found for found in sorted(foreign)), None)


def walk(folder: Path) -> Iterator[PurePosixPath]:
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


def short_name(name: str) -> str:
    """A file's name, with a digest in place of its end where that is long: it leaves room for something around it."""
    raw = os.fsencode(name)
    if len(raw) <= _STEM_BYTES:
        return name
    start = raw[: _STEM_BYTES - 13].decode("utf-8", "ignore")
    return f"{start}~{hashlib.sha256(raw).hexdigest()[:12]}"


def _part_name(target: Path) -> Path:
    return target.with_name(f".{short_name(target.name)}.{secrets.token_hex(4)}{PART_SUFFIX}")


def _parts_in(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if is_part(entry.name)]
    return []


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
    if not HAS_LOCKS:
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
    old = part / OLD
    if kind_of(old) == "folder" and kind_of(target) is None:
        os.rename(old, target)

    def is_ours(found: PurePosixPath) -> bool:
        inside = PurePosixPath(*found.parts[1:])
        return found.parts[0] in (NEW, OLD) and (owns(inside) or is_part(inside.name))

    remove_files(part, is_ours)
