"""Reconstruct what was taken out of an isotropic volume, with each method, and score it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss._fsim import Features, image_features
from napari_emgauss._metrics import Scores, compare, mean_scores
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.stack import Stack

from ._memory import PeakMemory
from ._methods import check_methods, expected_work, reconstruct
from ._result import DistanceScores, EvaluationResult, MethodResult
from ._thin import Sampling, Thinned, read_volume, thin

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig

# FSIM's maps of the truth take most of its time and are the same for every method; kept up to this much memory.
KEPT_FEATURES_BYTES = 512 * 2**20


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
    scorer = _Scorer(thinned)
    results: dict[str, MethodResult] = {}
    for name in names:
        share = expected_work(name) / (expected_work(name) + 10)
        with PeakMemory() as memory:
            started = time.perf_counter()
            images, about = reconstruct(name, thinned.stack, thinned.z_nm, settings, shares[name].part(0.0, share))
            seconds = time.perf_counter() - started
        results[name] = scorer.score(
            name,
            images,
            shares[name].part(share, 1.0),
            seconds=seconds,
            peak_memory_mb=memory.peak_mb,
            peak_gpu_memory_mb=memory.gpu_peak_mb,
            about=about,
        )
        if on_result is not None:
            on_result(results[name])
    for name, values in given.items():
        if np.shape(values) != thinned.truth.shape:
            raise ConfigError(
                f"The reconstruction '{name}' has shape {np.shape(values)}, but the truth between the first and "
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


def _settings(config: FitConfig | str | None) -> FitConfig | None:
    if not isinstance(config, str):
        return config
    from napari_emgauss.fitting import preset

    return preset(config)


class _Scorer:
    """Compares reconstructions with one truth, view by view."""

    def __init__(self, thinned: Thinned) -> None:
        self._thinned = thinned
        self._features: dict[tuple[str, int], Features] = {}
        self._features_bytes = 0
        depth, height, width = thinned.truth.shape
        dropped = np.flatnonzero(thinned.dropped)
        # The middle of the stack's middle gap: where all methods are worst, and where people look.
        farthest = dropped[thinned.distance[dropped] == thinned.distance[dropped].max()]
        middle = int(farthest[np.abs(farthest - depth / 2).argmin()])
        self.positions = {"xy": middle, "xz": height // 2, "yz": width // 2}

    def planes(self, volume: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The planes that figures show."""
        return {view: _plane(volume, view, index).copy() for view, index in self.positions.items()}

    def score(self, name: str, images: NDArray[np.float32], progress: Progress, **more: Any) -> MethodResult:
        """All scores of one reconstruction."""
        _, height, width = self._thinned.truth.shape
        dropped = [int(i) for i in np.flatnonzero(self._thinned.dropped)]
        planes = {"xy": dropped, "xz": list(range(height)), "yz": list(range(width))}
        total = sum(len(indices) for indices in planes.values())
        done = 0
        scores: dict[str, list[Scores]] = {view: [] for view in planes}
        for view, indices in planes.items():
            for index in indices:
                truth = _plane(self._thinned.truth, view, index)
                features = self._truth_features(view, index, truth)
                scores[view].append(compare(_plane(images, view, index), truth, truth_features=features))
                done += 1
                progress.tell(done / total, "scoring")
        return MethodResult(
            method=name,
            xy=mean_scores(scores["xy"]),
            xz=mean_scores(scores["xz"]),
            yz=mean_scores(scores["yz"]),
            by_distance=self._by_distance(scores["xy"], dropped),
            planes=self.planes(images),
            **more,
        )

    def _by_distance(self, scores: list[Scores], dropped: list[int]) -> tuple[DistanceScores, ...]:
        distances = self._thinned.distance[dropped]
        grouped = {
            float(distance): [one for one, there in zip(scores, distances, strict=True) if there == distance]
            for distance in np.unique(distances)
        }
        return tuple(DistanceScores(distance, len(group), mean_scores(group)) for distance, group in grouped.items())

    def _truth_features(self, view: str, index: int, truth: NDArray[np.float32]) -> Features:
        known = self._features.get((view, index))
        if known is not None:
            return known
        features = image_features(truth)
        size = features.phase_congruency.nbytes + features.gradient.nbytes
        if self._features_bytes + size <= KEPT_FEATURES_BYTES:
            self._features[view, index] = features
            self._features_bytes += size
        return features


def _plane(volume: NDArray[np.float32], view: str, index: int) -> NDArray[np.float32]:
    """One plane of a ``(z, y, x)`` volume."""
    if view == "xy":
        return volume[index]
    return volume[:, index, :] if view == "xz" else volume[:, :, index]
