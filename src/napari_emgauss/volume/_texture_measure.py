"""Measure the texture of a stack on its own slices, and on what a model renders at and between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, product
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_emgauss.stack import Normalisation, SliceSource

from ._protocol import VolumeModel
from ._texture import REACH, Texture, contrast_kernel, convolved, noise_kernel, response_of, smoothed

# Enough for a mean spectrum; more would make the end of a fit felt.
_MOST_IMAGES = 24
_BLOCK = 256
_BLOCKS_A_SIDE = 2
_IN_GAP = (0.125, 0.25, 0.375, 0.5, 0.75, 1.0)  # distances, in median gaps; beyond a half only where gaps are wider
_BANDS = np.array([1 / 64, 1 / 48, *(np.array([2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32]) / 64), 0.6, 0.71])
_GREY_SHARES = np.array([0.0, 0.01, 0.03, 0.0625, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0])
_EDGE_SHARES = np.linspace(0.0, 1.0, 6)
_PIXELS_A_CLASS = 200  # fewer say nothing of a standard deviation

COARSEST = 1 / 24
"""Frequency, cycles a pixel, below which nothing is changed: that is structure, and was inferred."""
MOST_CONTRAST = 2.0
"""Largest factor by which the contrast of what was rendered is raised.

A rendered slice r is close to the mean of what the true slice t may be, so power(r) / power(t) is about the square of
their correlation c. Where power p is missing, noise of that power makes the squared error 2 (1 - c²) p, but r / c
makes it 2 (1 - c) p, which is less. Where c is small, though, r / c is artefact: beyond this factor less is done.
"""
SHARE = 0.95
"""Share of the observed slices' power that is restored: the last few hundredths cost more error than they show."""
_ROUNDS = 2  # of correcting filters that are too small to be exact

Masks = Callable[[int], NDArray[np.bool_] | None]
_Block = tuple[int, int, int, int]


def measure_texture(
    model: VolumeModel,
    slices: SliceSource,
    normalisation: Normalisation,
    *,
    channel: int | None = None,
    lines: Sequence[Sequence[Sequence[float]] | None] = (),
    damage: Masks = lambda index: None,
) -> list[Texture]:
    """The texture of each channel that a model renders.

    Parameters
    ----------
    model : VolumeModel
        Fitted to the slices; rendered at some 24 depths for each distance from a slice, in blocks.
    slices : SliceSource
        ``(K, H, W)`` or ``(K, C, H, W)`` grey values as they are in the source.
    normalisation : Normalisation
        Between grey values and the unit range.
    channel : int, optional
        Which of the slices' channels the model shows, where it is one of several.
    lines : sequence, optional
        For each channel ``(gain, offset)`` of each slice, where the fitted ones were evened out by a straight line.
    damage : callable
        Index of a slice -> ``(H, W)`` bool, True at damaged pixels, or None where there are none.
    """
    z_nm = np.asarray(model.z_nm, dtype=np.float64)
    blocks = _blocks(model.shape[1:])
    chosen = _samples(range(len(z_nm)), blocks)
    rendered = _Rendered(model, normalisation)
    at_slices = rendered.at([(float(z_nm[index]), block) for index, block in chosen])
    observed = np.empty_like(at_slices)
    every = (slice(None),) * (len(slices.shape) - 3)
    for place, (index, (y0, y1, x0, x1)) in enumerate(chosen):
        part = np.asarray(slices[(index, *every, slice(y0, y1), slice(x0, x1))])
        unit = normalisation.to_unit(_evened(part, index, channel, lines)).reshape(observed.shape[1:])
        masked = damage(index)
        hole = None if masked is None else masked[y0:y1, x0:x1]
        observed[place] = unit if hole is None else np.where(hole, at_slices[place], unit)
    distances, far = _distances(z_nm, rendered, blocks)
    tables = [at_slices, *far]
    return [
        _of_channel(observed[:, c], at_slices[:, c], [one[:, c] for one in tables], [0.0, *distances])
        for c in range(observed.shape[1])
    ]


class _Rendered:
    """Blocks of a model, in the unit range."""

    def __init__(self, model: VolumeModel, normalisation: Normalisation) -> None:
        self._model, self._normalisation = model, normalisation

    def at(self, places: Sequence[tuple[float, _Block]]) -> NDArray[np.float64]:
        """``(n, C, h, w)`` at so many depths and blocks; those of one block stand together."""
        found = []
        for block, here in groupby(places, key=lambda place: place[1]):
            y0, y1, x0, x1 = (float(edge) for edge in block)
            images = self._model.render(np.array([depth for depth, _ in here]), region=(y0, y1, x0, x1))
            unit = self._normalisation.to_unit(np.asarray(images))
            found.append(unit[:, None] if unit.ndim == 3 else unit)
        return np.concatenate(found).astype(np.float64)


