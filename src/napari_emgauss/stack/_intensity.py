"""Even out brightness and contrast from slice to slice."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss._progress import OnProgress, Progress

from ._channels import on_each_channel
from ._slices import LazySlices
from ._stack import SliceSource, Stack

# Percentiles that stand for black and white of a slice: robust against dirt and holes.
_LOW, _HIGH = 10.0, 90.0
_SAMPLE_PIXELS = 1 << 18

IntensityMethod = Literal["linear", "histogram", "clahe"]


def correct_intensity(
    stack: Stack,
    method: IntensityMethod = "linear",
    *,
    window: int | None = None,
    clip_limit: float = 0.01,
    on_progress: OnProgress | None = None,
) -> Stack:
    """A stack whose slices are evenly bright, still read lazily.

    Parameters
    ----------
    stack : Stack
    method : str
        ``linear``: brightness and contrast of each slice (10th and 90th percentile) are brought to the median of the
        stack, by a straight line; the lines are kept in ``metadata["intensity_lines"]``, so that
        :func:`original_intensity` can undo them. ``histogram``: the whole histogram of each slice is matched to that of
        the middle slice. ``clahe``: contrast-limited adaptive histogram equalisation within each slice (Zuiderveld,
        Graphics Gems IV, 1994, as in scikit-image), for slices that are unevenly lit.
    window : int, optional
        For ``linear``: compare with the median of so many slices around instead of the whole stack, which keeps slow
        changes along z that are real.
    clip_limit : float
        For ``clahe``: 0 to 1, higher gives more contrast.
    on_progress : callable, optional
        Called with each :class:`ProgressUpdate` while slices are measured; may raise to stop.

    Raises
    ------
    ConfigError
        The method is not known, or the window is too small.
    """
    if stack.channels > 1:
        return on_each_channel(
            stack,
            lambda one, part: correct_intensity(one, method, window=window, clip_limit=clip_limit, on_progress=part),
            on_progress,
        )
    if method == "linear":
        return _linear(stack, window, Progress(on_progress))
    if method == "histogram":
        reference = np.asarray(stack.slices[stack.shape[0] // 2])
        noted = stack.noting(intensity_correction="histogram")
        return _corrected(noted, _MatchedSlices(stack.slices, reference))
    if method == "clahe":
        if not 0 < clip_limit <= 1:
            raise ConfigError(f"The clip limit must lie between 0 and 1, not {clip_limit}.")
        noted = stack.noting(intensity_correction=f"clahe {clip_limit:g}")
        equalised = _EqualisedSlices(stack.slices, stack.normalisation.low, stack.normalisation.high, clip_limit)
        return _corrected(noted, equalised)
    raise ConfigError(f"There is no intensity correction {method!r}: choose linear, histogram or clahe.")


def original_intensity(stack: Stack, values: NDArray[Any], z_nm: float) -> NDArray[Any]:
    """Grey values at a depth as they would be without the ``linear`` correction of ``stack``.

    Between slices the lines of the two neighbours are blended.

    Raises
    ------
    ConfigError
        The stack was not corrected, or in a way that cannot be undone.
    """
    lines = stack.record.intensity_lines
    if lines is None:
        raise ConfigError("Only a linear intensity correction can be undone, and this stack has none.")
    gain, offset = (np.interp(z_nm, stack.z_nm, column) for column in np.array(lines, dtype=np.float64).T)
    return _as_type((np.asarray(values, dtype=np.float64) - offset) / gain, np.asarray(values).dtype)


def _linear(stack: Stack, window: int | None, progress: Progress) -> Stack:
    count = stack.shape[0]
    if window is not None and window < 3:
        raise ConfigError(f"The window must be at least 3 slices, not {window}.")
    ends = np.empty((count, 2))
    for index in range(count):
        values = np.asarray(stack.slices[index])
        step = max(1, round((values.size / _SAMPLE_PIXELS) ** 0.5))
        ends[index] = np.percentile(values[::step, ::step], (_LOW, _HIGH))
        progress.tell((index + 1) / count)
    wanted = np.empty_like(ends)
    for index in range(count):
        half = count if window is None else window // 2
        wanted[index] = np.median(ends[max(0, index - half) : index + half + 1], axis=0)
    spread = ends[:, 1] - ends[:, 0]
    # A slice of hardly any contrast would be blown up to noise: leave its contrast alone.
    weak = spread < 0.05 * np.median(spread)
    gain = np.where(weak, 1.0, (wanted[:, 1] - wanted[:, 0]) / np.where(weak, 1.0, spread))
    offset = wanted.mean(axis=1) - gain * ends.mean(axis=1)
    lines = np.stack([gain, offset], axis=1)
    noted = stack.noting(intensity_correction="linear", intensity_lines=lines.tolist())
    return _corrected(noted, _LinearSlices(stack.slices, lines))


def _corrected(stack: Stack, slices: SliceSource) -> Stack:
    return replace(stack, slices=slices, uncorrected=stack.own_slices)


def _as_type(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(dtype)


def _shape_of(source: Any) -> tuple[int, int, int]:
    count, height, width = (int(n) for n in source.shape)
    return count, height, width


class _LinearSlices(LazySlices):
    """Each slice times its gain plus its offset."""

    def __init__(self, source: Any, lines: NDArray[np.float64]) -> None:
        super().__init__(_shape_of(source), source.dtype)
        self._source, self._lines = source, lines

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        gain, offset = self._lines[index]
        return _as_type(np.asarray(self._source[index, rows, columns], dtype=np.float64) * gain + offset, self._dtype)


class WholeSliceFilter(LazySlices):
    """A filter that needs whole slices; the last few results are kept, because readers come back for parts.

    Parameters
    ----------
    source : SliceSource
    """

    _KEPT = 4

    def __init__(self, source: Any) -> None:
        super().__init__(_shape_of(source), source.dtype)
        self._source = source
        self._results: dict[int, NDArray[Any]] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**{k: v for k, v in self.__dict__.items() if k != "_lock"}, "_results": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def filtered(self, plane: NDArray[Any], index: int) -> NDArray[np.float64]:
        """The whole slice, filtered, in source grey values."""
        raise NotImplementedError

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        with self._lock:
            if index not in self._results:
                result = _as_type(self.filtered(np.asarray(self._source[index]), index), self._dtype)
                while len(self._results) >= self._KEPT:
                    self._results.pop(next(iter(self._results)))
                self._results[index] = result
            return np.array(self._results[index][rows, columns])


class _MatchedSlices(WholeSliceFilter):
    """Each slice with the histogram of one reference."""

    def __init__(self, source: Any, reference: NDArray[Any]) -> None:
        super().__init__(source)
        self._reference = reference

    def filtered(self, plane: NDArray[Any], index: int) -> NDArray[np.float64]:
        from skimage.exposure import match_histograms

        return np.asarray(match_histograms(plane, self._reference), dtype=np.float64)


class _EqualisedSlices(WholeSliceFilter):
    """Each slice after CLAHE."""

    def __init__(self, source: Any, low: float, high: float, clip_limit: float) -> None:
        super().__init__(source)
        self._low, self._high, self._clip_limit = low, high, clip_limit

    def filtered(self, plane: NDArray[Any], index: int) -> NDArray[np.float64]:
        from skimage.exposure import equalize_adapthist

        span = self._high - self._low
        unit = np.clip((plane.astype(np.float64) - self._low) / span, 0, 1)
        return np.asarray(equalize_adapthist(unit, clip_limit=self._clip_limit)) * span + self._low
