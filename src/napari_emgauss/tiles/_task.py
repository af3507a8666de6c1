"""One tile's fit: what it needs, what it tells, what comes back. Runs in this process or in a worker's."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_emgauss._errors import FitError
from napari_emgauss.fitting import FitConfig, fit
from napari_emgauss.model import fewest_gaussians
from napari_emgauss.priors import Prior
from napari_emgauss.render import EmgaussModel
from napari_emgauss.stack import Stack
from napari_emgauss.volume import Provenance

from ._plan import Tile


@dataclass(frozen=True)
class TileTask:
    """What a worker gets.

    Parameters
    ----------
    tile : Tile
        Which one.
    stack : Stack
        The tile's part of the volume, in memory or read from its file by whoever fits it.
    config : FitConfig
        Settings, with the tile's own seed.
    prior : Prior or None
        Shared by the volume; None where the tile has its own, as the settings say.
    threads : int
        CPU threads to compute with. Sums come out differently with another number, so it is part of the settings.
    """

    tile: Tile
    stack: Stack
    config: FitConfig
    prior: Prior | None
    threads: int


@dataclass(frozen=True)
class TileProgress:
    """How far a tile is: ``fraction`` in [0, 1] of its iterations; ``stage`` as in a fit's messages."""

    name: str
    stage: str
    fraction: float
    loss: float | None


@dataclass(frozen=True)
class TileResult:
    """A finished tile.

    Parameters
    ----------
    data : bytes
        Its model file.
    gaussians : int
        Number of Gaussians.
    seconds : float
        Wall time of the fit.
    cpu_seconds : float
        CPU time of the process meanwhile.
    peak_memory_mb : float or None
        The most memory that the process held so far, where the system tells.
    """

    data: bytes
    gaussians: int
    seconds: float
    cpu_seconds: float
    peak_memory_mb: float | None


def fit_tile(task: TileTask) -> Iterator[TileProgress | TileResult]:
    """Fit one tile: tells how far it is, a few times a second, and last of all what came out.

    Raises
    ------
    StackError, PriorError, FitError
        As :func:`~napari_emgauss.fitting.fit` does.
    """
    started, cpu_started = time.monotonic(), time.process_time()
    model = yield from _fitted(task)
    # Times would make two equal runs differ; they go into the run's log.
    model.provenance = {
        "tile": list(task.tile.index),
        "region": list(task.tile.region),
        "slices": [task.tile.slices.start, task.tile.slices.stop],
        "prior": Provenance.from_json(model.provenance).prior_name,
        "seed": task.config.seed,
    }
    with tempfile.TemporaryDirectory(prefix="emgauss-tile-") as folder:
        path = Path(folder) / "tile.safetensors"
        model.save(path)
        data = path.read_bytes()
    gaussians = model.gaussian_count
    # A fit's tensors refer to each other in circles: left alone, those of the last tile would still be there when the
    # next one needs its own.
    del model
    gc.collect()
    yield TileResult(
        data,
        gaussians,
        time.monotonic() - started,
        time.process_time() - cpu_started,
        peak_memory_mb(),
    )


def _fitted(task: TileTask) -> Generator[TileProgress, None, EmgaussModel]:
    """Tell the progress of a tile's fit; its model is returned."""
    # Read once: whether there is anything to fit is asked first.
    stack = task.stack.in_memory()
    if is_blank(stack):
        return blank_model(stack, task.config)
    model = None
    with (
        pinned_threads(task.threads),
        contextlib.closing(fit(stack, task.config, prior=task.prior, texture=False)) as updates,  # type: ignore[type-var]
    ):
        for update in updates:
            model = update.model if update.finished else None
            share = update.iteration / max(1, update.total_iterations)
            yield TileProgress(task.tile.name, update.stage, share, update.loss)
    if model is None:
        raise FitError(f"The fit of tile {task.tile.name} ended without a model.")
    return model


def is_blank(stack: Stack) -> bool:
    """Whether all grey values are one: the padding around an image that was turned or aligned."""
    first = np.asarray(stack.slices[0, :1, :1]).item()
    return all(bool((np.asarray(stack.slices[k]) == first).all()) for k in range(stack.shape[0]))


def blank_model(stack: Stack, config: FitConfig) -> EmgaussModel:
    """The model of a stack of one grey: Gaussians much larger than it, opaque, one behind the other. Nothing to fit."""
    import torch

    _, height, width = stack.shape
    with torch.random.fork_rng(devices=[]):  # some fields start at random, though their outputs are zero
        torch.manual_seed(config.seed)
        model = EmgaussModel(
            config.for_stack(stack.shape[0], stack.anisotropy_factor).model_config(),
            stack.z_nm,
            stack.pixel_size_nm,
            (height, width),
            stack.normalisation,
            max(4, fewest_gaussians((height, width))),
            device="cpu",
        )
    with torch.no_grad():
        for cloud in model.cloud_list:
            cloud.means.copy_(cloud.means.new_tensor([width / 2, height / 2]).expand_as(cloud.means))
            cloud.log_scales.fill_(math.log(20.0 * max(height, width)))
            cloud.opacity_logits.fill_(8.0)
            cloud.values.fill_(float(stack.unit_slice(0)[0, 0]))
    return model


def tile_task(tile: Tile, stack: Stack, config: FitConfig, prior: Prior | None, threads: int) -> TileTask:
    """The task of one tile of a volume.

    Grey values go along only where nobody else could read them: a stack in files is sent as the way to them.
    """
    part = stack.select(range(tile.slices.start, tile.slices.stop)).crop(tile.region)
    if not getattr(part.slices, "reads_files", False):
        y0, y1, x0, x1 = tile.region
        # As one block: a dask array would compute its chunks anew for every slice.
        block = stack.slices[tile.slices.start : tile.slices.stop, y0:y1, x0:x1]
        part = replace(part, slices=np.ascontiguousarray(block), uncorrected=None)
    return TileTask(tile, part, replace(config, seed=tile.seed(config.seed)), prior, threads)


@contextlib.contextmanager
def pinned_threads(count: int) -> Iterator[None]:
    """Compute with so many CPU threads: sums come out differently with another number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_memory_mb() -> float | None:
    """The most memory this process held so far, in MB (2**20 bytes); None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if os.uname().sysname == "Darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit / 2**20
