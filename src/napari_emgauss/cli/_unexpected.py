"""What nobody foresaw, told in one sentence; the rest goes to a log that can be sent with a report."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path


def told(error: Exception, command: str, argv: Sequence[str]) -> str:
    """One sentence about an error, which names the log that has the rest.

    Parameters
    ----------
    error : Exception
        What happened.
    command : str
        Of ``emgauss``.
    argv : sequence of str
        As typed.
    """
    text = " ".join(str(error).split())
    about = f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
    if isinstance(error, MemoryError):
        what = f"there is not enough memory ({about}); fit in tiles (--memory), or choose a smaller part"
    elif isinstance(error, OSError) and error.strerror:
        where = f" ('{str(error.filename)[:200]}')" if error.filename else ""
        what = f"the operating system reported: {error.strerror}{where}"
    else:
        what = f"an unexpected error occurred ({about})"
    log = write_log(error, argv)
    kept = f"The details are in '{log}': attach it when you report this." if log else "No log could be written."
    return f"emgauss {command}: {what}. {kept}"


def write_log(error: Exception, argv: Sequence[str]) -> Path | None:
    """Write what happened to a file of its own; None where that is not possible anywhere."""
    lines = [
        f"emgauss {' '.join(argv)}",
        f"napari-emgauss {_version()}, Python {platform.python_version()}, {platform.platform()}",
        f"in {_working_folder()}",
        "",
        *traceback.format_exception(error),
    ]
    name = f"emgauss-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in _folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write("\n".join(lines))
            return path
    return None


def _folders() -> Iterator[Path]:
    with contextlib.suppress(Exception):
        from platformdirs import user_log_dir

        yield Path(user_log_dir("napari-emgauss", appauthor=False))
    yield Path(tempfile.gettempdir())


def _version() -> str:
    with contextlib.suppress(Exception):
        from napari_emgauss import __version__

        return str(__version__)
    return "of unknown version"


def _working_folder() -> str:
    with contextlib.suppress(OSError):
        return os.getcwd()
    return "a folder that is gone"


def argv_of_process() -> list[str]:
    """Arguments without the program's name."""
    return sys.argv[1:]
