"""Error bars of a fit: of what it learns from a prior, and of how it shows the slices that it was fitted to."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from napari_emgauss.fitting._labels import Labels
from napari_emgauss.model import PLANES_PER_GAP, ErrorBars, block_means, chosen_depths, coarse_size, error_bars
from napari_emgauss.priors import ErrorLaw, Observation, PseudoLabel, confidence_at, locate_gap, place_in_gap
from napari_emgauss.render import EmgaussModel

_SLICES = 8
_GAPS = 6
_SIDE = 192


def label_error_bars(
    labels: Labels,
    laws: tuple[ErrorLaw, ...],
    images: NDArray[np.float32],
    z_nm: NDArray[np.float64],
    pixel_size_nm: tuple[float, float],
) -> ErrorBars:
    """Error bars of the labels: what the prior's confidence says by the law of its errors.

    Parameters
    ----------
    labels : Labels
        What the fit learns from.
    laws : tuple of ErrorLaw
        One for each channel.
    images : ndarray
        ``(K, H, W)`` or ``(K, C, H, W)`` observed slices, unit range.
    z_nm, pixel_size_nm
        Of the slices.
    """
    several = images if images.ndim == 4 else images[:, None]
    observations = [Observation(several[:, channel], z_nm, pixel_size_nm) for channel in range(len(laws))]
    depths = labels.depths.z_nm

    def squared(index: int) -> NDArray[np.float32]:
        """``(C, H, W)`` expected squared error of a label."""
        label, depth = labels[index], float(depths[index])
        place = place_in_gap(z_nm, depth)
        found = []
        for channel, (law, observation) in enumerate(zip(laws, observations, strict=True)):
            alone = label if label.image.ndim == 2 else _channel(label, channel)
            found.append(law.squared_error(confidence_at(alone, observation, depth), place))
        return np.stack(found)

    size = (images.shape[-2], images.shape[-1])
    kept = labels.images is not None  # else each is computed anew
    chosen = chosen_depths(z_nm, depths, PLANES_PER_GAP if kept else 1)
    some = set(_of_usual_gaps(depths, z_nm)) & set(range(len(depths)) if kept else chosen)
    y0, y1, x0, x1 = _middle(size)
    coarse: list[NDArray[np.float32]] = []
    fine: dict[int, NDArray[np.float32]] = {}
    usual: dict[float, list[NDArray[np.float64]]] = {}
    for index in sorted({*chosen, *some}):  # one whole plane at a time: there may be hundreds
        plane = squared(index)
        if index in chosen:
            coarse.append(np.stack([block_means(one, coarse_size(size)) for one in plane]))
        if index in some:
            place = round(place_in_gap(z_nm, float(depths[index])), 3)
            usual.setdefault(place, []).append(plane.mean(axis=(1, 2), dtype=np.float64))
            fine[index] = plane[:, y0:y1, x0:x1].copy()
    widths = [dict(law.bands) for law in laws]
    bars = error_bars(
        coarse,
        depths[chosen],
        {place: list(np.mean(found, axis=0)) for place, found in usual.items()},
        {share: tuple(one[share] for one in widths) for share in widths[0]},
        z_nm,
        pixel_size_nm,
        size,
    )
    return bars.sharpened(list(fine.values()), depths[list(fine)], region=(y0, y1, x0, x1))


def with_fitted_slices(
    bars: ErrorBars, model: EmgaussModel, images: NDArray[np.float32], sound: NDArray[np.bool_] | None
) -> ErrorBars:
    """Error bars that know how far a fitted model is from the slices that it was fitted to.

    Parameters
    ----------
    bars : ErrorBars
    model : EmgaussModel
        Fitted.
    images : ndarray
        ``(K, H, W)`` or ``(K, C, H, W)`` observed slices, where the model has them.
    sound : ndarray or None
        ``(K, H, W)``, False at damaged pixels; None where there are none.
    """
    several = images if images.ndim == 4 else images[:, None]
    sums, counts = np.zeros(several.shape[1]), 0.0
    for k in np.unique(np.linspace(0, len(several) - 1, _SLICES).astype(int)):
        with torch.inference_mode():
            depth = model.t_of(float(model.z_nm[k]))
            shown = model.render_mean([depth], model.thickness)[0].cpu().numpy()
        weight = np.ones(shown.shape[1:]) if sound is None else sound[k].astype(np.float64)
        sums += ((shown - several[k]) ** 2 * weight).sum(axis=(1, 2), dtype=np.float64)
        counts += float(weight.sum())
    return bars if counts == 0 else bars.with_observed(list(sums / counts))


def _middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """``(y0, y1, x0, x1)`` of the middle of a slice, large enough to tell how errors are spread."""
    height, width = (min(side, _SIDE) for side in size)
    y0, x0 = (size[0] - height) // 2, (size[1] - width) // 2
    return y0, y0 + height, x0, x0 + width


def _channel(label: PseudoLabel, channel: int) -> PseudoLabel:
    confidence = label.confidence
    return PseudoLabel(label.image[channel], None if confidence is None else confidence[channel])


def _of_usual_gaps(depths_nm: NDArray[np.float64], z_nm: NDArray[np.float64]) -> list[int]:
    """Labels of a few gaps of the usual width, spread over the stack: they say how errors grow within a gap."""
    gaps = np.diff(z_nm)
    usual = np.flatnonzero(np.abs(gaps / np.median(gaps) - 1) < 0.15)
    some = set(usual[np.unique(np.linspace(0, len(usual) - 1, _GAPS).astype(int))].tolist())
    return [index for index, depth in enumerate(depths_nm) if locate_gap(z_nm, float(depth))[0] in some]
