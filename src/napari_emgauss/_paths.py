"""Paths: what lies there, whether two name one file, and what the system says of them in words."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import unicodedata
from pathlib import Path

from napari_emgauss._errors import EmgaussError, ExportError

PathLike = str | os.PathLike[str]


def real_target(path: PathLike) -> Path:
    """Where a file written to ``path`` ends up: links are followed, as ordinary programs do.

    Raises
    ------
    ExportError
        The path is none (empty, or with a null character), or leads in a circle.
    """
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ExportError(f"{text!r} is not a valid file name: choose another.")
    target = Path(os.path.realpath(text))
    if not target.name or os.path.islink(target):
        raise ExportError(f"'{text}' is not a valid file name: choose another.")
    return target


def reason(error: OSError) -> str:
    """Why a file cannot be written, in words."""
    # NumPy tells a full disk as "40000 requested and 16928 written", without the system's error number.
    short = error.errno is None and "requested" in str(error)
    if short or error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    if error.errno == errno.EROFS:
        return "the disk is read-only"
    if error.errno == errno.ENAMETOOLONG:
        return "the name is too long"
    return error.strerror or str(error)


def kind_of(path: Path) -> str | None:
    """What lies at ``path``: ``"file"``, ``"folder"``, ``"link"``, or what else it is; None for nothing."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    for is_kind, name in (
        (stat.S_ISREG, "file"),
        (stat.S_ISDIR, "folder"),
        (stat.S_ISLNK, "link"),
        (stat.S_ISFIFO, "pipe"),
        (stat.S_ISSOCK, "socket"),
    ):
        if is_kind(mode):
            return name
    return "device"


def check_kind(target: Path, *, folder: bool, shown: PathLike | None = None) -> None:
    """Refuse to write a file over a folder, a folder over a file, and anything over a device, a pipe or a link.

    Raises
    ------
    ExportError
        Something else lies at ``target``.
    """
    found = kind_of(target)
    if found not in (None, "folder" if folder else "file"):
        name = target if shown is None else shown
        raise ExportError(f"'{name}' is a {found}, so it is not overwritten: choose another name.")


def same_file(one: PathLike, other: PathLike) -> bool:
    """Whether two paths name one file: through links, hard links, other spellings and other case, too.

    Of two files that do not exist yet their names are compared, regardless of case where systems usually are.
    """
    with contextlib.suppress(OSError, ValueError):
        return os.path.samefile(one, other)
    return _spelling(one) == _spelling(other)


def is_inside(path: PathLike, folder: PathLike) -> bool:
    """Whether ``path`` lies in ``folder``, at any depth, or is it; neither need be spelt alike."""
    real = Path(os.path.realpath(path))
    return any(same_file(place, folder) for place in (real, *real.parents))


def _spelling(path: PathLike) -> str:
    real = unicodedata.normalize("NFC", os.path.realpath(path))
    return real.casefold() if sys.platform in ("win32", "darwin") else real


def explained(error: OSError, path: PathLike) -> Exception:
    """An error of the system as a sentence; what is one already stays as it is."""
    if isinstance(error, EmgaussError):
        return error
    folder = os.path.dirname(os.path.abspath(path))
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and not os.path.isdir(folder):
        return missing_folder(folder)
    return ExportError(f"'{os.fspath(path)}' could not be written: {reason(error)}.")


def missing_folder(folder: PathLike) -> ExportError:
    """What to say of an output whose folder is not there."""
    return ExportError(f"The folder '{os.fspath(folder)}' does not exist: create it first, or choose another name.")
