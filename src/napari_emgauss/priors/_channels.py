"""A prior on a stack of several channels: one after the other, guesses put together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.priors._protocol import Interpolator, Observation, Prior, PseudoLabel, prepare_from
from napari_emgauss.priors._state import PriorState


def prepare_channels(
    prior: Prior,
    images: NDArray[np.float32],
    z_nm: NDArray[np.float64],
    pixel_size_nm: tuple[float, float],
    *,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    state: PriorState | None = None,
) -> Interpolator:
    """Prepare a prior on ``(K, H, W)`` slices, or on each channel of ``(K, C, H, W)`` ones.

    Stains show different structures, so every channel is prepared by itself; guesses of several channels are
    ``(C, H, W)``.

    Parameters
    ----------
    prior : Prior
    images : ndarray
        Unit range.
    z_nm, pixel_size_nm
        As of `Observation`.
    seed, on_progress
        As of `Prior.prepare`.
    state : PriorState, optional
        Gone on from, and left what a `ResumablePrior` has learned; each channel has a part of it.
    """
    state = PriorState() if state is None else state
    if images.ndim == 3:
        return prepare_from(prior, state, Observation(images, z_nm, pixel_size_nm), seed, on_progress)
    count = images.shape[1]
    progress = Progress(on_progress)
    parts: list[Interpolator] = []
    for channel in range(count):
        part = progress.part(channel / count, (channel + 1) / count, f"channel {channel + 1} of {count}")
        alone = Observation(np.ascontiguousarray(images[:, channel]), z_nm, pixel_size_nm)
        parts.append(prepare_from(prior, state.part(f"channel {channel}"), alone, seed, part))
    return ChannelInterpolator(parts)


class ChannelInterpolator:
    """One interpolator a channel, ``parts``; ``report`` holds what each tells of itself."""

    def __init__(self, parts: list[Interpolator]) -> None:
        self.parts = parts
        self.report: dict[str, Any] = {"channels": [dict(getattr(part, "report", {})) for part in parts]}

    def at(self, z_nm: float) -> PseudoLabel:
        """``(C, H, W)`` guess and confidence; see `Interpolator.at`."""
        labels = [part.at(z_nm) for part in self.parts]
        image = np.stack([label.image for label in labels])
        if all(label.confidence is None for label in labels):
            return PseudoLabel(image)
        confidences = [np.ones_like(label.image) if label.confidence is None else label.confidence for label in labels]
        return PseudoLabel(image, np.stack(confidences))
