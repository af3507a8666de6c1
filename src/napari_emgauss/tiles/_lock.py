"""One run at a time on a folder: a lock that the operating system lets go of when its process dies."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_emgauss._errors import ConfigError

LOCK_NAME = "run.lock"
OWNER_NAME = "run.owner.json"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder.

    A process that was killed holds nothing: its lock is found free, with no clean-up by hand.

    Raises
    ------
    ConfigError
        Another run works on the folder.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    # thread_local=False: a generator may be closed from another thread than the one that started it.
    lock = FileLock(folder / LOCK_NAME, timeout=0, thread_local=False)
    try:
        try:
            lock.acquire()
        except NotImplementedError:  # some network file systems know no such locks
            lock = SoftFileLock(folder / LOCK_NAME, timeout=0, thread_local=False)
            lock.acquire()
    except Timeout:
        raise ConfigError(
            f"Another run{_owner(folder)} is working on '{folder}': wait for it, stop it, or choose another folder."
        ) from None
    owner = folder / OWNER_NAME
    try:
        owner.write_text(json.dumps({"process": os.getpid(), "host": socket.gethostname()}), encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _owner(folder: Path) -> str:
    try:
        owner = json.loads((folder / OWNER_NAME).read_text(encoding="utf-8"))
        return f" (process {owner['process']} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
