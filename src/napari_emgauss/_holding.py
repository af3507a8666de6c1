"""One writer at a time of a name: held by a lock that the operating system lets go of when its process dies."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_emgauss._errors import ConfigError
from napari_emgauss._parts import HAS_LOCKS, short_name
from napari_emgauss._paths import PathLike, explained, real_target


@contextmanager
def hold_output(path: PathLike) -> Iterator[None]:
    """Keep other runs from writing a file for as long as this block takes.

    What holds it is ``.NAME.emgauss-lock`` beside it, gone afterwards; one that a kill has left is found free.

    Parameters
    ----------
    path : path
        The file to be written; it need not exist.

    Raises
    ------
    ConfigError
        Another run holds it.
    ExportError
        Its folder cannot be written to.
    """
    if not HAS_LOCKS:
        yield  # renaming what another process has open fails on Windows
        return
    target = real_target(path)
    lock = target.with_name(f".{short_name(target.name)}.emgauss-lock")
    try:
        handle = _take(lock, path)
    except OSError as error:
        raise explained(error, path) from error
    try:
        yield
    finally:
        # Before it is let go: whoever has opened it meanwhile finds that it is another file by then.
        lock.unlink(missing_ok=True)
        os.close(handle)


def _take(lock: Path, path: PathLike) -> int:
    import fcntl

    while True:
        handle = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(handle)
            os.close(handle)
            raise ConfigError(
                f"Another run{owner} is writing '{os.fspath(path)}': wait for it, stop it, or choose another name."
            ) from None
        except OSError:
            pass  # some network file systems know no locks
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(lock)):
                break
        os.close(handle)
    os.ftruncate(handle, 0)
    os.write(handle, json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode())
    return handle


def _owner(handle: int) -> str:
    try:
        owner = json.loads(os.pread(handle, 4096, 0))
        return f" (process {int(owner['process'])} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
