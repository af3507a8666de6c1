"""What an evaluation found: numbers by method, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._files import write_text
from napari_emgauss._metrics import Scores

from ._coverage import Coverage, coverage_table
from ._text_table import number_cell, text_table

VIEWS = ("xy", "xz", "yz")


@dataclass(frozen=True)
class DistanceScores:
    """Scores of the dropped slices at one distance (in slices) from the nearest kept one."""

    distance: float
    slices: int
    scores: Scores


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

    def as_dict(self) -> dict[str, Any]:
        """Everything but the planes, as JSON holds it."""
        return {
            **{view: getattr(self, view).as_dict() for view in VIEWS},
            "by_distance": [
                {"distance": one.distance, "slices": one.slices, **one.scores.as_dict()} for one in self.by_distance
            ],
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

    def _distance_table(self) -> str:
        """PSNR by distance from the nearest kept slice."""
        results = list(self.methods.values())
        distances = [one.distance for one in results[0].by_distance] if results else []
        head = ["xy PSNR, slices from a kept one:", *[f"{distance:g}" for distance in distances]]
        rows = [[result.method, *[number_cell(one.scores.psnr, 2) for one in result.by_distance]] for result in results]
        return text_table(head, rows)


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
