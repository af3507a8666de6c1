"""Links of HDF5 files: followed within the file's own folder, refused where they lead out of it.

HDF5 follows links by itself, to any file that the user may read: an external link, a virtual dataset or external raw
data turn ``/etc/passwd`` into pixels. So paths are walked part by part here, and what is opened is an array in a file
that is known to lie in the folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_emgauss._errors import StackError, StackFileError

from ._containers import check_within
from ._tree import Candidate

_MOST_HOPS = 32
_MOST_OBJECTS = 20_000


@dataclass(frozen=True)
class Place:
    """An array by the file that holds it and its path there, all links followed.

    Parameters
    ----------
    file : Path
    name : str
    """

    file: Path
    name: str


def place_of(path: Path, name: str, folder: str, *, hops: int = 0) -> Place | None:
    """Where a path within a file leads; None where there is nothing.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        Path within.
    folder : str
        Which everything must lie in, with links followed.

    Raises
    ------
    StackFileError
        It leads out of the folder, to a file that is missing, or in circles.
    """
    import h5py

    with h5py.File(path, "r") as file:
        current: Any = file
        trail: list[str] = []
        waiting = [part for part in name.split("/") if part not in ("", ".")][::-1]
        while waiting:
            part = waiting.pop()
            if not isinstance(current, h5py.Group) or not current.id.links.exists(part.encode()):
                return None
            link = current.get(part, getlink=True)
            if isinstance(link, (h5py.SoftLink, h5py.ExternalLink)):
                hops += 1
                if hops > _MOST_HOPS:
                    raise StackFileError(f"{path.name} is damaged: the links at {name} go in circles.")
            if isinstance(link, h5py.ExternalLink):
                other = neighbour(path, link.filename, folder)
                return place_of(other, "/".join([link.path, *reversed(waiting)]), folder, hops=hops)
            if isinstance(link, h5py.SoftLink):
                if link.path.startswith("/"):
                    current, trail = file, []
                waiting += [part for part in link.path.split("/") if part not in ("", ".")][::-1]
                continue
            current = current[part]
            trail.append(part)
        return Place(path, "/".join(trail))


def neighbour(path: Path, name: str, folder: str) -> Path:
    """Another file that a file names.

    Raises
    ------
    StackFileError
        It lies elsewhere, or is missing.
    """
    other = path.parent / os.fsdecode(name)
    check_within(other, folder, path.name)
    if not other.is_file():
        raise StackFileError(f"{path.name} takes its values from {other.name}, which is missing.")
    return other


def arrays_of(path: Path, folder: str) -> list[Candidate]:
    """Every array of a file, those behind links within the folder included; each once.

    Raises
    ------
    StackError
        There are too many to look through.
    """
    import h5py

    found: list[Candidate] = []
    seen: set[Any] = set()

    def visit(group: Any, prefix: str) -> Iterator[Candidate]:
        links: list[str] = []
        for part in sorted(group):
            name = f"{prefix}/{part}".lstrip("/")
            if not isinstance(group.get(part, getlink=True), h5py.HardLink):
                links.append(name)
                continue
            item = group[part]
            key = h5py.h5o.get_info(item.id)
            if (key.fileno, key.addr) in seen:
                continue
            seen.add((key.fileno, key.addr))
            if len(seen) > _MOST_OBJECTS:
                raise StackError(f"{path.name} holds too many arrays to search: name the one you want.")
            if isinstance(item, h5py.Group):
                yield from visit(item, name)
            elif isinstance(item, h5py.Dataset) and item.shape is not None:
                yield Candidate(name, tuple(item.shape), np.dtype(item.dtype))
        for name in links:
            yield from _behind(path, name, folder, seen)

    with h5py.File(path, "r") as file:
        found += visit(file, "")
    return found


def _behind(path: Path, name: str, folder: str, seen: set[Any]) -> Iterator[Candidate]:
    """The array behind a link, if there is one that may be read and was not seen already."""
    import h5py

    try:
        place = place_of(path, name, folder)
    except StackFileError:
        return  # told where it is asked for
    if place is None:
        return
    with h5py.File(place.file, "r") as file:
        item = file[place.name] if place.name else file
        key = (str(place.file), h5py.h5o.get_info(item.id).addr)
        known = place.file == path and any(key[1] == one[1] for one in seen)
        if isinstance(item, h5py.Dataset) and item.shape is not None and not known and key not in seen:
            seen.add(key)
            yield Candidate(name, tuple(item.shape), np.dtype(item.dtype))


def check_storage(place: Place, folder: str, *, depth: int = 0) -> None:
    """Refuse an array that keeps its values outside of the folder, or in files that are missing.

    Raises
    ------
    StackFileError
    """
    import h5py

    if depth > _MOST_HOPS:
        raise StackFileError(f"{place.file.name} is damaged: its virtual arrays go in circles.")
    sources: list[tuple[str, str]] = []
    with h5py.File(place.file, "r") as file:
        dataset = file[place.name]
        creation = dataset.id.get_create_plist()
        for index in range(creation.get_external_count()):
            neighbour(place.file, os.fsdecode(creation.get_external(index)[0]), folder)
        if creation.get_layout() == h5py.h5d.VIRTUAL:
            sources = sorted({(one.file_name, one.dset_name) for one in dataset.virtual_sources()})
    for file_name, name in sources:
        if "%" in file_name or "%" in name:
            raise StackFileError(
                f"{place.file.name} takes its values from a series of files ({file_name}), which is not supported."
            )
        other = place.file if file_name == "." else neighbour(place.file, file_name, folder)
        source = place_of(other, name, folder)
        if source is None:
            raise StackFileError(f"{place.file.name} takes its values from {name} in {other.name}, which is missing.")
        check_storage(source, folder, depth=depth + 1)
