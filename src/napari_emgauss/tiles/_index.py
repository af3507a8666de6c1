"""The folder of a tiled model: a JSON index, and one safetensors file per tile.

The index is written anew, under a temporary name that is then renamed, after every tile; a tile is in it only when its
file lies whole under its final name. What is not in the index does not exist.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError, ModelFileError
from napari_emgauss.model import check_geometry, check_grey_values, parse_json, write_bytes
from napari_emgauss.stack import Normalisation

from ._plan import Tile, TilePlan, check_plan

INDEX_NAME = "index.json"
TILES_NAME = "tiles"
FORMAT = "napari-emgauss-tiles"
FORMAT_VERSION = 1
LONGEST_INDEX = 40 << 20
"""Bytes of an index: that of the most tiles there may be."""


@dataclass(frozen=True)
class TileRecord:
    """A finished tile: its file's SHA-256 and length in bytes, and its number of Gaussians."""

    sha256: str
    nbytes: int
    gaussians: int


@dataclass(frozen=True)
class TileIndex:
    """What ``index.json`` holds.

    Parameters
    ----------
    plan : TilePlan
        All tiles, finished or not.
    z_nm : ndarray
        ``(K,)`` depths of the slices of the whole volume.
    pixel_size_nm : tuple of float
        ``(y, x)``.
    normalisation : Normalisation
        The same for all tiles.
    provenance : dict
        Source, settings and versions; JSON-compatible. Holds no times: the same run writes the same bytes.
    tiles : dict
        Record of each finished tile by name.
    """

    plan: TilePlan
    z_nm: NDArray[np.float64]
    pixel_size_nm: tuple[float, float]
    normalisation: Normalisation
    provenance: dict[str, Any]
    tiles: dict[str, TileRecord] = field(default_factory=dict)

    @property
    def missing_count(self) -> int:
        """How many tiles are not finished."""
        return len(self.plan) - len(self.tiles)

    @property
    def missing(self) -> list[Tile]:
        """Tiles that are not finished."""
        return [tile for tile in self.plan if tile.name not in self.tiles]

    def with_tile(self, tile: Tile, record: TileRecord) -> TileIndex:
        """The index after one more tile."""
        return replace(self, tiles={**self.tiles, tile.name: record})

    def to_json(self) -> str:
        """As written to the file; finished tiles are in the plan's order, whichever was finished first."""
        normalisation = self.normalisation
        values = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "z_nm": [float(z) for z in self.z_nm],
            "pixel_size_nm": list(self.pixel_size_nm),
            "normalisation": {"low": normalisation.low, "high": normalisation.high, "dtype": normalisation.dtype},
            "plan": self.plan.to_dict(),
            "provenance": self.provenance,
            "tiles": {name: vars(self.tiles[name]) for name in sorted(self.tiles)},
        }
        return json.dumps(values, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: Path) -> TileIndex:
        """From :meth:`to_json`; ``where`` is for messages."""
        try:
            values = parse_json(text, LONGEST_INDEX)
            if values["format"] != FORMAT:
                raise ModelFileError(f"'{where}' is not a tiled EMGauss model but {str(values['format'])[:60]!r}.")
            version = values["format_version"]
            if not isinstance(version, int) or version > FORMAT_VERSION:
                raise ModelFileError(
                    f"'{where}' was written by a newer napari-emgauss (format {str(version)[:20]}, this one reads up "
                    f"to {FORMAT_VERSION}); update napari-emgauss."
                )
            z_nm, _ = check_geometry({**values, "shape": values["plan"]["shape"]})
            check_grey_values(values["normalisation"], 1)
            y_nm, x_nm = values["pixel_size_nm"]
            plan = TilePlan.from_dict(values["plan"])
            check_plan(plan, z_nm)
            return cls(
                plan,
                z_nm,
                (float(y_nm), float(x_nm)),
                Normalisation(**values["normalisation"]),
                values["provenance"],
                {_name_in(plan, name): _record(record) for name, record in values["tiles"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ConfigError) as error:
            if isinstance(error, ModelFileError):
                raise
            raise ModelFileError(f"'{where}' is damaged: it is not the index of a tiled EMGauss model.") from error


def _name_in(plan: TilePlan, name: str) -> str:
    """A tile's name, if the plan has such a tile."""
    found = re.fullmatch(r"z([0-9]{4,})_y([0-9]{4,})_x([0-9]{4,})", name)
    place = [] if found is None else [int(number) for number in found.groups()]
    if len(place) != 3 or any(k >= count for k, count in zip(place, plan.grid, strict=True)):
        raise ValueError("A tile is not in the plan.")
    if plan.tile(place).name != name:
        raise ValueError("A tile has the wrong name.")
    return name


def _record(values: dict[str, Any]) -> TileRecord:
    if re.fullmatch("[0-9a-f]{64}", values["sha256"]) is None:
        raise ValueError("A checksum is not valid.")
    if any(type(values[name]) is not int or values[name] < 1 for name in ("nbytes", "gaussians")):
        raise ValueError("A length or a number of Gaussians is not valid.")
    return TileRecord(**values)


def is_tiled(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is the folder of a tiled model, finished or not."""
    return (Path(path) / INDEX_NAME).is_file()


def is_tile_file(path: PurePosixPath) -> bool:
    """Whether a path within a tiled model's folder is one of the model: its index, or a tile by its name."""
    if len(path.parts) == 1:
        return path.name == INDEX_NAME
    return path.parts[:-1] == (TILES_NAME,) and re.fullmatch(r"z\d+_y\d+_x\d+\.safetensors", path.name) is not None


def tile_path(folder: Path, tile: Tile) -> Path:
    """Where a tile's file lies."""
    return folder / TILES_NAME / f"{tile.name}.safetensors"


def read_index(folder: str | os.PathLike[str]) -> TileIndex:
    """Read the index of a folder.

    Raises
    ------
    ModelFileError
        There is none, or it is damaged or of a newer version.
    """
    path = Path(folder) / INDEX_NAME
    try:
        if path.is_file() and path.stat().st_size > LONGEST_INDEX:
            raise ModelFileError(f"'{path}' is damaged: it is longer than any index of a tiled EMGauss model.")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ModelFileError(f"'{Path(folder)}' is not a tiled EMGauss model: it has no {INDEX_NAME}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"'{path}' cannot be read: {error}.") from error
    return TileIndex.from_json(text, path)


def write_index(folder: Path, index: TileIndex) -> None:
    """Write the index, whole or not at all."""
    write_bytes(folder / INDEX_NAME, index.to_json().encode())


def write_tile(folder: Path, tile: Tile, data: bytes, gaussians: int) -> TileRecord:
    """Write a tile's file, whole or not at all, and say what the index should remember of it."""
    (folder / TILES_NAME).mkdir(exist_ok=True)
    write_bytes(tile_path(folder, tile), data)
    return TileRecord(hashlib.sha256(data).hexdigest(), len(data), gaussians)


def check_tile(folder: Path, tile: Tile, record: TileRecord) -> Path:
    """The path of a tile's file, after making sure that it is the one that was written.

    Raises
    ------
    ModelFileError
        It is missing or was changed.
    """
    path = tile_path(folder, tile)
    advice = "delete it and run the fit again, which redoes only this tile"
    try:
        if path.stat().st_size != record.nbytes:
            raise ModelFileError(f"'{path}' was cut short or changed: {advice}.")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise ModelFileError(f"'{path}' is missing: run the fit again, which redoes only this tile.") from None
    except OSError as error:
        raise ModelFileError(f"'{path}' cannot be read: {error}.") from error
    if digest != record.sha256:
        raise ModelFileError(f"'{path}' was changed since it was written: {advice}.")
    return path
