"""What a fit will take: time, memory, and tiles where it is too large for memory. Knows neither Qt nor napari.

Memory follows from the sizes of what a fit holds. Time is the work of a fit, in seconds of the machine of our
benchmarks, times how much slower this machine is: measured once by a short trial (:mod:`._speed_child`), and again by
every fit that ends here.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ._wording import sentence

TRIAL_SPREAD = 1.6
"""How far the truth may be from an estimate after the trial alone, as a factor."""
LEARNED_SPREAD = 1.25
"""The same after a whole fit on this machine."""
MEMORY_SHARE = 0.75
"""Of the free memory that a fit may take; napari and the rendered slices want some."""


@dataclass(frozen=True)
class Speed:
    """How much slower this machine is than that of the benchmarks.

    Parameters
    ----------
    iteration : float
        For an iteration of the fit.
    prior : float
        For what the prior learns and computes.
    fits : int
        Whole fits that taught it; 0 after the trial.
    score, export : float
        How much longer a score, and an export, take than follows from that.
    scores, exports : int
        How many of them taught it.
    """

    iteration: float
    prior: float
    fits: int = 0
    score: float = 1.0
    export: float = 1.0
    scores: int = 0
    exports: int = 0


@dataclass(frozen=True)
class Work:
    """What a fit consists of, in seconds of the machine of the benchmarks.

    Parameters
    ----------
    prior_s : float
        Of the prior, at most.
    iterations_s : float
        Of the iterations.
    spared_s : float
        What the prior takes less where a long training does not pay.
    """

    prior_s: float
    iterations_s: float
    spared_s: float = 0.0

    def seconds(self, speed: Speed, *, early: bool = False) -> float:
        """On a machine of some speed; ``early`` where the prior's training ends as soon as it may."""
        prior_s = self.prior_s - (self.spared_s if early else 0.0)
        return speed.prior * prior_s + speed.iteration * self.iterations_s


@dataclass(frozen=True)
class PlanRequest:
    """What is to be fitted, for an estimate.

    Parameters
    ----------
    z_nm : tuple of float
        Depths of the slices.
    height, width : int
        Of the region.
    pixel_size_nm : tuple of float
        ``(y, x)``.
    preset : str
    overrides : mapping
    dtype : str
    available_bytes : int or None
        Free memory, None where it is not known.
    tiles : str
        ``when needed``, ``never`` or ``always``.
    learned : bool
        Whether the prior has learned before.
    purpose : {"fit", "score"}
        What it is an estimate of: a score fits to every second slice.
    """

    z_nm: tuple[float, ...]
    height: int
    width: int
    pixel_size_nm: tuple[float, float]
    preset: str
    overrides: Mapping[str, Any]
    dtype: str
    available_bytes: int | None
    tiles: str = "when needed"
    learned: bool = False
    purpose: Literal["fit", "score"] = "fit"


@dataclass(frozen=True)
class FitPlan:
    """What a fit will take.

    Parameters
    ----------
    work : Work
    memory_bytes : int
        Peak of the fit's process.
    available_bytes : int or None
        Free memory.
    tiles : mapping or None
        Sizes of tiles, as ``TileSize`` takes them; None for a fit in one piece.
    tile_count : int
    grid : tuple of int
        Tiles along z, y, x.
    disk_bytes : int
        Of the finished model.
    problem : str
        Why it cannot be fitted so; empty where it can.
    """

    work: Work
    memory_bytes: int
    available_bytes: int | None
    tiles: Mapping[str, int] | None = None
    tile_count: int = 1
    grid: tuple[int, int, int] = (1, 1, 1)
    disk_bytes: int = 0
    problem: str = ""

    def sentence(self, speed: Speed | None) -> str:
        """For people."""
        if self.problem:
            return self.problem
        memory = f"{self.memory_bytes / 1e9:.1f} GB memory"
        time = "" if speed is None else f"{time_range(self.work, speed)}, "
        if self.tiles is None:
            return f"Estimate: {time}{memory}."
        grid = " × ".join(str(n) for n in self.grid)
        tiles = "one tile" if self.tile_count == 1 else f"{self.tile_count} tiles ({grid} along z, y, x)"
        return f"In {tiles}: {time}{memory}, {self.disk_bytes / 1e9:.2g} GB disk."


