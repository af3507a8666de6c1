"""How long a fit will take and what memory it needs. Knows neither Qt nor napari.

Rough at first; every fit that ends on this machine corrects it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._fit_state import duration

if TYPE_CHECKING:
    from napari_emgauss.fit import FitConfig

SECONDS_PER_MEGAPIXEL_ITERATION = {"cpu": 0.45, "cuda": 0.02, "mps": 0.2}
"""Seconds an iteration takes per million pixels (on top of :data:`SECONDS_PER_ITERATION`), before any measurement."""

SECONDS_PER_ITERATION = {"cpu": 0.012, "cuda": 0.006, "mps": 0.02}

PROCESS_BYTES = 900 << 20
"""What torch and a renderer take before the first slice."""

BYTES_PER_VOXEL = 18
"""Slices in float32, pseudo-labels, and copies on the way."""


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes; ``seconds`` is None where the device is not known."""

    seconds: float | None
    bytes_needed: int

    def sentence(self, available_bytes: int | None = None) -> str:
        """For people; says when the memory will not do."""
        memory = f"{self.bytes_needed / 2**30:.1f} GB memory"
        time = "" if self.seconds is None else f"about {duration(self.seconds)}, "
        if available_bytes is not None and self.bytes_needed > available_bytes:
            return f"{time}{memory}, but only {available_bytes / 2**30:.1f} GB are free: choose a smaller region."
        return f"{time}{memory}"


def estimate(config: FitConfig, shape: tuple[int, int, int], device: str) -> Estimate:
    """Seconds and bytes for a stack of ``shape`` (slices, rows, columns)."""
    depth, height, width = shape
    kind = device.partition(":")[0]
    voxels = depth * height * width
    needed = PROCESS_BYTES + BYTES_PER_VOXEL * voxels
    if kind not in SECONDS_PER_ITERATION:
        return Estimate(None, needed)
    iteration = SECONDS_PER_ITERATION[kind] + SECONDS_PER_MEGAPIXEL_ITERATION[kind] * height * width / 1e6
    seconds = config.total_iterations(depth) * config.depths_per_iteration * iteration
    return Estimate(seconds * _correction(kind), needed)


def record_fit(config_seconds: float, real_seconds: float, device: str) -> None:
    """Remember how a finished fit compared with its estimate (``config_seconds``, uncorrected)."""
    if config_seconds <= 0 or real_seconds < 5:
        return  # too short to say anything
    kind = device.partition(":")[0]
    known = _read()
    before = known.get(kind)
    ratio = real_seconds / config_seconds
    known[kind] = ratio if before is None else 0.5 * (before + ratio)
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(known))
        os.replace(partial, path)
    except OSError:
        return  # an estimate that stays rough is no reason to bother anybody


def uncorrected_seconds(config: FitConfig, shape: tuple[int, int, int], device: str) -> float:
    """The estimate before what this machine taught."""
    kind = device.partition(":")[0]
    guess = estimate(config, shape, device).seconds
    return 0.0 if guess is None else guess / _correction(kind)


def available_bytes() -> int | None:
    """Free memory; None where it cannot be known."""
    try:
        import psutil
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def _correction(kind: str) -> float:
    return float(_read().get(kind, 1.0))


def _read() -> dict[str, Any]:
    try:
        known = json.loads(_path().read_text())
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in known.items() if isinstance(v, int | float) and v > 0} if isinstance(known, dict) else {}


def _path() -> Path:
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("napari-emgauss")) / "speed.json"
