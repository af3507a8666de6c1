"""Error bars: how far a model's grey values are to be expected from the truth, at any depth, kept coarsely with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_emgauss.model._confidence import block_means, coarse_size, coarse_weights
from napari_emgauss.stack import Frame, Region

ERROR_BARS = "error_bars"
"""Their name in a model file."""
_STEPS_PER_DOUBLING = 32.0
_STEPS_OF_CURVE, _ROUNDS = 16, 3
_ONE = 128
"""Ratios are kept as whole steps, 32 for a factor of two, with 128 for 1: one step is 1.1 % of σ."""


@dataclass(frozen=True, eq=False)
class ErrorBars:
    """σ at any depth, in grey values: the root of the squared error that is to be expected of a model's voxel.

    Renders like a model, so that it can be shown and written like one. Errors are not quite normal: how many σ a band
    is wide that holds a share of the truth is told by `half_width`.

    Parameters
    ----------
    ratios : ndarray
        ``(L, C, h, w)`` uint8: squared error over what is usual at that place in a gap, on planes in the gaps.
    depths_nm : ndarray
        ``(L,)`` increasing, none of them observed.
    places : ndarray
        ``(P,)`` places in a gap, from 0 (an observed slice) to 0.5 (its middle).
    squared : ndarray
        ``(C, P)`` usual squared error there, unit range².
    half_widths : mapping
        Share of the truth and, for each channel, how many σ on either side hold it.
    z_nm, pixel_size_nm, size
        Of the model's slices.
    grey_range : tuple of float
        Grey values from black to white of each channel: σ comes in units of it.
    """

    ratios: NDArray[np.uint8]
    depths_nm: NDArray[np.float64]
    places: NDArray[np.float64]
    squared: NDArray[np.float64]
    half_widths: Mapping[float, tuple[float, ...]]
    z_nm: NDArray[np.float64]
    pixel_size_nm: tuple[float, float]
    size: tuple[int, int]
    grey_range: tuple[float, ...] = (1.0,)

    version: int = field(default=0, init=False)
    confidence: None = field(default=None, init=False)

    @property
    def provenance(self) -> dict[str, Any]:
        """It has none of its own: it belongs to a model."""
        return {}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Observed slices, rows, columns."""
        return (len(self.z_nm), *self.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32: σ in grey values of the source."""
        return np.dtype(np.float32)

    @property
    def channels(self) -> int:
        """Those of the model."""
        return int(self.ratios.shape[1])

    def half_width(self, share: float, channel: int = 0) -> float:
        """How many σ on either side of a grey value hold ``share`` of the truth (0.5, 0.9 or 0.95).

        Raises
        ------
        ValueError
            No such band was calibrated.
        """
        if share not in self.half_widths:
            told = ", ".join(f"{one:g}" for one in self.half_widths)
            raise ValueError(f"There is no band for {share:g} of the truth; there are bands for {told}.")
        return self.half_widths[share][channel]

    def render(
        self,
        z_nm: float | Sequence[float] | NDArray[np.float64],
        *,
        region: Region | None = None,
        shape: tuple[int, int] | None = None,
    ) -> NDArray[np.float32]:
        """σ at any depth, in grey values; the arguments are those of ``EmgaussModel.render``.

        Raises
        ------
        DepthError
            A depth or the region lies outside the observed slices.
        """
        frame = Frame.of(self)
        depths = frame.checked_depths(z_nm)
        images = self.sampled(depths, frame.checked_region(region), shape)
        images = images[:, 0] if self.channels == 1 else images
        return np.asarray(images[0] if np.ndim(z_nm) == 0 else images)

    def sampled(
        self, depths_nm: NDArray[np.float64], region: Region, shape: tuple[int, int] | None
    ) -> NDArray[np.float32]:
        """``(n, C, h, w)`` σ at depths, of a region that may reach beyond the slices."""
        rows, columns = coarse_weights(Frame.of(self), region, shape, self.ratios.shape[2:])
        greys = np.asarray(self.grey_range, dtype=np.float32)[:, None, None]
        out = np.empty((len(depths_nm), self.channels, len(rows), len(columns)), dtype=np.float32)
        for position, depth in enumerate(depths_nm):
            squared = self._usual(float(depth))[:, None, None] * self._ratio(float(depth))
            out[position] = greys * np.sqrt(rows @ squared.astype(np.float32) @ columns.T)
        return out

    def in_grey_values(self, grey_range: Sequence[float]) -> ErrorBars:
        """The same in grey values of another range, one number or one for each channel."""
        ranges = tuple(float(one) for one in grey_range)
        return replace(self, grey_range=ranges * self.channels if len(ranges) == 1 else ranges)

    def of_channel(self, channel: int) -> ErrorBars:
        """Those of one channel."""
        return replace(
            self,
            ratios=self.ratios[:, channel : channel + 1],
            squared=self.squared[channel : channel + 1],
            half_widths={share: (widths[channel],) for share, widths in self.half_widths.items()},
            grey_range=self.grey_range[channel : channel + 1],
        )

    def with_observed(self, squared: Sequence[float]) -> ErrorBars:
        """The same with a mean squared error at observed slices, unit range², one for each channel."""
        usual = self.squared.copy()
        # Never above what is inferred next to it: slices are fitted best.
        usual[:, 0] = np.minimum(np.asarray(squared, dtype=np.float64), usual[:, 1:].min(axis=1, initial=np.inf))
        return replace(self, squared=usual)

    def sharpened(
        self, planes: Sequence[NDArray[np.floating[Any]]], depths_nm: ArrayLike, region: Region | None = None
    ) -> ErrorBars:
        """The same with ratios as far apart as they are on finer planes.

        Lines between coarse values are smoother than what they stand for: where they are low the truth is lower, where
        they are high it is higher. A rising curve makes up for that.

        Parameters
        ----------
        planes : sequence of ndarray
            ``(C, H, W)`` expected squared error, unit range².
        depths_nm : array_like
            Depth of each.
        region : tuple, optional
            ``(y0, y1, x0, x1)`` of the slice that they show; all of it by default.
        """
        bars = self.in_grey_values([1.0])
        for _ in range(_ROUNDS):
            bars = replace(bars, ratios=bars._spread_out(planes, np.atleast_1d(np.asarray(depths_nm)), region))
        return replace(bars, grey_range=self.grey_range)

    def _spread_out(
        self, planes: Sequence[NDArray[np.floating[Any]]], depths_nm: NDArray[np.float64], region: Region | None
    ) -> NDArray[np.uint8]:
        """The ratios along a rising curve from what is shown to what there is."""
        from scipy.optimize import isotonic_regression

        usual = [np.maximum(self._usual(float(depth)), 1e-12)[:, None, None] for depth in depths_nm]
        there = np.stack([np.asarray(plane) / one for plane, one in zip(planes, usual, strict=True)], axis=1)
        shown = [self.render(float(depth), region=region).reshape(there[:, 0].shape) ** 2 for depth in depths_nm]
        here = np.stack([one / level for one, level in zip(shown, usual, strict=True)], axis=1)
        ratios = self.ratios.copy()
        for channel in range(self.channels):
            low_to_high = np.array_split(np.argsort(here[channel].ravel(), kind="stable"), _STEPS_OF_CURVE)
            parts = [part for part in low_to_high if len(part)]
            places = np.array([here[channel].ravel()[part].mean(dtype=np.float64) for part in parts])
            means = isotonic_regression([there[channel].ravel()[part].mean(dtype=np.float64) for part in parts]).x
            # Beyond the ends of the curve by the same factor as at them.
            every = decoded(np.arange(256, dtype=np.uint8))
            risen = every * np.interp(every, places, means / np.maximum(places, 1e-12))
            ratios[:, channel] = coded(np.maximum.accumulate(risen))[ratios[:, channel]]
        return ratios

    def to_dict(self) -> dict[str, Any]:
        """What the header of a file tells of them, besides the ratios."""
        return {
            "depths_nm": [float(z) for z in self.depths_nm],
            "places": [float(place) for place in self.places],
            "squared": [[float(value) for value in row] for row in self.squared],
            "half_widths": [[share, list(widths)] for share, widths in self.half_widths.items()],
        }

    def _usual(self, depth_nm: float) -> NDArray[np.float64]:
        """``(C,)`` usual squared error at the place of a depth in its gap."""
        gap = int(np.clip(np.searchsorted(self.z_nm, depth_nm, side="right") - 1, 0, len(self.z_nm) - 2))
        position = (depth_nm - self.z_nm[gap]) / (self.z_nm[gap + 1] - self.z_nm[gap])
        place = float(np.clip(min(position, 1 - position), 0, 0.5))
        return np.array([np.interp(place, self.places, row) for row in self.squared])

    def _ratio(self, depth_nm: float) -> NDArray[np.float32]:
        """``(C, h, w)`` squared error over the usual one at a depth."""
        upper = int(np.clip(np.searchsorted(self.depths_nm, depth_nm), 1, max(1, len(self.depths_nm) - 1)))
        below = decoded(self.ratios[upper - 1])
        if upper >= len(self.depths_nm):
            return below
        low, high = self.depths_nm[upper - 1], self.depths_nm[upper]
        share = np.float32(np.clip((depth_nm - low) / (high - low), 0, 1))
        return (1 - share) * below + share * decoded(self.ratios[upper])


def coded(ratios: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Ratios as whole steps of their logarithm."""
    steps = np.rint(_STEPS_PER_DOUBLING * np.log2(np.maximum(ratios, 1e-6))) + _ONE
    return np.clip(steps, 0, 255).astype(np.uint8)


def decoded(steps: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The ratios that `coded` was given, to 1.1 %."""
    return np.exp2((steps.astype(np.float32) - np.float32(_ONE)) / np.float32(_STEPS_PER_DOUBLING))


def error_bars(
    planes: Sequence[NDArray[np.floating[Any]]],
    depths_nm: NDArray[np.float64],
    usual: Mapping[float, Sequence[float]],
    half_widths: Mapping[float, tuple[float, ...]],
    z_nm: NDArray[np.float64],
    pixel_size_nm: tuple[float, float],
    size: tuple[int, int],
) -> ErrorBars:
    """Error bars from the expected squared error on some planes.

    Parameters
    ----------
    planes : sequence of ndarray
        ``(C, H, W)`` expected squared error, unit range², or its means over the blocks that share one value.
    depths_nm : ndarray
        ``(L,)`` depth of each, increasing.
    usual : mapping
        Place in a gap (0 to 0.5) and the usual squared error there for each channel.
    half_widths, z_nm, pixel_size_nm, size
        As of `ErrorBars`.
    """
    inner = sorted(place for place in usual if place > 0)
    places = np.array([0.0, *inner])
    squared = np.array([usual[place] for place in (inner[0], *inner)], dtype=np.float64).T
    bars = ErrorBars(
        np.zeros((len(planes), len(squared), *coarse_size(size)), np.uint8),
        np.asarray(depths_nm, dtype=np.float64),
        places,
        squared,
        half_widths,
        np.asarray(z_nm, dtype=np.float64),
        pixel_size_nm,
        size,
    )
    for ratio, plane, depth in zip(bars.ratios, planes, depths_nm, strict=True):
        means = np.stack([block_means(one, coarse_size(size)) for one in np.asarray(plane, dtype=np.float32)])
        ratio[:] = coded(means / np.maximum(bars._usual(float(depth)), 1e-12)[:, None, None])
    return bars


def check_error_bars(
    ratios: NDArray[Any], header: Mapping[str, Any], z_nm: NDArray[np.float64], size: tuple[int, int], channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], dict[float, tuple[float, ...]]]:
    """Depths, places, usual squared errors and half-widths of error bars from a file, once they are known to fit.

    Raises
    ------
    KeyError, TypeError, ValueError
        They do not fit the slices that they are of.
    """
    depths, places, squared = (_numbers(header[name]) for name in ("depths_nm", "places", "squared"))
    widths = {float(share): tuple(float(one) for one in each) for share, each in header["half_widths"]}
    if ratios.dtype != np.uint8 or ratios.shape != (len(depths), channels, *coarse_size(size)) or not len(ratios):
        raise ValueError("The planes of errors do not have the size of the slices.")
    if depths.ndim != 1 or (np.diff(depths) <= 0).any() or depths[0] <= z_nm[0] or depths[-1] >= z_nm[-1]:
        raise ValueError("The planes of errors lie outside the slices, or not in order.")
    if places.ndim != 1 or (np.diff(places) <= 0).any() or squared.shape != (channels, len(places)):
        raise ValueError("The usual errors are not valid.")
    if (squared < 0).any() or (places < 0).any() or (places > 0.5).any():
        raise ValueError("The usual errors are not valid.")
    if any(len(each) != channels or min(each) < 0 or not np.isfinite(each).all() for each in widths.values()):
        raise ValueError("The widths of the bands are not valid.")
    return depths, places, squared, widths


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("An error is not a number.")
    return numbers
