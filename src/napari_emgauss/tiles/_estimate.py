"""What a fit of tiles will take, before it starts: memory, disk and time.

The constants were measured by ``python benchmarks/calibrate.py fit`` (its result names the machine). Memory follows
from the sizes of what a fit holds and is much the same everywhere; time is told for that machine unless the speed of
this one is measured (:mod:`._slowness`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.fitting import FitConfig
from napari_emgauss.priors import FIT_ONLY, PriorCost, cost_of_prior

from ._plan import TilePlan
from ._shared_prior import learns, sample_shape


@dataclass(frozen=True)
class Slowness:
    """Time that a machine takes over that of the machine that all estimates are for.

    Parameters
    ----------
    iteration : float
        For an iteration of the fit, and for all else that no network does.
    training : float
        For a step of a prior's training.
    inferring : float
        For what a prior's networks infer.
    """

    iteration: float = 1.0
    training: float = 1.0
    inferring: float = 1.0


BASE_BYTES = 460 * 10**6
"""A Python process with torch, numba and the compiled kernels."""
CARD_BYTES = 600 * 10**6
"""What CUDA and its libraries take of a graphics card; assumed, not measured."""
COORDINATOR_BYTES = 450 * 10**6
"""The process that hands out tiles and writes them, beside the workers."""
MODEL_COPIES = 5.5
"""Student, teacher, the model to look at, gradients, and two moments of Adam; not all at once."""
BYTES_PER_VOXEL = 45.0
"""Slices as float32 and in the source's type, and what a prior keeps of them. Of a tile of 24 slices of 544² pixels
(``python benchmarks/tiles.py memory``): the small stacks of ``calibrate.py`` tell too little, 26."""
BYTES_PER_PIXEL = 430.0
"""Of one slice: images of a loss and its gradient, flow between two slices."""

TEXTURE_BYTES = 280 * 10**6
"""Of the blocks that a fit in one piece measures its texture on, and of their spectra; small stacks have fewer."""
_AS_MEASURED = Slowness()

SECONDS_PER_ITERATION = 6.3e-3
SECONDS_PER_ITERATION_AND_PIXEL = 2.2e-7
SECONDS_PER_ITERATION_AND_GAUSSIAN = 8.4e-7
"""Of an iteration on one core, in the middle of a fit of 200 iterations."""
LATER = 1.2
"""Time of an iteration over that: Gaussians spread in the first 700, and more of them then cover a pixel."""
SECONDS_PER_NETWORK_GAUSSIAN = 8.2e-5
"""For each Gaussian and depth, of the field ``mlp`` as it is in the paper: 8 layers of 256."""
STARTING_S = 6.0
"""From the start of the command to its first step and from the last to its end, on any machine: torch is loaded, and
finds out how to convolve; kernels are read; the model is written."""


@dataclass(frozen=True)
class Work:
    """What a fit consists of, in seconds of one core of the machine that the constants are from.

    Parameters
    ----------
    learning_s : float
        To train a prior, and those among which it is chosen, at most.
    inferring_s : float
        For all that the prior infers, to be chosen and for the fit: the networks' part.
    iterations_s : float
        For the iterations of the fit.
    choosing_s : float
        To choose a prior: the rest.
    interpolating_s : float
        For all that the prior infers for the fit: the rest.
    spared_s : float
        Of the training, where more of it would not pay.
    """

    learning_s: float
    inferring_s: float
    iterations_s: float
    choosing_s: float = 0.0
    interpolating_s: float = 0.0
    spared_s: float = 0.0

    @property
    def prior_s(self) -> float:
        """For the prior in all."""
        return self.learning_s + self.inferring_s + self.choosing_s + self.interpolating_s

    def seconds(self, slowness: Slowness, *, early: bool = False) -> float:
        """On a machine that is slower by so much; ``early`` where the training ends as soon as it may."""
        others = self.choosing_s + self.interpolating_s + self.iterations_s
        learning_s = self.learning_s - (self.spared_s if early else 0.0)
        networks = slowness.training * learning_s + slowness.inferring * self.inferring_s
        return networks + slowness.iteration * others


@dataclass(frozen=True)
class Estimate:
    """What a plan will take.

    Parameters
    ----------
    tiles : int
        Number of tiles.
    grid : tuple of int
        Of these along z, y, x.
    tile_shape : tuple of int
        Slices, rows and columns of the largest, with halo and overlap.
    overhead : float
        Voxels fitted over voxels of the volume.
    memory_bytes : int
        Peak of all processes on this machine together.
    tile_memory_bytes : int
        Of it the process that fits one tile.
    disk_bytes : int
        The finished folder, at most.
    isotropic_bytes : int
        The isotropic volume that it renders, uncompressed.
    tile_seconds : float
        Fit of the largest tile.
    prior_seconds : float
        What is learned for all tiles, before the first, at most; 0 where each tile has a prior of its own.
    seconds : float
        The whole run, at most.
    least_seconds : float
        The same where the prior's training ends as soon as it may; as ``seconds`` where it cannot.
    """

    tiles: int
    grid: tuple[int, int, int]
    tile_shape: tuple[int, int, int]
    overhead: float
    memory_bytes: int
    tile_memory_bytes: int
    disk_bytes: int
    isotropic_bytes: int
    tile_seconds: float
    prior_seconds: float
    seconds: float
    least_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**vars(self), "grid": list(self.grid), "tile_shape": list(self.tile_shape)}


def estimate(
    plan: TilePlan,
    z_nm: NDArray[np.float64] | Sequence[float],
    pixel_size_nm: tuple[float, float],
    config: FitConfig,
    *,
    dtype: str = "uint8",
    workers: int | None = None,
    slowness: Slowness = _AS_MEASURED,
    learning_slowness: Slowness | None = None,
    share_prior: bool = True,
) -> Estimate:
    """What fitting the tiles of a plan takes.

    Parameters
    ----------
    plan : TilePlan
    z_nm, pixel_size_nm
        Of the volume.
    config : FitConfig
        Settings of every tile's fit.
    dtype : str
        Of the source's grey values, and so of the isotropic volume.
    workers : int or None
        Processes that fit tiles at once, each on cores of its own, beside the one that hands them out; None: that one
        fits them itself, one after another.
    slowness : Slowness
        Of this machine, with as many threads as fit one tile; see :func:`measure_slowness`.
    learning_slowness : Slowness, optional
        The same of all its cores, which learn the prior that tiles share; as ``slowness``, if not given.
    share_prior : bool
        Whether a prior that learns does so once for all tiles.
    """
    z = np.asarray(z_nm, dtype=np.float64)
    config = settled_config(config, z, pixel_size_nm)
    _, height, width = plan.shape
    seconds = least = disk = 0.0
    # Tiles of one size cost the same; there are few sizes.
    for window in plan.slices:
        for (rows, columns), count in _sizes(plan).items():
            shape = (len(window), rows, columns)
            depths = z[window.start : window.stop]
            work = tile_work(shape, depths, pixel_size_nm, config, share_prior=share_prior)
            seconds += count * work.seconds(slowness)
            least += count * work.seconds(slowness, early=True)
            disk += count * model_bytes(shape, config)
    largest = plan.largest
    inside = z[largest.slices.start : largest.slices.stop]
    memory = tile_memory_bytes(largest.shape, inside, pixel_size_nm, config)
    spacing = float(np.mean(pixel_size_nm))
    isotropic = (round((z[-1] - z[0]) / spacing) + 1) * height * width * np.dtype(dtype).itemsize
    at_once = max(1, min(workers or 1, len(plan)))
    learning = least_learning = 0.0
    if share_prior and learns(config):
        middle = plan.slices[len(plan.slices) // 2]
        work = learning_work(sample_shape((len(middle), height, width)), config)
        all_cores = slowness if learning_slowness is None else learning_slowness
        learning, least_learning = work.seconds(all_cores), work.seconds(all_cores, early=True)
    # Workers finish in rounds; the last round may leave some idle.
    rounds = math.ceil(len(plan) / at_once) * at_once / len(plan)
    return Estimate(
        len(plan),
        plan.grid,
        largest.shape,
        plan.overhead,
        memory * at_once + (0 if workers is None else COORDINATOR_BYTES),
        memory,
        round(disk),
        int(isotropic),
        tile_work(largest.shape, inside, pixel_size_nm, config, share_prior=share_prior).seconds(slowness),
        learning,
        learning + seconds / at_once * rounds,
        least_learning + least / at_once * rounds,
    )


def tile_memory_bytes(
    shape: tuple[int, int, int],
    z_nm: NDArray[np.float64] | Sequence[float],
    pixel_size_nm: tuple[float, float],
    config: FitConfig,
) -> int:
    """Peak of a process that fits a tile of ``shape`` (K, H, W), bytes."""
    config = settled_config(config, z_nm, pixel_size_nm)
    slices, rows, columns = shape
    label_pixels = rows * columns * label_count(np.asarray(z_nm)[:slices], pixel_size_nm, config)
    prior = prior_cost(config)
    return round(
        BASE_BYTES
        + MODEL_COPIES * model_bytes(shape, config)
        + BYTES_PER_VOXEL * slices * rows * columns
        + BYTES_PER_PIXEL * len(config.slice_thickness.weights) * rows * columns
        + min(4 * label_pixels, config.label_memory_mb * 2**20)  # images and confidences, two bytes each
        + prior.learning_bytes
        + prior.label_pixel_bytes * label_pixels
    )


def whole_memory_bytes(
    shape: tuple[int, int, int],
    z_nm: NDArray[np.float64] | Sequence[float],
    pixel_size_nm: tuple[float, float],
    config: FitConfig,
) -> int:
    """Peak of a process that fits a stack of ``shape`` (K, H, W) in one piece, bytes.

    Unlike that of a tile, such a fit ends with a look at the texture.
    """
    return tile_memory_bytes(shape, z_nm, pixel_size_nm, config) + TEXTURE_BYTES


def card_memory_bytes(
    shape: tuple[int, int, int],
    z_nm: NDArray[np.float64] | Sequence[float],
    pixel_size_nm: tuple[float, float],
    config: FitConfig,
) -> int:
    """Of a graphics card that fits a tile of ``shape`` (K, H, W), bytes.

    What a fit holds there are the same tensors as on a CPU; they are counted with the constants measured there.
    """
    config = settled_config(config, z_nm, pixel_size_nm)
    slices, rows, columns = shape
    label_pixels = rows * columns * label_count(np.asarray(z_nm)[:slices], pixel_size_nm, config)
    return round(
        CARD_BYTES
        + MODEL_COPIES * model_bytes(shape, config)
        + 4 * slices * rows * columns
        + BYTES_PER_PIXEL * len(config.slice_thickness.weights) * rows * columns
        # Labels and their confidence as float32, where the card keeps them.
        + min(8 * label_pixels, config.label_memory_mb * 2**20)
    )


def tile_work(
    shape: tuple[int, int, int],
    z_nm: NDArray[np.float64],
    pixel_size_nm: tuple[float, float],
    config: FitConfig,
    *,
    share_prior: bool = True,
) -> Work:
    """What the fit of a tile, or of a whole stack, of ``shape`` (K, H, W) consists of.

    With ``share_prior`` a prior that learns has done so before.
    """
    config = settled_config(config, z_nm, pixel_size_nm)
    slices, rows, columns = shape
    labels = label_count(z_nm, pixel_size_nm, config)
    own = Work(0.0, 0.0, 0.0) if share_prior and learns(config) else learning_work(shape, config)
    cost = prior_cost(config)
    pixels = rows * columns
    return replace(
        own,
        inferring_s=own.inferring_s
        + (cost.network_label_pixel_s * labels + cost.network_gap_pixel_s * (slices - 1)) * pixels,
        interpolating_s=cost.label_pixel_s * labels * pixels,
        iterations_s=LATER * config.total_iterations(slices) * iteration_seconds(shape, config),
    )


def iteration_seconds(shape: tuple[int, int, int], config: FitConfig) -> float:
    """Time of one of the first iterations of a tile of ``shape`` (K, H, W)."""
    _, rows, columns = shape
    of_gaussian = SECONDS_PER_ITERATION_AND_GAUSSIAN
    if config.field == "mlp":
        of_gaussian += SECONDS_PER_NETWORK_GAUSSIAN * config.mlp_layers * config.mlp_width**2 / (8 * 256**2)
    once = SECONDS_PER_ITERATION_AND_PIXEL * rows * columns + of_gaussian * gaussians(rows, columns, config)
    return SECONDS_PER_ITERATION + config.depths_per_iteration * len(config.slice_thickness.weights) * once


def learning_work(shape: tuple[int, int, int], config: FitConfig) -> Work:
    """What it takes to choose and train the prior that the settings name on a stack of ``shape`` (K, H, W).

    Nothing for priors that learn nothing.
    """
    cost = prior_cost(config)
    slices, rows, columns = shape
    gaps = max(0, min(slices, cost.trial_slices) - 1)
    piece = gaps * min(rows, cost.trial_pixels) * min(columns, cost.trial_pixels)
    inferring_s = cost.network_trial_gap_pixel_s * piece
    choosing_s = cost.trial_gap_pixel_s * piece
    return Work(cost.learning_s, inferring_s, 0.0, choosing_s=choosing_s, spared_s=cost.spared_s)


def prior_cost(config: FitConfig) -> PriorCost:
    """What the prior that the settings name takes."""
    return cost_of_prior(config.prior) if config.teacher_student else PriorCost()


def gaussians(rows: int, columns: int, config: FitConfig) -> int:
    """Most Gaussians in one cloud of a tile."""
    start = max(16, min(config.max_gaussians, round(rows * columns / config.pixels_per_gaussian)))
    return min(config.max_gaussians, round(start * config.growth))


def model_bytes(shape: tuple[int, int, int], config: FitConfig) -> int:
    """Parameters of a tile's model at most, bytes: also the size of its file. Of settled settings, see `FitConfig`."""
    return _model_bytes(shape, gaussians(shape[1], shape[2], config), config)