def plan_fit(request: PlanRequest) -> FitPlan:
    """What a fit takes, in one piece or in tiles; in the rendering process, for it needs torch.

    Raises
    ------
    ConfigError
        The settings cannot work.
    """
    import numpy as np

    from napari_emgauss._errors import ConfigError
    from napari_emgauss.fitting import preset
    from napari_emgauss.tiles import (
        Slowness,
        estimate,
        model_bytes,
        plan_tiles,
        settled_config,
        tile_work,
        whole_memory_bytes,
    )

    z, pixel = np.asarray(request.z_nm, dtype=np.float64), request.pixel_size_nm
    config = settled_config(preset(request.preset, **request.overrides), z, pixel)
    shape = (len(z), request.height, request.width)
    needed = whole_memory_bytes(shape, z, pixel, config)
    free = request.available_bytes
    fits = free is None or needed <= MEMORY_SHARE * free
    if request.tiles == "never" or (request.tiles == "when needed" and fits):
        whole = tile_work(shape, z, pixel, config, share_prior=request.learned)
        problem = ""
        if not fits and free is not None:
            problem = (
                f"This fit takes about {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free: fit it in "
                "tiles, or choose a smaller region."
            )
        made = Work(whole.prior_s, whole.iterations_s, whole.spared_s)
        return FitPlan(made, needed, free, disk_bytes=model_bytes(shape, config), problem=problem)
    budget = None if free is None else int(MEMORY_SHARE * free)
    try:
        plan = plan_tiles(shape, z, pixel, config, memory_bytes=budget)
    except ConfigError as error:
        return FitPlan(Work(0, 0), needed, free, problem=sentence(error))
    told = estimate(plan, z, pixel, config, dtype=request.dtype)
    iterations = estimate(plan, z, pixel, config, slowness=Slowness(training=0.0, inferring=0.0)).seconds
    return FitPlan(
        Work(told.seconds - iterations, iterations, told.seconds - told.least_seconds),
        told.memory_bytes,
        free,
        tiles=asdict(plan.size),
        tile_count=told.tiles,
        grid=told.grid,
        disk_bytes=told.disk_bytes,
    )


def time_range(work: Work, speed: Speed) -> str:
    """A time that is not known exactly: ``4 to 10 min``."""
    spread = LEARNED_SPREAD if speed.fits else TRIAL_SPREAD
    return spoken_range(work.seconds(speed, early=True) / spread, work.seconds(speed) * spread)


_QUARTERS = {0: "", 1: "¼", 2: "½", 3: "¾"}


def spoken_range(low_s: float, high_s: float) -> str:
    """A range as people say it, in one unit: ``20 to 50 s``, ``4 to 10 min``, ``1 to 1¾ hours``, ``2 to 4 days``."""
    if high_s < 90:
        low, high, unit = f"{_round_to(low_s, 5)}", f"{_round_to(high_s, 5)}", "s"
    elif high_s < 90 * 60:
        low, high, unit = f"{max(1, round(low_s / 60))}", f"{max(1, round(high_s / 60))}", "min"
    elif high_s < 48 * 3600:
        low, high, unit = _in_quarters(low_s / 3600), _in_quarters(high_s / 3600), "hours"
    else:
        low, high, unit = _in_quarters(low_s / 86_400), _in_quarters(high_s / 86_400), "days"
    return f"about {high} {unit}" if low == high else f"{low} to {high} {unit}"


def _round_to(value: float, step: int) -> int:
    return max(step, step * round(value / step))


def _in_quarters(value: float) -> str:
    quarters = max(1, round(4 * value)) if value < 4 else 4 * round(value)
    whole, rest = divmod(quarters, 4)
    return f"{whole or ''}{_QUARTERS[rest]}"


def record_fit(work: Work, prior_s: float, iterations_s: float, device: str) -> None:
    """Remember how long a finished fit took beside its work."""
    if iterations_s < 5 or work.iterations_s <= 0:
        return  # too short to say anything
    before = read_speed(device)
    iteration = iterations_s / work.iterations_s
    prior = before.prior if before is not None else iteration
    if prior_s > 5 and work.prior_s > 0:
        prior = nearest(prior, prior_s / work.prior_s, prior_s / (work.prior_s - work.spared_s))
    if before is not None:
        # One fit on a machine that was busy with something else must not double all later estimates.
        share = LATER_SHARE if before.fits else FIRST_SHARE
        iteration, prior = learned_step(before.iteration, iteration, share), learned_step(before.prior, prior, share)
    known = Speed(iteration, prior) if before is None else before
    write_speed(device, replace(known, iteration=iteration, prior=prior, fits=known.fits + 1))


def nearest(known: float, *measured: float) -> float:
    """Of the slownesses that a time stands for, the one that is nearest to what is known, in proportions.

    Whether a training ended early is not told. The two are farther apart than the speed of a machine varies.
    """
    return min(measured, key=lambda slowness: abs(math.log(slowness / known)))


MOST_LEARNED = 2.0
"""How far from what was known a fit may be to count; beyond it, it counts as if it were so far."""


FIRST_SHARE, LATER_SHARE = 1 / 2, 1 / 3
"""How much of the way from what was known, by the trial or by fits, to what a fit took an estimate goes."""


def learned_step(known: float, measured: float, share: float) -> float:
    """A step from what was known towards what was measured, in proportions."""
    ratio = min(MOST_LEARNED, max(1 / MOST_LEARNED, measured / known))
    return known * ratio**share


def read_speed(device: str) -> Speed | None:
    """What is known of a device's speed."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        known = Speed(**json.loads(_path().read_text())[_kind(device)])
        return known if known.iteration > 0 and known.prior > 0 else None
    return None


def write_speed(device: str, speed: Speed) -> None:
    """Remember the speed of a device; an estimate that stays rough is no reason to bother anybody."""
    path = _path()
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        read = json.loads(path.read_text())
        known = read if isinstance(read, dict) else {}
    known[_kind(device)] = asdict(speed)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(known))
        os.replace(partial, path)


def available_bytes() -> int | None:
    """Free memory; None where it cannot be known."""
    try:
        import psutil
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _path() -> Path:
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("napari-emgauss")) / "speed-3.json"