def _blocks(size: Sequence[int]) -> list[_Block]:
    """Squares that are looked at, evenly spread over a slice."""
    side = min(_BLOCK, *size)
    counts = [min(_BLOCKS_A_SIDE, n // side) for n in size]
    starts = [
        [(n - side) // 2] if count == 1 else np.linspace(0, n - side, count).astype(int).tolist()
        for n, count in zip(size, counts, strict=True)
    ]
    return [(y, y + side, x, x + side) for y, x in product(*starts)]


def _samples(items: Sequence[int], blocks: Sequence[_Block]) -> list[tuple[int, _Block]]:
    """Some items, each with a block, evenly spread over both."""
    pairs = [(item, block) for block in blocks for item in items]
    places = np.linspace(0, len(pairs) - 1, min(_MOST_IMAGES, len(pairs))).round().astype(int)
    return [pairs[int(k)] for k in places]


def _distances(
    z_nm: NDArray[np.float64], rendered: _Rendered, blocks: Sequence[_Block]
) -> tuple[list[float], list[NDArray[np.float64]]]:
    """Distances from observed slices that there are in the gaps, and blocks that lie so far from one."""
    gaps = np.diff(z_nm)
    distances, found = [], []
    for share in _IN_GAP:
        distance = share * float(np.median(gaps))
        wide = np.flatnonzero(gaps >= 2 * distance * (1 - 1e-6)).tolist()
        if wide:
            places = [
                # Before the next slice in every other gap, so that neither side counts more.
                (float(z_nm[k] + distance if n % 2 else z_nm[k + 1] - distance), block)
                for n, (k, block) in enumerate(_samples(wide, blocks))
            ]
            distances.append(distance)
            found.append(rendered.at(places))
    return distances, found


def _evened(
    values: NDArray[Any], index: int, channel: int | None, lines: Sequence[Sequence[Sequence[float]] | None]
) -> NDArray[Any]:
    """Grey values as they were fitted: evened out by the straight lines of the channels."""
    if channel is not None and values.ndim == 3:
        values = values[channel]
    if not any(line is not None for line in lines):
        return values
    many = values if values.ndim == 3 else values[None]
    known = [lines[channel]] if channel is not None and len(lines) > 1 else list(lines)
    evened = many.astype(np.float64)
    for c, line in enumerate(known[: len(many)]):
        if line is not None:
            gain, offset = line[index]
            evened[c] = many[c] * gain + offset
    return evened if values.ndim == 3 else evened[0]


def _of_channel(
    observed: NDArray[np.float64],
    at_slices: NDArray[np.float64],
    rendered: Sequence[NDArray[np.float64]],
    distances: Sequence[float],
) -> Texture:
    """The texture of one channel: observed blocks, rendered ones, and those at each distance, ``(n, h, w)``."""
    frequencies, power = _spectrum(observed)
    greys, by_grey, edges, by_edge = _strengths(observed - at_slices, at_slices)
    added = [_added(frequencies, np.array(power), one) for one in rendered]
    made = Texture(
        frequencies,
        list(distances),
        [gain for gain, _ in added],
        [noise for _, noise in added],
        greys,
        by_grey,
        edges,
        by_edge,
    )
    checked = Texture.from_json(made.to_json())
    return _nothing(distances) if checked is None else checked


def _nothing(distances: Sequence[float]) -> Texture:
    """Of slices that are not finite: nothing is added."""
    ones, none = [[1.0] for _ in distances], [[0.0] for _ in distances]
    return Texture([0.25], list(distances), ones, none, [0.5], [1.0], [0.0], [1.0])


def _added(
    frequencies: list[float], wanted: NDArray[np.float64], rendered: NDArray[np.float64]
) -> tuple[list[float], list[float]]:
    """Factor of the contrast, and power of the noise, that bring rendered blocks ``(n, h, w)`` to a power."""
    power = np.array(_spectrum(rendered)[1])
    changed = np.array(frequencies) >= COARSEST
    full = np.sqrt(wanted / np.maximum(power, 1e-6 * max(float(wanted.max()), 1e-12)))
    gain = np.where(full <= MOST_CONTRAST, full, MOST_CONTRAST**2 / np.maximum(full, 1e-12))
    gain = np.where(changed, np.maximum(gain, 1.0), 1.0)
    for _ in range(_ROUNDS):
        kernel = contrast_kernel(frequencies, gain)
        raised = np.array(_spectrum(_each_convolved(rendered, kernel))[1])
        # A small filter blurs the factors over frequencies: what falls short, or goes too far, is made up for.
        better = np.clip(gain * np.sqrt(wanted / np.maximum(raised, 1e-12)), 1.0, MOST_CONTRAST)
        gain = np.where(changed & ((full <= MOST_CONTRAST) | (raised > wanted)), better, gain)
    raised = np.array(_spectrum(_each_convolved(rendered, contrast_kernel(frequencies, gain)))[1])
    missing = np.where(changed, np.maximum(SHARE * wanted - raised, 0.0), 0.0)
    noise = missing
    for _ in range(_ROUNDS):
        reached = response_of(frequencies, noise_kernel(frequencies, noise))
        noise = noise * np.clip(missing / np.maximum(reached, 1e-12), 0.5, 2.0)
    return gain.tolist(), noise.tolist()


def _each_convolved(images: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([convolved(np.pad(one, REACH, mode="symmetric"), kernel) for one in images])


def _window(height: int, width: int) -> NDArray[np.float64]:
    """Fades a block out towards its sides, so that they do not look like edges."""
    return np.asarray(np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1])


def _spectrum(images: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Frequencies and mean power of images ``(n, h, w)`` in rings; white noise of variance v has v in each."""
    *_, height, width = images.shape
    window = _window(height, width)
    around = images - images.mean(axis=(-2, -1), keepdims=True)
    found = np.abs(scipy.fft.fft2(around * window)) ** 2
    power = found.mean(axis=0) / (window**2).sum()
    radii = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    ring = np.digitize(radii, _BANDS)
    frequencies, means = [], []
    for k in range(1, len(_BANDS)):
        inside = ring == k
        if inside.any():
            frequencies.append(float(radii[inside].mean()))
            means.append(float(power[inside].mean()))
    return frequencies, means


def _strengths(
    residual: NDArray[np.float64], rendered: NDArray[np.float64]
) -> tuple[list[float], list[float], list[float], list[float]]:
    """How the noise of observed slices depends on the grey value, and on the edges, that were rendered there."""
    # The finest part alone: what is coarser is structure that the model misses.
    fine = np.stack([one - gaussian_filter(one, 1.0) for one in residual])
    looks = [smoothed(one) for one in rendered]
    grey, edge = (np.stack([look[k] for look in looks]).ravel() for k in (0, 1))
    noise = fine.ravel() ** 2
    greys, by_grey = _by_class(grey, noise, _GREY_SHARES)
    noise = noise / np.maximum(np.interp(grey, greys, by_grey), 1e-3) ** 2
    edges, by_edge = _by_class(edge, noise, _EDGE_SHARES)
    total = np.interp(grey, greys, by_grey) * np.interp(edge, edges, by_edge)
    # Where spectra look most, the mean is 1.
    weights = np.broadcast_to(_window(*residual.shape[-2:]) ** 2, residual.shape).ravel()
    mean = float(np.sqrt(np.average(total**2, weights=weights))) or 1.0
    return greys, [value / mean for value in by_grey], edges, by_edge


def _by_class(
    quantity: NDArray[np.float64], squares: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[list[float], list[float]]:
    """Root mean of squares where a quantity has some values, over that of all."""
    whole = float(np.sqrt(squares.mean()))
    bounds = np.unique(np.quantile(quantity, shares))
    if whole <= 0 or len(bounds) < 3:
        return [float(quantity.mean())], [1.0]
    classes = np.clip(np.digitize(quantity, bounds) - 1, 0, len(bounds) - 2)
    counts = np.bincount(classes, minlength=len(bounds) - 1)
    sums = np.bincount(classes, squares, len(bounds) - 1)
    places = np.bincount(classes, quantity, len(bounds) - 1)
    good = counts >= _PIXELS_A_CLASS
    if good.sum() < 2:
        return [float(quantity.mean())], [1.0]
    strengths = np.sqrt(sums[good] / counts[good]) / whole
    return (places[good] / counts[good]).tolist(), strengths.tolist()
