"""What makes two runs on one folder the same run: the stack, the settings and the cuts."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from napari_emgauss._errors import ConfigError, ModelFileError
from napari_emgauss.fitting import FitConfig, preset
from napari_emgauss.priors import Prior
from napari_emgauss.stack import OwnSlices, Stack, record_own_slices
from napari_emgauss.volume import Provenance

from ._index import TileIndex
from ._plan import TileSize, cut
from ._shared_prior import learns


def index_of(
    stack: Stack,
    config: FitConfig | None,
    size: TileSize | None,
    prior: Prior | None,
    saved: TileIndex | None,
    folder: Path,
    *,
    threads_per_tile: int,
    share_prior: bool,
) -> TileIndex:
    """The index to start from: a new one, or that of the folder if it is of the same run."""
    from napari_emgauss import __version__

    if saved is not None:
        config = _saved_config(saved, folder) if config is None else config
        size = saved.plan.size if size is None else size
    config = preset("default") if config is None else config
    plan = cut(stack.shape, stack.z_nm, TileSize() if size is None else size)
    provenance = Provenance(
        name=stack.name,
        source=stack.source,
        stack=stack.record,
        stack_id=stack_id(stack),
        own_slices=OwnSlices() if saved is not None else record_own_slices(stack),
        fit=config.to_dict(),
        threads_per_tile=threads_per_tile,
        shared_prior=prior.name if prior is not None else shared_name(config, share_prior),
        napari_emgauss=__version__,
    )
    wanted = TileIndex(plan, stack.z_nm, stack.pixel_size_nm, stack.normalisation, provenance.to_json())
    if saved is None:
        return wanted
    check_same_run(saved, wanted, folder)
    return saved


def check_same_run(saved: TileIndex, wanted: TileIndex, folder: Path) -> None:
    """Refuse a folder whose tiles would differ from those that are wanted."""
    known = Provenance.from_json(saved.provenance)
    if known.stack_id != Provenance.from_json(wanted.provenance).stack_id:
        raise ConfigError(
            f"'{folder}' holds tiles of another stack ({known.name}), or the stack has changed: choose another folder."
        )

    def settings(index: TileIndex) -> dict[str, Any]:
        about = Provenance.from_json(index.provenance)
        shared = {"threads_per_tile": about.threads_per_tile, "shared_prior": about.shared_prior}
        return {**about.fit, **index.plan.to_dict()["size"], **shared}

    before, after = settings(saved), settings(wanted)
    # Where a tile is fitted does not say what it is.
    differing = [name for name in after if before.get(name) != after[name] and name != "device"]
    if differing:
        told = ", ".join(f"{name} {before.get(name)!r}, not {after[name]!r}" for name in differing)
        raise ConfigError(
            f"'{folder}' was started with other settings ({told}): use the same ones, or choose another folder."
        )


def shared_name(config: FitConfig, share_prior: bool) -> str | None:
    """Name of the prior that is learned once for all tiles; None where each has its own."""
    return config.prior if share_prior and learns(config) else None


def _saved_config(saved: TileIndex, folder: Path) -> FitConfig:
    try:
        return FitConfig.from_dict(saved.provenance["fit"])
    except (KeyError, TypeError, ConfigError) as error:
        raise ModelFileError(f"The settings in '{folder}' cannot be used by this napari-emgauss: {error}") from error


def stack_id(stack: Stack) -> str:
    """A short text that changes with the stack: of its geometry, and of its first, middle and last slice."""
    normalisation = stack.normalisation
    geometry = [
        *stack.shape,
        *stack.z_nm.tolist(),
        *stack.pixel_size_nm,
        normalisation.low,
        normalisation.high,
        normalisation.dtype,
    ]
    check = zlib.crc32(json.dumps(geometry).encode())
    for k in sorted({0, stack.shape[0] // 2, stack.shape[0] - 1}):
        check = zlib.crc32(np.ascontiguousarray(stack.slices[k]).tobytes(), check)
    return f"{check:08x}"
