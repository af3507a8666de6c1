"""What an evaluation found: numbers by method, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._files import write_text
from napari_emgauss._metrics import Scores

from ._coverage import Coverage, coverage_table
from ._metric_rows import METRICS, Estimates
from ._resolution import CRITERIA, Resolution
from ._text_table import number_cell, text_table

VIEWS = ("xy", "xz", "yz")


@dataclass(frozen=True)
class DistanceScores:
    """Scores of the dropped slices at one distance (in slices) from the nearest kept one."""

    distance: float
    slices: int
    scores: Scores
    resolution: Resolution | None = None

    def as_dict(self) -> dict[str, Any]:
        """The numbers, as JSON holds them."""
        resolution = {} if self.resolution is None else {"resolution": self.resolution.as_dict()}
        return {"distance": self.distance, "slices": self.slices, **self.scores.as_dict(), **resolution}


@dataclass(frozen=True)
class MethodResult:
    """Scores of one method.

    Parameters
    ----------
    method : str
        Its name.
    xy : Scores
        Mean over dropped slices.
    xz, yz : Scores
        Mean over whole planes along z, kept slices included.
    by_distance : tuple of DistanceScores
        The dropped slices, by how far they were from a kept one.
    seconds : float or None
        Wall-clock time to reconstruct; None where the reconstruction was given.
    peak_memory_mb, peak_gpu_memory_mb : float or None
        Highest memory of the process, and on the GPU, meanwhile.
    about : dict
        What the method says of itself.
    planes : dict
        One plane per view, ``(rows, columns)`` float32 in the unit range, for figures.
    coverage : Coverage or None
        Whether the method's error bars hold on the dropped slices; distances in slices. None where it has none.
    metrics : mapping
        Every metric as a mean over planes with its 95 % interval: by ``xy`` (dropped slices), ``xz``, ``yz`` and
        ``volume``, then by the metric's name.
    resolution : mapping
        Fourier ring correlation with the truth: ``xy`` of dropped slices in all directions; ``along_z`` and
        ``in_plane`` of whole xz planes, kept slices included, within 30° of either axis.
    """

    method: str
    xy: Scores
    xz: Scores
    yz: Scores
    by_distance: tuple[DistanceScores, ...]
    seconds: float | None = None
    peak_memory_mb: float | None = None
    peak_gpu_memory_mb: float | None = None
    about: dict[str, Any] = field(default_factory=dict)
    planes: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    coverage: Coverage | None = None
    metrics: Estimates = field(default_factory=dict, repr=False)
    resolution: Mapping[str, Resolution] = field(default_factory=dict, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the planes, as JSON holds it."""
        return {
            **{view: getattr(self, view).as_dict() for view in VIEWS},
            "metrics": estimates_as_dict(self.metrics),
            "resolution": {name: one.as_dict() for name, one in self.resolution.items()},
            "by_distance": [one.as_dict() for one in self.by_distance],
            "seconds": self.seconds,
            "peak_memory_mb": self.peak_memory_mb,
            "peak_gpu_memory_mb": self.peak_gpu_memory_mb,
            **({"coverage": self.coverage.as_dict()} if self.coverage is not None else {}),
            **({"about": self.about} if self.about else {}),
        }


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of several methods on one volume.

    Parameters
    ----------
    volume : str
        Its name.
    factor, sampling, axis, shape, kept
        How it was thinned: one slice in ``factor`` of the axis; ``shape`` of the truth between the first and the last
        of the ``kept`` slices.
    methods : dict
        Results by method, in the order in which they ran.
    truth_planes : dict
        The truth where the methods' planes were taken.
    plane_positions : dict
        Where that is: index of the plane by view.
    """

    volume: str
    factor: int
    sampling: str
    axis: int
    shape: tuple[int, int, int]
    kept: int
    methods: dict[str, MethodResult]
    truth_planes: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    plane_positions: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the planes."""
        return {
            "volume": self.volume,
            "factor": self.factor,
            "sampling": self.sampling,
            "axis": self.axis,
            "shape": list(self.shape),
            "kept": self.kept,
            "methods": {name: result.as_dict() for name, result in self.methods.items()},
        }

    def write_json(self, path: str | Path) -> None:
        """Write :meth:`as_dict`, whole or not at all; infinity becomes the text ``"inf"``."""
        write_json(path, self.as_dict())

    def table(self) -> str:
        """The scores as text, one method a line."""
        head = ["method", *[name for view in VIEWS for name in (f"{view} PSNR", "SSIM", "FSIM")], "seconds", "MB"]
        rows = [
            [
                name,
                *[cell for view in VIEWS for cell in score_cells(getattr(result, view))],
                number_cell(result.seconds, 1),
                number_cell(result.peak_memory_mb, 0),
            ]
            for name, result in self.methods.items()
        ]
        title = (
            f"{self.volume} ×{self.factor} ({self.sampling} samples): {self.kept} slices kept, "
            f"{' × '.join(map(str, self.shape))} voxels scored"
        )
        held = coverage_table({name: result.coverage for name, result in self.methods.items()})
        told = [f"{title}\n{text_table(head, rows)}", self._distance_table(), *([held] if held else [])]
        return "\n\n".join(told)

    def details(self) -> str:
        """Every metric with its interval, and the resolution, as text."""
        return "\n\n".join([*self._interval_tables(), self._resolution_table()])

    def _interval_tables(self) -> list[str]:
        """Every metric with its interval, one table a view."""
        titles = {"xy": "dropped slices (xy)", "xz": "xz planes", "yz": "yz planes", "volume": "all voxels together"}
        results = {name: one.metrics for name, one in self.methods.items()}
        tables = [
            estimates_table(f"{title}: mean ± half of its 95 % interval", results, of) for of, title in titles.items()
        ]
        return [table for table in tables if table]

    def _resolution_table(self) -> str:
        """Resolution by distance, along z and in plane."""
        distances = [one.distance for one in next(iter(self.methods.values())).by_distance] if self.methods else []
        head = [
            "resolution (nm) at 1/7; half-bit",
            *[f"{distance:g} away" for distance in distances],
            "along z",
            "in plane",
        ]
        rows = []
        for name, one in self.methods.items():
            curves = [
                *[there.resolution for there in one.by_distance],
                *map(one.resolution.get, ("along_z", "in_plane")),
            ]
            rows.append([name, *["-" if curve is None else resolution_cell(curve) for curve in curves]])
        return text_table(head, rows)

    def _distance_table(self) -> str:
        """PSNR by distance from the nearest kept slice."""
        results = list(self.methods.values())
        distances = [one.distance for one in results[0].by_distance] if results else []
        head = ["xy PSNR, slices from a kept one:", *[f"{distance:g}" for distance in distances]]
        rows = [[result.method, *[number_cell(one.scores.psnr, 2) for one in result.by_distance]] for result in results]
        return text_table(head, rows)


