"""Copying the folder of a tiled model, whole or not at all. Loads no tile, and no torch."""

from __future__ import annotations

import shutil
from pathlib import Path

from napari_emgauss._errors import ExportError, ModelFileError
from napari_emgauss._files import whole_folder
from napari_emgauss._paths import PathLike

from ._index import TILES_NAME, TileIndex, check_tile, is_tile_file, read_index, write_index


def copy_tiles(folder: PathLike, target: PathLike, index: TileIndex | None = None) -> None:
    """Copy a folder of tiles: what its index names, and nothing else.

    Parameters
    ----------
    folder, target : path
        From, and to.
    index : TileIndex, optional
        Of the tiles to copy; by default those that are there now.

    Raises
    ------
    ModelFileError
        ``target`` already exists, or cannot be written; or ``folder`` is damaged.
    """
    source = Path(folder)
    index = read_index(source) if index is None else index
    try:
        with whole_folder(target, is_tile_file) as new:
            (new / TILES_NAME).mkdir()
            for tile in index.plan:
                if tile.name in index.tiles:
                    found = check_tile(source, tile, index.tiles[tile.name])
                    shutil.copyfile(found, new / TILES_NAME / found.name)
            write_index(new, index)
    except ExportError as error:
        raise ModelFileError(error.problem, remedy=error.remedy) from error
