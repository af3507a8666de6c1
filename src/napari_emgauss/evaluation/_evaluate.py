"""Reconstruct what was taken out of an isotropic volume, with each method, and score it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.stack import Stack

from ._coverage import Coverage, coverage_of
from ._lpips import Lpips
from ._memory import PeakMemory
from ._methods import Reconstructed, check_methods, expected_work, reconstruction
from ._result import EvaluationResult, MethodResult
from ._scorer import Scorer
from ._thin import Sampling, Thinned, read_volume, thin

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig


def evaluate(
    volume: Stack | str | Path,
    factor: int,
    *,
    methods: Sequence[str] | None = None,
    crop: tuple[int, int, int] | None = None,
    axis: int = 0,
    sampling: Sampling = "point",
    config: FitConfig | str | None = None,
    reconstructions: Mapping[str, NDArray[Any]] | None = None,
    lpips_weights: str | Path | None = None,
    on_progress: OnProgress | None = None,
    on_result: Callable[[MethodResult], None] | None = None,
) -> EvaluationResult:
    """Keep every ``factor``-th slice of an isotropic volume, reconstruct the others and compare with the truth.

    Methods see the kept slices only. In-plane (xy) scores are means over dropped slices between the first and the last
    kept one; xz and yz scores are means over whole planes of the reconstructed volume. Grey values are compared in the
    stack's unit range (8-bit values over 255).

    Parameters
    ----------
    volume : Stack, str or Path
        The truth, isotropic.
    factor : int
        One slice in so many is kept.
    methods : sequence of str, optional
        Names of :func:`method_names`; by default the classical ones and ``emgauss``.
    crop : tuple of int, optional
        Use the first ``(z, y, x)`` voxels only.
    axis : int
        Axis to thin out. Planes are named as if it were z.
    sampling : str
        ``point`` or ``slab``, see :func:`thin`.
    config : FitConfig or str, optional
        Settings or preset of ``emgauss``; preset ``default`` by default.
    reconstructions : mapping, optional
        Volumes reconstructed elsewhere, by name: ``(D, H, W)`` in the source's grey values, one slice for each of the
        truth's from the first to the last kept one.
    lpips_weights : str or Path, optional
        Weights with which LPIPS is measured, too; see :class:`Lpips`.
    on_progress : callable, optional
        Gets :class:`~napari_emgauss.ProgressUpdate`; may raise to stop.
    on_result : callable, optional
        Gets the result of each method as soon as there is one.

    Returns
    -------
    EvaluationResult

    Raises
    ------
    ConfigError, VoxelSizeError, StackError
        See the messages.
    """
    # Given reconstructions alone are scored alone.
    names = () if methods is None and reconstructions else check_methods(methods)
    given = dict(reconstructions or {})
    if isinstance(volume, (str, Path)):
        volume = read_volume(volume)
    thinned = thin(volume, factor, sampling=sampling, axis=axis, crop=crop)
    settings = _settings(config)
    progress = Progress(on_progress)
    shares = progress.shares({**{name: expected_work(name) + 10 for name in names}, **dict.fromkeys(given, 10.0)})
    scorer = Scorer(thinned, None if lpips_weights is None else Lpips(lpips_weights))
    results: dict[str, MethodResult] = {}
    for name in names:
        share = expected_work(name) / (expected_work(name) + 10)
        with PeakMemory() as memory:
            started = time.perf_counter()
            made = reconstruction(name, thinned.stack, thinned.z_nm, settings, shares[name].part(0.0, share))
            seconds = time.perf_counter() - started
        results[name] = scorer.score(
            name,
            made.images,
            shares[name].part(share, 1.0),
            seconds=seconds,
            peak_memory_mb=memory.peak_mb,
            peak_gpu_memory_mb=memory.gpu_peak_mb,
            about=made.about,
            coverage=_coverage(made, thinned),
        )
        if on_result is not None:
            on_result(results[name])
    for name, values in given.items():
        if np.shape(values) != thinned.truth.shape:
            raise ConfigError(
                f"The reconstruction '{name}' has shape {np.shape(values)}, but the truth from the first to "
                f"the last kept slice has {thinned.truth.shape}."
            )
        images = thinned.stack.normalisation.to_unit(np.asarray(values))
        results[name] = scorer.score(name, images, shares[name])
        if on_result is not None:
            on_result(results[name])
    progress.tell(1.0, "done")
    return EvaluationResult(
        volume=volume.name,
        factor=factor,
        sampling=sampling,
        axis=axis,
        shape=thinned.truth.shape,
        kept=thinned.stack.shape[0],
        methods=results,
        truth_planes=scorer.planes(thinned.truth),
        plane_positions=scorer.positions,
    )


def _coverage(made: Reconstructed, thinned: Thinned) -> Coverage | None:
    """Whether error bars hold on dropped slices; of slices that are means of several nobody said that they would."""
    if thinned.sampling != "point":
        return None
    dropped = np.flatnonzero(thinned.dropped)
    grey = thinned.stack.normalisation.ranges[0]
    return coverage_of(
        made, thinned.truth[dropped], made.images[dropped], thinned.z_nm[dropped], thinned.distance[dropped], grey
    )


def _settings(config: FitConfig | str | None) -> FitConfig | None:
    if not isinstance(config, str):
        return config
    from napari_emgauss.fitting import preset

    return preset(config)