def estimates_as_dict(found: Estimates) -> dict[str, dict[str, Any]]:
    """What was measured, as JSON holds it."""
    return {of: {name: one.as_dict() for name, one in named.items()} for of, named in found.items()}


def estimates_table(title: str, results: Mapping[str, Estimates], of: str) -> str:
    """Metrics of one view, a method a line; empty where none was measured."""
    measured = [name for one in results.values() for name in one.get(of, {})]
    rows = [row for row in METRICS if row.name in measured]
    if not rows:
        return ""
    lines = [
        [name, *[one[of][row.name].text(row.digits) if row.name in one.get(of, {}) else "-" for row in rows]]
        for name, one in results.items()
    ]
    return text_table([title, *[row.label for row in rows]], lines)


def resolution_cell(resolution: Resolution) -> str:
    """Both criteria in nm."""
    return "; ".join(resolution.text(one.name) for one in CRITERIA)


def score_cells(scores: Scores) -> list[str]:
    """PSNR to 0.01 dB, SSIM and FSIM to 0.001."""
    return [number_cell(scores.psnr, 2), number_cell(scores.ssim, 3), number_cell(scores.fsim, 3)]


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as standard JSON, whole or not at all; infinity becomes ``"inf"``.

    Raises
    ------
    ExportError
        The file cannot be written.
    """
    write_text(path, json.dumps(_standard(value), indent=1, allow_nan=False) + "\n")


def _standard(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _standard(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_standard(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
