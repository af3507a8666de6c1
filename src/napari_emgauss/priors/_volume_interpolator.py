"""Slices at any depth from a volume of in-between slices that was computed beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.priors._error_law import PredictedError
from napari_emgauss.priors._protocol import PseudoLabel
from napari_emgauss.priors.classical._pixelwise import locate_gap


class VolumeInterpolator:
    """Looks up slices in a volume computed beforehand: straight lines between its in-between slices.

    Parameters
    ----------
    images, z_nm : ndarray
        Observed slices ``(K, H, W)`` and their depths (nm).
    between : ndarray
        ``(K-1, nodes, h, w)`` slices in the unit range at even positions in each gap; ``(h, w)`` may differ from
        ``(H, W)`` where pixels were made square.
    confidence : ndarray
        Same shape, in [0, 1].
    report : dict
        JSON-compatible account of how the volume came about.
    keep : object
        Held as long as the volume is needed (a temporary folder).
    predicted_error : PredictedError or None
        What is predicted where the confidence is 1.
    """

    def __init__(
        self,
        images: NDArray[np.float32],
        z_nm: NDArray[np.float64],
        between: NDArray[np.float32],
        confidence: NDArray[np.float32],
        report: dict[str, Any],
        keep: object = None,
        predicted_error: PredictedError | None = None,
    ) -> None:
        self._images = images
        self._z_nm = z_nm
        self._between = between
        self._confidence = confidence
        self.report = report
        self._keep = keep
        self.predicted_error = predicted_error

    def at(self, z_nm: float) -> PseudoLabel:
        """Slice and confidence at a depth; see `Interpolator.at`."""
        gap, lower, part = _place(self._z_nm, z_nm, self._between.shape[1])
        image, confidence = self._node(gap, lower)
        if part > 0:
            next_image, next_confidence = self._node(gap, lower + 1)
            image = (1 - part) * image + part * next_image
            confidence = (1 - part) * confidence + part * next_confidence
        return PseudoLabel(
            np.ascontiguousarray(image, dtype=np.float32), np.ascontiguousarray(confidence, dtype=np.float32)
        )

    def _node(self, gap: int, node: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Slice and confidence at node 0 (observed) ... nodes + 1 (observed) of a gap."""
        nodes = self._between.shape[1]
        if node in (0, nodes + 1):
            image = self._images[gap + (1 if node else 0)]
            return image, np.ones(image.shape, np.float32)
        shape = self._images.shape[1:]
        return resampled(self._between[gap, node - 1], shape), resampled(self._confidence[gap, node - 1], shape)


def nodes_at(z_nm: NDArray[np.float64], depths_nm: NDArray[np.float64], nodes: int) -> tuple[int, ...]:
    """In-between slices, from 0 in any gap, that a `VolumeInterpolator` of so many a gap looks up for these depths."""
    touched = set()
    for depth in depths_nm:
        _, lower, part = _place(z_nm, float(depth), nodes)
        touched |= {lower, lower + 1} if part > 0 else {lower}
    return tuple(sorted(node - 1 for node in touched if 1 <= node <= nodes))


def _place(z_nm: NDArray[np.float64], depth_nm: float, nodes: int) -> tuple[int, int, np.float32]:
    """Gap of a depth, the node at or above it (0: the observed slice), and how much of the next node is mixed in."""
    gap, position = locate_gap(z_nm, depth_nm)
    place = position * (nodes + 1)
    lower = min(int(place + 1e-9), nodes)
    part = np.float32(place - lower)
    return gap, lower, part if part > 1e-6 else np.float32(0)


def resampled(image: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """``image`` on a grid of ``shape`` over the same area (cubic)."""
    if image.shape == tuple(shape):
        return image
    from skimage.transform import resize

    return np.asarray(resize(image, shape, order=3, mode="reflect", anti_aliasing=None), dtype=np.float32)
