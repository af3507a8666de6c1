"""Compares reconstructions of one volume with its truth, view by view."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._fsim import Features, image_features
from napari_emgauss._metrics import Scores, mean_scores
from napari_emgauss._progress import Progress

from ._intervals import psnr_over_slices
from ._metric_rows import Estimates, ImageMetric, estimates, measure_image, scores_in
from ._resolution import Resolution, RingSums, resolution_of, ring_sums
from ._result import DistanceScores, MethodResult
from ._thin import Thinned

# FSIM's maps of the truth take most of its time and are the same for every method; kept up to this much memory.
KEPT_FEATURES_BYTES = 512 * 2**20
Values = dict[str, float | None]


class Scorer:
    """Compares reconstructions with one truth.

    Parameters
    ----------
    thinned : Thinned
        The truth, and which slices were dropped.
    lpips : callable, optional
        Measures LPIPS of two images, where its weights were given.
    """

    def __init__(self, thinned: Thinned, lpips: ImageMetric | None = None) -> None:
        self._thinned, self._lpips = thinned, lpips
        self._features: dict[tuple[str, int], Features] = {}
        self._features_bytes = 0
        depth, height, width = thinned.truth.shape
        self._dropped = [int(i) for i in np.flatnonzero(thinned.dropped)]
        # The middle of the stack's middle gap: where all methods are worst, and where people look.
        farthest = [i for i in self._dropped if thinned.distance[i] == thinned.distance[self._dropped].max()]
        middle = min(farthest, key=lambda i: abs(i - depth / 2))
        self.positions = {"xy": middle, "xz": height // 2, "yz": width // 2}

    def planes(self, volume: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The planes that figures show."""
        return {view: _plane(volume, view, index).copy() for view, index in self.positions.items()}

    def score(self, name: str, images: NDArray[np.float32], progress: Progress, **more: Any) -> MethodResult:
        """All scores of one reconstruction."""
        _, height, width = self._thinned.truth.shape
        planes = {"xy": self._dropped, "xz": list(range(height)), "yz": list(range(width))}
        total = sum(len(indices) for indices in planes.values())
        done = 0
        found: dict[str, list[Values]] = {view: [] for view in planes}
        rings: dict[str, list[RingSums | None]] = {"xy": [], "along_z": [], "in_plane": []}
        for view, indices in planes.items():
            for index in indices:
                truth, image = _plane(self._thinned.truth, view, index), _plane(images, view, index)
                features = self._truth_features(view, index, truth)
                found[view].append(measure_image(image, truth, truth_features=features, lpips=self._lpips))
                self._correlate(rings, view, image, truth)
                done += 1
                progress.tell(done / total, "scoring")
        scores = {view: [scores_in(one) for one in values] for view, values in found.items()}
        return MethodResult(
            method=name,
            xy=mean_scores(scores["xy"]),
            xz=mean_scores(scores["xz"]),
            yz=mean_scores(scores["yz"]),
            by_distance=self._by_distance(scores["xy"], rings["xy"]),
            planes=self.planes(images),
            metrics=self._estimates(found, images),
            resolution=_resolutions(rings),
            **more,
        )

    def _estimates(self, found: dict[str, list[Values]], images: NDArray[np.float32]) -> Estimates:
        kept_z_nm = self._thinned.stack.z_nm
        # A kept slice goes with the gap behind it, the last one with the gap before.
        gaps = np.minimum(np.searchsorted(kept_z_nm, self._thinned.z_nm, side="right"), len(kept_z_nm) - 1).tolist()
        errors = [
            float(np.mean(np.square(image - truth, dtype=np.float64)))
            for image, truth in zip(images, self._thinned.truth, strict=True)
        ]
        return {
            "xy": estimates(found["xy"], [gaps[i] for i in self._dropped]),
            "xz": estimates(found["xz"]),
            "yz": estimates(found["yz"]),
            "volume": {
                "psnr_3d": psnr_over_slices(errors, gaps),
                "psnr_3d_dropped": psnr_over_slices(
                    [errors[i] for i in self._dropped], [gaps[i] for i in self._dropped]
                ),
            },
        }

    def _correlate(
        self,
        rings: dict[str, list[RingSums | None]],
        view: str,
        image: NDArray[np.float32],
        truth: NDArray[np.float32],
    ) -> None:
        """Ring correlations of one plane: in all directions in xy, along either axis in planes along z."""
        pixel = self._thinned.stack.pixel_size_nm
        if view == "xy":
            rings["xy"].append(ring_sums(image, truth, pixel))
            return
        sizes = (float(np.diff(self._thinned.z_nm[:2])[0]), pixel[1] if view == "xz" else pixel[0])
        # xz and yz planes of one volume have different sides: only those of xz add up.
        if view == "xz":
            rings["along_z"].append(ring_sums(image, truth, sizes, "rows"))
            rings["in_plane"].append(ring_sums(image, truth, sizes, "columns"))

    def _by_distance(self, scores: list[Scores], rings: list[RingSums | None]) -> tuple[DistanceScores, ...]:
        distances = self._thinned.distance[self._dropped]
        groups = {
            float(distance): [k for k, there in enumerate(distances) if there == distance]
            for distance in np.unique(distances)
        }
        return tuple(
            DistanceScores(
                distance,
                len(group),
                mean_scores([scores[k] for k in group]),
                resolution_of([rings[k] for k in group]),
            )
            for distance, group in groups.items()
        )

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


def _resolutions(rings: dict[str, list[RingSums | None]]) -> dict[str, Resolution]:
    """Of each set of planes; without those that are too small to tell."""
    found = {name: resolution_of(sums) for name, sums in rings.items()}
    return {name: one for name, one in found.items() if one is not None}


def _plane(volume: NDArray[np.float32], view: str, index: int) -> NDArray[np.float32]:
    """One plane of a ``(z, y, x)`` volume."""
    if view == "xy":
        return volume[index]
    return volume[:, index, :] if view == "xz" else volume[:, :, index]