def settled_config(
    config: FitConfig, z_nm: NDArray[np.float64] | Sequence[float], pixel_size_nm: tuple[float, float]
) -> FitConfig:
    """Settings with nothing left open for slices at ``z_nm``, see `FitConfig.for_stack`."""
    return config.for_stack(len(z_nm), float(np.median(np.diff(z_nm)) / np.mean(pixel_size_nm)))


@cache
def _model_bytes(shape: tuple[int, int, int], count: int, config: FitConfig) -> int:
    import torch

    from napari_emgauss.model import GaussianModel

    # On the device "meta" tensors have a shape and no content.
    with torch.device("meta"):
        model = GaussianModel(config.model_config(), np.linspace(0.0, 1.0, shape[0]), shape[1:], count)
    return sum(parameter.nbytes for parameter in model.parameters())


def label_count(
    z_nm: NDArray[np.float64] | Sequence[float], pixel_size_nm: tuple[float, float], config: FitConfig
) -> int:
    """Pseudo-labels that a prior makes for a tile."""
    from napari_emgauss.fitting import label_depths

    if config.prior == FIT_ONLY or not config.teacher_student:
        return 0
    depths = label_depths(np.asarray(z_nm, dtype=np.float64), float(np.mean(pixel_size_nm)), config.labels_per_gap)
    return len(depths.z_nm)


def _sizes(plan: TilePlan) -> dict[tuple[int, int], int]:
    """How many rectangles of each size there are in one depth window."""
    found: dict[tuple[int, int], int] = {}
    for rows in plan.rows:
        for columns in plan.columns:
            key = (len(rows), len(columns))
            found[key] = found.get(key, 0) + 1
    return found
