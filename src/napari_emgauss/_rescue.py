"""Where a result goes whose own place cannot be written: anywhere rather than nowhere."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from napari_emgauss._errors import EmgaussError
from napari_emgauss._parts import short_name
from napari_emgauss._paths import PathLike, same_file


def rescued(path: PathLike, write: Callable[[Path], object]) -> Path | None:
    """Write a result to another place than the one that failed.

    Parameters
    ----------
    path : path
        Where it could not be written.
    write : callable
        Writes it to a path, whole or not at all.

    Returns
    -------
    Path or None
        Where it is: in the working folder, in the user's data folder or among temporary files, under a new name.
        None where nothing takes it.
    """
    name = f"rescued-{secrets.token_hex(4)}-{short_name(Path(path).name)}"
    if not name.endswith(Path(path).suffix):
        name += Path(path).suffix
    for folder in _places():
        if same_file(folder, Path(path).absolute().parent):
            continue
        with contextlib.suppress(OSError, EmgaussError):
            folder.mkdir(parents=True, exist_ok=True)
            write(folder / name)
            return folder / name
    return None


def _places() -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield Path.cwd()
    with contextlib.suppress(Exception):
        from platformdirs import user_data_dir

        yield Path(user_data_dir("napari-emgauss", appauthor=False)) / "rescued"
    yield Path(tempfile.gettempdir())
