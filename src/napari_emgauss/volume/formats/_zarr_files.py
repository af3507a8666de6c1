"""Which files of an OME-Zarr folder are those that an export wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from napari_emgauss._owned_folder import OwnedFolder

WRITTEN_BY = "napari-emgauss"
_LARGEST_METADATA = 64 << 20
_GROUP_FILES = (".zgroup", ".zattrs", "zarr.json")
_ARRAY_FILES = (".zarray", ".zattrs", "zarr.json")


def owned_zarr(folder: Path) -> OwnedFolder | None:
    """What is ours in an OME-Zarr that an export wrote; None if none did.

    The multiscales' metadata say who wrote the folder, and which arrays; the arrays' metadata say by which names their
    chunks go. Nothing else is ours: no labels that were added, no text beside the data.
    """
    multiscale = _multiscale(folder)
    if multiscale is None:
        return None
    levels: dict[str, tuple[int, ...]] = {}
    for dataset in multiscale.get("datasets", ()):
        name = dataset.get("path") if isinstance(dataset, dict) else None
        grid = _chunk_grid(folder / name) if isinstance(name, str) and name.isascii() and name.isdigit() else None
        if isinstance(name, str) and grid is not None:
            levels[name] = grid

    def owns(path: PurePosixPath) -> bool:
        first, *rest = path.parts
        if not rest:
            return first in _GROUP_FILES
        if first not in levels:
            return False
        if len(rest) == 1 and rest[0] in _ARRAY_FILES:
            return True
        places = rest[1:] if rest[0] == "c" else rest
        grid = levels[first]
        return len(places) == len(grid) and all(
            re.fullmatch("0|[1-9][0-9]*", place) is not None and int(place) < count
            for place, count in zip(places, grid, strict=True)
        )

    def tells(path: PurePosixPath) -> bool:
        return path.name in (*_GROUP_FILES, *_ARRAY_FILES)

    return OwnedFolder(folder, owns, tells)


def _multiscale(folder: Path) -> dict[str, Any] | None:
    """The only multiscale, if it says that we wrote it."""
    for attributes in _attributes(folder):
        found = attributes.get("ome", attributes)
        found = found.get("multiscales") if isinstance(found, dict) else None
        if isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict):
            about = found[0].get("metadata")
            if isinstance(about, dict) and about.get("reconstructed_by") == WRITTEN_BY:
                return dict(found[0])
    return None


def _attributes(folder: Path) -> Iterator[dict[str, Any]]:
    yield read_metadata(folder / ".zattrs")
    newer = read_metadata(folder / "zarr.json").get("attributes")
    yield newer if isinstance(newer, dict) else {}


def _chunk_grid(array: Path) -> tuple[int, ...] | None:
    """Numbers of chunks along each axis; None where that cannot be told."""
    older, newer = read_metadata(array / ".zarray"), read_metadata(array / "zarr.json")
    try:
        shape = older["shape"] if older else newer["shape"]
        chunks = older["chunks"] if older else newer["chunk_grid"]["configuration"]["chunk_shape"]
        return tuple(-(-int(size) // int(chunk)) for size, chunk in zip(shape, chunks, strict=True))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def read_metadata(path: Path) -> dict[str, Any]:
    """A small file of JSON; empty where there is none, or no such thing in it."""
    try:
        if path.is_symlink() or path.stat().st_size > _LARGEST_METADATA:
            return {}
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
