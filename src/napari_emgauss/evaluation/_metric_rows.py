"""Metrics of an evaluation, one row each: tables, JSON, the report, the window and the documents derive from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._metrics import Scores, compare

from ._intervals import Estimate, mean_over_slices
from ._perceptual import gmsd, haarpsi

if TYPE_CHECKING:
    from napari_emgauss._fsim import Features

Estimates = Mapping[str, Mapping[str, Estimate]]
"""What was measured on what (``xy``, ``xz``, ``yz``, ``volume``, ``segments``), by the name of the metric."""
ImageMetric = Callable[[NDArray[np.floating], NDArray[np.floating]], float | None]


@dataclass(frozen=True)
class Metric:
    """A metric's row.

    Parameters
    ----------
    name : str
        In JSON.
    label : str
        For people.
    of : str
        ``image``: one plane against the true one; ``volume``: all voxels together; ``segments``: labels.
    better : str
        ``higher`` or ``lower``.
    digits : int
        Shown after the point.
    how : str
        By what it is computed, and after whom.
    unit : str
        Shown after the number, with a space before it.
    needs : str
        What must be given or installed; empty where nothing need be.
    """

    name: str
    label: str
    of: Literal["image", "volume", "segments"]
    better: Literal["higher", "lower"]
    digits: int
    how: str
    unit: str = ""
    needs: str = ""


METRICS = (
    Metric(
        "psnr",
        "PSNR",
        "image",
        "higher",
        2,
        "scikit-image, data range 1 (8-bit values over 255, others over the kept slices' robust range); `inf` for "
        "equal images",
        " dB",
    ),
    Metric(
        "ssim",
        "SSIM",
        "image",
        "higher",
        3,
        "scikit-image, Gaussian window of sigma 1.5, population covariance; Wang et al. 2004",
    ),
    Metric("fsim", "FSIM", "image", "higher", 3, "Zhang et al. 2011, grey; agrees with `piq.fsim(chromatic=False)`"),
    Metric("haarpsi", "HaarPSI", "image", "higher", 3, "Reisenhofer et al. 2018, grey; agrees with `piq.haarpsi`"),
    Metric("gmsd", "GMSD", "image", "lower", 4, "Xue et al. 2014; agrees with `piq.gmsd`; 0 for equal images"),
    Metric(
        "lpips",
        "LPIPS",
        "image",
        "lower",
        3,
        "Zhang et al. 2018, AlexNet, version 0.1; agrees with the package `lpips`; 0 for equal images",
        needs="`--lpips-weights FILE`",
    ),
    Metric(
        "psnr_3d",
        "3D PSNR",
        "volume",
        "higher",
        2,
        "decibels of the mean squared error of all voxels, kept slices included",
        " dB",
    ),
    Metric(
        "psnr_3d_dropped",
        "3D PSNR, dropped",
        "volume",
        "higher",
        2,
        "the same over the slices that no method saw",
        " dB",
    ),
    Metric(
        "adapted_rand_error",
        "adapted Rand error",
        "segments",
        "lower",
        3,
        "scikit-image, after Arganda-Carreras et al. 2015; 0 for equal partitions",
        needs="`--labels FILE`",
    ),
    Metric(
        "voi_split",
        "VOI split",
        "segments",
        "lower",
        3,
        "scikit-image, after Meilă 2007, in bits: what is cut apart",
        needs="`--labels FILE`",
    ),
    Metric(
        "voi_merge",
        "VOI merge",
        "segments",
        "lower",
        3,
        "scikit-image, after Meilă 2007, in bits: what is run together",
        needs="`--labels FILE`",
    ),
)
_MEASURED: Mapping[str, ImageMetric] = {"gmsd": gmsd, "haarpsi": haarpsi}
"""Image metrics beside those of `Scores`, which share their work."""


def metric_row(name: str) -> Metric:
    """The row of a metric."""
    return next(row for row in METRICS if row.name == name)


def metrics_of(of: str, among: Iterable[str] | None = None) -> tuple[Metric, ...]:
    """Rows of one kind in order, of those named or of all."""
    named = None if among is None else set(among)
    return tuple(row for row in METRICS if row.of == of and (named is None or row.name in named))


def measure_image(
    image: NDArray[np.float32],
    truth: NDArray[np.float32],
    *,
    truth_features: Features | None = None,
    lpips: ImageMetric | None = None,
) -> dict[str, float | None]:
    """Every image metric of ``image`` against ``truth``, both ``(H, W)`` in the unit range, by name.

    ``truth_features`` as for :func:`compare`; ``lpips`` measures that distance where its weights were given.
    """
    values = compare(image, truth, truth_features=truth_features).as_dict()
    values |= {name: measured(image, truth) for name, measured in _MEASURED.items()}
    return values if lpips is None else {**values, "lpips": lpips(image, truth)}


def scores_in(values: Mapping[str, float | None]) -> Scores:
    """The part of :func:`measure_image` that weighs methods."""
    return Scores(values["psnr"], values["ssim"], values["fsim"])


def estimates(values: Sequence[Mapping[str, float | None]], groups: Sequence[int] | None = None) -> dict[str, Estimate]:
    """Mean and interval of each metric over planes in order; see :func:`mean_over_slices`."""
    names = values[0] if values else ()
    return {name: mean_over_slices([one[name] for one in values], groups) for name in names}
