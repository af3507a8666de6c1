"""Which files of a folder are those that a fit in tiles wrote."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from napari_emgauss._errors import ModelFileError
from napari_emgauss._owned_folder import OwnedFolder
from napari_emgauss._parts import is_part

from ._index import INDEX_NAME, TILES_NAME, read_index
from ._lock import LOCK_NAME, OWNER_NAME
from ._shared_prior import PRIOR_NAME, UNFINISHED_NAME

LOG_NAME = "log.jsonl"
_BESIDE = (LOCK_NAME, OWNER_NAME, PRIOR_NAME, UNFINISHED_NAME, LOG_NAME)


def owned_tiles(folder: Path) -> OwnedFolder | None:
    """What is ours in the folder of a tiled model; None where no index of ours proves it.

    The index names every tile of the plan, finished or not: no other file in the folder of tiles is ours.
    """
    try:
        grid = read_index(folder).plan.grid
    except ModelFileError:
        return None

    def owns(path: PurePosixPath) -> bool:
        if len(path.parts) == 1:
            return path.name == INDEX_NAME or is_left_at_start(path)
        if path.parts[:-1] != (TILES_NAME,):
            return False
        tile = re.fullmatch(r"z(\d{4,})_y(\d{4,})_x(\d{4,})\.safetensors", path.name)
        if tile is None:
            return is_part(path.name)
        return all(int(place) < count for place, count in zip(tile.groups(), grid, strict=True))

    return OwnedFolder(folder, owns, lambda path: path == PurePosixPath(INDEX_NAME))


def is_left_at_start(path: PurePosixPath) -> bool:
    """Whether a file may be in the folder of a run that was killed before it wrote its index."""
    return len(path.parts) == 1 and (path.name in _BESIDE or is_part(path.name))


def is_of_lock(path: PurePosixPath) -> bool:
    """Whether a file is held by the run that works on the folder."""
    return path.name in (LOCK_NAME, OWNER_NAME)
