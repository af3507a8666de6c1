"""Where fits keep what they can go on from: checkpoints, and folders of tiles. Knows neither Qt nor napari."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_emgauss._errors import EmgaussError

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig
    from napari_emgauss.plugin.process._request import FitRequest

FOLDER_VARIABLE = "NAPARI_EMGAUSS_UNFINISHED"
KEPT = 5
"""Unfinished fits kept at least; older ones go after a day."""
_DAY_S = 86_400.0

_LONGEST_HEADER = 100 << 20
CHECKPOINT_FORMAT = "napari-emgauss-checkpoint"
"""As checkpoints say of themselves; the window does not load what writes them, which needs torch."""
_CHECKPOINT = re.compile(r"[0-9a-f]{16}\.checkpoint\.safetensors")
_TILES = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}\.emgauss")


@dataclass(frozen=True)
class SavedFit:
    """An unfinished fit of some stack.

    Parameters
    ----------
    fraction : float
        Share that is done.
    age_s : float
        Since it was saved.
    iteration : int
        Iterations done; 0 for tiles.
    prior : float
        Share of the prior that is learned, before the first iteration.
    tiles : tuple of int or None
        Finished tiles, and all; None for a fit in one piece.
    preset : str
        Its settings, for people; empty where they are not known.
    """

    fraction: float
    age_s: float
    iteration: int = 0
    prior: float = 1.0
    tiles: tuple[int, int] | None = None
    preset: str = ""

    def sentence(self) -> str:
        """For people."""
        from ._fit_state import duration

        done = f"{100 * self.fraction:.0f} % done" if self.iteration else f"its prior {100 * self.prior:.0f} % learned"
        if self.tiles is not None:
            done = f"{self.tiles[0]} of {self.tiles[1]} tiles done"
        settings = f" ({self.preset})" if self.preset else ""
        return f"A fit of this stack{settings} was stopped {duration(self.age_s)} ago with {done}: it can be resumed."


def store_folder() -> Path:
    """The folder of unfinished fits: in the user's own data, or where ``NAPARI_EMGAUSS_UNFINISHED`` says."""
    from platformdirs import user_data_dir

    folder = Path(os.environ.get(FOLDER_VARIABLE) or Path(user_data_dir("napari-emgauss")) / "unfinished")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def checkpoint_path(request: FitRequest) -> Path:
    """Where the fit of this stack keeps its state."""
    return store_folder() / f"{_key(request)}.checkpoint.safetensors"


def tiles_path(request: FitRequest) -> Path:
    """The folder of this stack's tiles, for these settings."""
    settings = json.dumps([request.preset, dict(request.overrides), request.tiles], sort_keys=True, default=str)
    return store_folder() / f"{_key(request)}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}.emgauss"


def saved_fit(request: FitRequest) -> SavedFit | None:
    """What there is to go on from; None where there is nothing. Quick: reads a header."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, struct.error):
        if request.tiles is not None:
            return _saved_tiles(tiles_path(request))
        return _saved_checkpoint(checkpoint_path(request), request.shape[0])
    return None


def result_path(request: FitRequest) -> Path:
    """Where a result goes that the temporary folder cannot take."""
    return store_folder() / f"{_key(request)}.result.emgauss.safetensors"


def keep_result(path: str | Path, request: FitRequest) -> Path | None:
    """Put a result out of the temporary folder, which goes with napari; None where that is not possible."""
    from napari_emgauss._files import whole

    source = Path(path)
    if source.is_dir():  # tiles are kept where they were fitted
        return source
    try:
        target = result_path(request)
        with whole(target) as part:
            shutil.copyfile(source, part)
    except (EmgaussError, OSError):
        return None
    return target


def forget(request: FitRequest) -> None:
    """Remove what there is to go on from: the user starts anew."""
    with contextlib.suppress(OSError):
        _remove(checkpoint_path(request) if request.tiles is None else tiles_path(request))


def tidy() -> None:
    """Remove all unfinished fits but the last few, and those of today: a layer may show them.

    What else lies in the folder is not ours and stays.
    """
    with contextlib.suppress(OSError):
        ours = [
            path for path in store_folder().iterdir() if _CHECKPOINT.fullmatch(path.name) or _TILES.fullmatch(path.name)
        ]
        ours.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in (path for path in ours[KEPT:] if _age(path) > _DAY_S):
            _remove(path)


def _remove(path: Path) -> None:
    """Delete a checkpoint, or the files of a folder of tiles, where its content proves that it is one of ours."""
    if path.is_symlink():
        return
    if path.is_dir():
        from napari_emgauss.tiles import owned_tiles

        owned = owned_tiles(path)
        if owned is not None:
            with contextlib.suppress(EmgaussError):
                owned.clear()
    elif path.is_file() and header_of(path).get("format") == CHECKPOINT_FORMAT:
        path.unlink()


def header_of(path: Path) -> dict[str, Any]:
    """What a file of ours says of itself; empty for other files."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if not 2 <= length <= _LONGEST_HEADER:
                return {}
            header = json.loads(json.loads(file.read(length))["__metadata__"]["emgauss"])
    except (OSError, ValueError, KeyError, TypeError, struct.error, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def _key(request: FitRequest) -> str:
    """The same for the same part of the same stack, whatever the settings."""
    told: dict[str, Any] = {
        field: getattr(request, field)
        for field in ("source", "voxel_size_nm", "region", "slices", "skip", "masked", "layer_shape")
    }
    if request.source is None:
        told["name"] = request.name
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _saved_checkpoint(path: Path, slices: int) -> SavedFit | None:
    header = header_of(path) if path.is_file() else {}
    if header.get("format") != CHECKPOINT_FORMAT:
        return None
    config = _config_in(header)
    iteration = int(header["state"]["iteration"])
    total = config.total_iterations(slices)
    learned = float(header["state"].get("prior_fraction", 1.0))
    return SavedFit(min(1.0, iteration / total), _age(path), iteration, prior=learned, preset=_preset_of(config))


def saved_config(request: FitRequest) -> FitConfig | None:
    """Settings of the unfinished fit in one piece; None where there is none."""
    with contextlib.suppress(EmgaussError, KeyError, TypeError, AttributeError):
        return _config_in(header_of(checkpoint_path(request)))
    return None


def _config_in(header: Mapping[str, Any]) -> FitConfig:
    from napari_emgauss.fitting import FitConfig

    names = {field.name for field in dataclasses.fields(FitConfig)}
    return FitConfig(**{name: value for name, value in header["config"].items() if name in names})


def _preset_of(config: FitConfig) -> str:
    """The preset that settings come from, whatever the device; with changes the nearest one, which is said."""
    from napari_emgauss.fitting import preset, preset_names

    def changes(name: str) -> int:
        theirs, ours = preset(name).to_dict(), config.to_dict()
        return sum(value != theirs[key] for key, value in ours.items() if key != "device")

    nearest = min(preset_names(), key=changes)
    return f"preset {nearest}" + (" with changed settings" if changes(nearest) else "")


def _saved_tiles(folder: Path) -> SavedFit | None:
    from napari_emgauss.tiles import is_tiled, read_index

    if not is_tiled(folder):
        return None
    index = read_index(folder)
    done, every = len(index.tiles), len(index.plan)
    return SavedFit(done / every, _age(folder), tiles=(done, every)) if done else None


def _age(path: Path) -> float:
    return max(0.0, time.time() - path.stat().st_mtime)
