"""Whether error bars hold: how much of the truth lies within bands that are meant to hold a share of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.priors import BANDS

from ._methods import Reconstructed
from ._text_table import number_cell, text_table

TENTHS = 10


@dataclass(frozen=True)
class CoverageGroup:
    """Voxels that have something in common, and how many of them lie within each band.

    Parameters
    ----------
    at : float
        What they have in common: their mean σ in grey values of the source, or their distance from a kept slice.
    voxels : int
        How many they are.
    inside : tuple of float
        Share of them within each band of `Coverage.bands`.
    """

    at: float
    voxels: int
    inside: tuple[float, ...]

    def as_dict(self, what: str) -> dict[str, Any]:
        """As JSON holds it, with ``at`` under the name ``what``."""
        return {what: self.at, "voxels": self.voxels, "inside": list(self.inside)}


@dataclass(frozen=True)
class Coverage:
    """How much of the truth lies within the bands: as much as they say, if error bars hold.

    Parameters
    ----------
    bands : tuple of float
        Shares that the bands are meant to hold.
    voxels : int
        Voxels compared.
    overall : tuple of float
        Share within each band.
    by_sigma : tuple of CoverageGroup
        The same in each tenth of σ, the smallest first.
    by_distance : tuple of CoverageGroup
        The same by the distance from the nearest kept slice, in slices of the truth or in nm, as its maker says.
    """

    bands: tuple[float, ...]
    voxels: int
    overall: tuple[float, ...]
    by_sigma: tuple[CoverageGroup, ...]
    by_distance: tuple[CoverageGroup, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return {
            "bands": list(self.bands),
            "voxels": self.voxels,
            "overall": list(self.overall),
            "by_sigma": [group.as_dict("sigma") for group in self.by_sigma],
            "by_distance": [group.as_dict("distance") for group in self.by_distance],
        }

    @property
    def worst(self) -> float:
        """How far the worst group is from what its band says, as a share."""
        groups = (*self.by_sigma, *self.by_distance)
        return max(abs(found - said) for group in groups for found, said in zip(group.inside, self.bands, strict=True))


def coverage_of(
    made: Reconstructed,
    truth: Sequence[NDArray[np.float32]] | NDArray[np.float32],
    images: NDArray[np.float32],
    z_nm: NDArray[np.float64],
    distances: NDArray[np.float64],
    grey_range: float,
) -> Coverage | None:
    """Whether a method's error bars hold on some of its slices; None where it has none, or there are no slices.

    Parameters
    ----------
    made : Reconstructed
        What the method gave.
    truth, images : ndarray
        ``(n, H, W)`` what was there and what the method made of it, unit range.
    z_nm, distances : ndarray
        ``(n,)`` depth of each slice, and its distance from the nearest kept one.
    grey_range : float
        Grey values from 0 to 1 of the unit range.
    """
    bars = made.bars() if made.bars is not None and len(images) else None
    if bars is None:
        return None
    grey = np.float32(grey_range)
    errors = [grey * (image - there) for image, there in zip(images, truth, strict=True)]
    sigmas = [grey * bars.sigma(float(depth)) for depth in z_nm]
    # Depths went through numbers of nm: what differs in the last bit is one distance.
    return measured_coverage(errors, sigmas, np.round(distances, 6).tolist(), bars.half_widths)


def measured_coverage(
    errors: Iterable[NDArray[np.floating[Any]]],
    sigmas: Iterable[NDArray[np.floating[Any]]],
    distances: Iterable[float],
    half_widths: Mapping[float, float],
) -> Coverage:
    """Count what lies within the bands.

    Parameters
    ----------
    errors, sigmas : iterable of ndarray
        Of each slice: reconstruction minus truth, and σ, both in grey values of the source.
    distances : iterable of float
        Of each slice: how far the nearest kept one is.
    half_widths : mapping
        Half the width of each band of `BANDS` in σ.
    """
    limits = np.array([half_widths[band] for band in BANDS])
    error = [np.abs(np.asarray(one, dtype=np.float32)).ravel() for one in errors]
    sigma = [np.asarray(one, dtype=np.float32).ravel() for one in sigmas]
    steps = [float(one) for one in distances]
    every_error, every_sigma = np.concatenate(error), np.concatenate(sigma)
    # Tenths by rank: where many voxels share one σ they are still tenths.
    order = np.argsort(every_sigma, kind="stable")
    tenths = [part for part in np.array_split(order, TENTHS) if len(part)]
    return Coverage(
        bands=BANDS,
        voxels=len(every_error),
        overall=_inside(every_error, every_sigma, limits),
        by_sigma=tuple(
            CoverageGroup(
                float(every_sigma[part].mean(dtype=np.float64)),
                len(part),
                _inside(every_error[part], every_sigma[part], limits),
            )
            for part in tenths
        ),
        by_distance=tuple(_at_distance(distance, error, sigma, steps, limits) for distance in sorted(set(steps))),
    )


def _at_distance(
    distance: float,
    errors: list[NDArray[np.float32]],
    sigmas: list[NDArray[np.float32]],
    distances: list[float],
    limits: NDArray[np.float64],
) -> CoverageGroup:
    here = [k for k, one in enumerate(distances) if one == distance]
    error, sigma = np.concatenate([errors[k] for k in here]), np.concatenate([sigmas[k] for k in here])
    return CoverageGroup(distance, len(error), _inside(error, sigma, limits))


def _inside(error: NDArray[np.float32], sigma: NDArray[np.float32], limits: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(np.mean(error <= np.float32(limit) * sigma)) for limit in limits)


def coverage_table(coverages: Mapping[str, Coverage | None]) -> str:
    """One line a method: what its bands hold, and the worst of all tenths of σ and all distances; empty for none."""
    rows = [
        [
            name,
            *[number_cell(100 * share, 1) for share in one.overall],
            number_cell(100 * one.worst, 1),
            number_cell(float(np.average([g.at for g in one.by_sigma], weights=[g.voxels for g in one.by_sigma])), 2),
        ]
        for name, one in coverages.items()
        if one is not None
    ]
    if not rows:
        return ""
    head = ["of the truth within bands, %", *[f"{band:.0%} band" for band in BANDS], "worst off by", "mean σ"]
    return text_table(head, rows)
