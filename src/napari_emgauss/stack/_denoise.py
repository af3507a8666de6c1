"""Denoise slices before the fit, with the strength that the noise itself asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss._progress import OnProgress, Progress

from ._channels import on_each_channel
from ._intensity import WholeSliceFilter
from ._stack import Stack

DenoiseMethod = Literal["auto", "gaussian", "tv", "nlm"]

# The strength is found on the middle of a few slices.
_CALIBRATION_PIXELS = 160
_CALIBRATION_SLICES = 3
_SIGMAS = (0.4, 0.6, 0.8, 1.0, 1.3, 1.7)  # of the Gaussian blur, pixels
_TV_WEIGHTS = (0.5, 1.0, 1.5, 2.2, 3.3, 5.0)  # of total variation, times the noise
_NLM_STRENGTHS = (0.5, 0.7, 0.9, 1.2, 1.6)  # of non-local means, times the noise

Filter = Callable[..., NDArray[Any]]


def denoise(stack: Stack, method: DenoiseMethod = "auto", *, on_progress: OnProgress | None = None) -> Stack:
    """A stack of denoised slices, filtered when they are read.

    No strength is asked for: Noise2Self (Batson and Royer, ICML 2019) tells it from the noisy slices alone. A filter
    predicts pixels that it was not shown; noise cannot be predicted, structure can, so the setting that predicts best
    denoises best (as long as noise is independent from pixel to pixel).

    Parameters
    ----------
    stack : Stack
    method : str
        ``gaussian``: blur. ``tv``: total variation (Chambolle, 2004). ``nlm``: non-local means (Buades et al., 2005).
        ``auto``: the one of the three that predicts best.
    on_progress : callable, optional
        Called with each :class:`ProgressUpdate` of the calibration; may raise to stop.

    Returns
    -------
    Stack
        ``metadata["denoising"]`` tells method, strength and the estimated noise (unit range).

    Raises
    ------
    ConfigError
        The method is not known.
    """
    if stack.channels > 1:
        return on_each_channel(stack, lambda one, part: denoise(one, method, on_progress=part), on_progress)
    candidates = {"gaussian": _SIGMAS, "tv": _TV_WEIGHTS, "nlm": _NLM_STRENGTHS}
    if method != "auto" and method not in candidates:
        raise ConfigError(f"There is no denoising method {method!r}: choose auto, gaussian, tv or nlm.")
    chosen = candidates if method == "auto" else {method: candidates[method]}
    samples = _samples(stack)
    noise = float(np.median([_noise(sample) for sample in samples]))
    losses: dict[tuple[str, float], float] = {}
    progress = Progress(on_progress)
    pairs = [(name, strength) for name, strengths in chosen.items() for strength in strengths]
    for done, (name, strength) in enumerate(pairs, start=1):
        losses[name, strength] = float(np.mean([_prediction_error(s, name, strength, noise) for s in samples]))
        progress.tell(done / len(pairs))
    best, strength = min(losses, key=lambda pair: losses[pair])
    noted = stack.noting(denoising={"method": best, "strength": strength, "noise": noise})
    normalisation = stack.normalisation
    return replace(
        stack,
        slices=_DenoisedSlices(stack.slices, normalisation.low, normalisation.high, best, strength, noise),
        metadata=noted.metadata,
        uncorrected=stack.own_slices,
    )


class _DenoisedSlices(WholeSliceFilter):
    """Each slice after one of the filters, with a strength found before."""

    def __init__(self, source: Any, low: float, high: float, method: str, strength: float, noise: float) -> None:
        super().__init__(source)
        self._low, self._span = low, high - low
        self._method, self._strength, self._noise = method, strength, noise

    def filtered(self, plane: NDArray[Any], index: int) -> NDArray[np.float64]:
        unit = (plane.astype(np.float64) - self._low) / self._span
        return _apply(unit, self._method, self._strength, self._noise) * self._span + self._low


def _apply(image: NDArray[np.float64], method: str, strength: float, noise: float) -> NDArray[np.float64]:
    """One filter on an image in the unit range."""
    if method == "gaussian":
        from scipy.ndimage import gaussian_filter

        return np.asarray(gaussian_filter(image, strength))
    if method == "tv":
        from skimage.restoration import denoise_tv_chambolle

        return np.asarray(denoise_tv_chambolle(image, weight=strength * noise), dtype=np.float64)
    from skimage.restoration import denoise_nl_means

    return np.asarray(
        denoise_nl_means(
            image, patch_size=5, patch_distance=6, h=strength * noise, sigma=noise, fast_mode=True, channel_axis=None
        ),
        dtype=np.float64,
    )


def _samples(stack: Stack) -> list[NDArray[np.float64]]:
    count, height, width = stack.shape
    top, left = max(0, (height - _CALIBRATION_PIXELS) // 2), max(0, (width - _CALIBRATION_PIXELS) // 2)
    rows, columns = slice(top, top + _CALIBRATION_PIXELS), slice(left, left + _CALIBRATION_PIXELS)
    indices = sorted({int(k) for k in np.linspace(0, count - 1, _CALIBRATION_SLICES + 2).round()[1:-1]})
    to_unit = stack.normalisation.to_unit
    return [to_unit(np.asarray(stack.slices[k, rows, columns])).astype(np.float64) for k in indices]


def _noise(image: NDArray[np.float64]) -> float:
    """Standard deviation of white noise (Immerkaer, CVIU 64, 1996), a little above 0 for clean images."""
    from scipy.ndimage import convolve

    second = convolve(image, np.array([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]), mode="reflect")
    # The median over pixels instead of the paper's mean: membranes are no noise.
    return max(float(1.4826 * np.median(np.abs(second)) / 6), 1e-3)


def _prediction_error(image: NDArray[np.float64], method: str, strength: float, noise: float) -> float:
    """Mean squared error with which a filter predicts pixels that it does not see (Noise2Self, section 3).

    On each of four grids the pixels of the grid are replaced by the mean of their neighbours, the image is filtered,
    and the result compared with the true pixels of that grid.
    """
    from scipy.ndimage import convolve

    neighbours = convolve(image, np.array([[0.5, 1, 0.5], [1, 0, 1], [0.5, 1, 0.5]]) / 6, mode="reflect")
    error, count = 0.0, 0
    for row, column in ((0, 0), (1, 2), (2, 1), (3, 3)):
        grid = np.s_[row::4, column::4]
        hidden = image.copy()
        hidden[grid] = neighbours[grid]
        difference = _apply(hidden, method, strength, noise)[grid] - image[grid]
        error += float(np.square(difference).sum())
        count += difference.size
    return error / count
