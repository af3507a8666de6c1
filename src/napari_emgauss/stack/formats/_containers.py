"""Folders that hold arrays (Zarr, N5): where the container begins, and that nothing in it leads out of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from napari_emgauss._errors import StackError, StackFileError

# Groups lie within each other this deep at most.
_DEEPEST = 12
MOST_FOLDERS = 2000
"""A container of more folders is searched no further: the array has to be named."""


def container_of(path: Path, ending: str, is_part: Callable[[Path], bool]) -> Path:
    """The outermost folder of the container that ``path`` is, or lies in.

    Parameters
    ----------
    path : Path
        A container, or a group or array within one.
    ending : str
        Of a container's name, such as ``".zarr"``.
    is_part : callable
        Whether a folder bears the marks of the format.
    """
    outermost = path = Path(os.path.abspath(path))
    chain = True
    for folder in list(path.parents)[:_DEEPEST]:
        part = is_part(folder)
        chain = chain and part
        if part and (chain or folder.name.lower().endswith(ending)):
            outermost = folder
    return outermost


def checked_name(name: str | int, container: str) -> str:
    """A path within a container, without slashes at its ends.

    Raises
    ------
    StackError
        It leads out of the container: absolute in disguise, an address, or upwards.
    """
    text = str(name).strip().strip("/")
    parts = PurePosixPath(text.replace("\\", "/")).parts
    if ".." in parts or "://" in text or "\0" in text or (parts and parts[0].endswith(":")):
        raise StackError(f"The array {name} does not lie within {container}: nothing outside it is read.")
    return "/".join(parts)


def check_within(file: str | Path, root: str, container: str) -> None:
    """Refuse a file that lies elsewhere once links are followed.

    Parameters
    ----------
    file : str or Path
        It need not exist.
    root : str
        Where everything must lie, with links followed (``os.path.realpath``).
    container : str
        Its name, for the message.

    Raises
    ------
    StackFileError
    """
    real = os.path.realpath(file)
    if real != root and not real.startswith(root.rstrip(os.sep) + os.sep):
        raise StackFileError(
            f"{Path(file).name} in {container} is a link that leads outside it, where nothing is read: "
            "copy what it leads to, or name that file itself."
        )
