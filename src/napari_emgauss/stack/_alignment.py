"""How well the slices are aligned: shift from slice to slice, and jitter, by phase correlation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._progress import OnProgress, Progress

from ._channels import geometry_of, on_each_channel
from ._slices import LazySlices
from ._stack import Stack

# Slices are compared in windows of at most this many pixels a side: memory and time stay small.
_WINDOW = 768
# Scales of structure that are compared, in pixels: below is noise, above is uneven illumination.
_FINE, _COARSE = 1.5, 12.0
JITTER_WARNING_PX = 1.0


@dataclass(frozen=True)
class AlignmentReport:
    """Residual misalignment of a stack.

    Parameters
    ----------
    shift_px : ndarray
        ``(K-1, 2)`` shift ``(y, x)`` from each slice to the next, pixels. Structures that run obliquely shift as well,
        steadily; that is no fault.
    jitter_px : ndarray
        ``(K, 2)`` how far each slice lies off the middle of its neighbours: half the difference of the shifts to it and
        from it. Steady shifts cancel. NaN for the first and the last slice.
    uncertainty_px : ndarray
        ``(K,)`` standard error of the jitter, from how much parts of the slice disagree. A misplaced slice moves as a
        whole; where slices are far apart, structures move each on its own and the parts disagree.
    similarity : ndarray
        ``(K-1,)`` correlation of each pair after the shift, -1 to 1; shifts of pairs near 0 mean nothing.
    z_nm : ndarray
        ``(K,)`` depths, for plots.
    """

    shift_px: NDArray[np.float64]
    jitter_px: NDArray[np.float64]
    uncertainty_px: NDArray[np.float64]
    similarity: NDArray[np.float64]
    z_nm: NDArray[np.float64]

    @property
    def jitter_length_px(self) -> NDArray[np.float64]:
        """``(K,)`` length of the jitter; NaN where unknown."""
        return np.asarray(np.hypot(self.jitter_px[:, 0], self.jitter_px[:, 1]))

    @property
    def median_jitter_px(self) -> float:
        """Typical jitter; 0 for stacks too short to tell."""
        known = self.jitter_length_px[np.isfinite(self.jitter_length_px)]
        return float(np.median(known)) if len(known) else 0.0

    @property
    def worst_slice(self) -> int | None:
        """The slice that lies furthest off."""
        length = self.jitter_length_px
        return int(np.nanargmax(length)) if np.isfinite(length).any() else None

    def misplaced(self, threshold_px: float = JITTER_WARNING_PX) -> NDArray[np.intp]:
        """Slices that lie off by more than ``threshold_px``, and by more than three standard errors."""
        length = self.jitter_length_px
        return np.flatnonzero((length > threshold_px) & (length > 3 * self.uncertainty_px))

    def warning(self, threshold_px: float = JITTER_WARNING_PX) -> str | None:
        """A sentence for people when slices lie off by more than ``threshold_px``; else None."""
        off = self.misplaced(threshold_px)
        if len(off) == 0:
            return None
        shown = ", ".join(str(k) for k in off[:8]) + (", ..." if len(off) > 8 else "")
        return (
            f"{len(off)} slices lie more than {threshold_px:g} px out of line with their neighbours (slice {shown}; "
            f"at most {self.jitter_length_px[off].max():.1f} px): align the stack first, or remove the jitter."
        )


def check_alignment(stack: Stack, *, on_progress: OnProgress | None = None) -> AlignmentReport:
    """Measure the shift between neighbouring slices.

    Cross-correlation in Fourier space refined to a tenth of a pixel (Guizar-Sicairos, Thurman and Fienup, Optics
    Letters 33, 2008, as in scikit-image) on overlapping parts of the slices, filtered to structures between membranes
    and organelles; the median over the parts is the shift, their disagreement its uncertainty.

    Parameters
    ----------
    stack : Stack
    on_progress : callable, optional
        Called with each :class:`ProgressUpdate`; may raise to stop.
    """
    stack, progress = geometry_of(stack), Progress(on_progress)
    count, height, width = stack.shape
    top, left = max(0, (height - _WINDOW) // 2), max(0, (width - _WINDOW) // 2)
    window = (slice(top, top + _WINDOW), slice(left, left + _WINDOW))
    shifts, errors, similarity = np.zeros((count - 1, 2)), np.zeros(count - 1), np.zeros(count - 1)
    before = _filtered(stack, 0, window)
    for index in range(1, count):
        present = _filtered(stack, index, window)
        shift, error = _shift(before, present)
        shifts[index - 1], errors[index - 1] = shift, error
        similarity[index - 1] = _overlap_correlation(before, present, shift)
        before = present
        progress.tell(index / (count - 1))
    jitter = np.full((count, 2), np.nan)
    jitter[1:-1] = (shifts[:-1] - shifts[1:]) / 2
    uncertainty = np.full(count, np.nan)
    uncertainty[1:-1] = np.hypot(errors[:-1], errors[1:]) / 2
    return AlignmentReport(shifts, jitter, uncertainty, similarity, stack.z_nm.copy())


def remove_jitter(stack: Stack, report: AlignmentReport) -> Stack:
    """Move every slice back by its jitter, read lazily; steady shifts of oblique structures stay.

    Positions are the summed shifts; what a running mean over five slices does not explain is taken off. Rows and
    columns that come in at the edges repeat the edge. The shifts are kept in ``metadata["jitter_removed_px"]``.
    """
    from scipy.ndimage import uniform_filter1d

    position = np.concatenate([np.zeros((1, 2)), np.cumsum(report.shift_px, axis=0)])
    off = np.zeros_like(position)
    for axis in (0, 1):
        # A straight line continues itself beyond the ends: mirrored about the end values.
        padded = np.pad(position[:, axis], 2, mode="reflect", reflect_type="odd")
        off[:, axis] = position[:, axis] - uniform_filter1d(padded, 5)[2:-2]
    # As far as it is sure: a shift no larger than its own error is mostly error.
    square = (off**2).sum(axis=1)
    error = report.uncertainty_px.copy()
    error[[0, -1]] = error[[1, -2]]
    off *= (square / (square + error**2 + 1e-12))[:, None]
    moved = move_slices(stack, -off)
    return replace(moved, metadata=stack.noting(jitter_removed_px=off.round(3).tolist()).metadata)


def move_slices(stack: Stack, shift_px: NDArray[np.float64]) -> Stack:
    """A stack whose slices are moved by ``shift_px`` (``(K, 2)``, y and x), read lazily; edges repeat themselves.

    Damage moves with the pixels that it marks.
    """
    shift_px = np.asarray(shift_px, dtype=np.float64)
    damage = None if stack.damage is None else _ShiftedSlices(_AsBytes(stack.damage), shift_px, order=1)

    def moved(one: Stack, _: Progress) -> Stack:
        return replace(one, slices=_ShiftedSlices(one.slices, shift_px), damage=damage)

    return on_each_channel(stack, moved)


class _AsBytes(LazySlices):
    """A mask as 0 and 255, so that moving it by parts of a pixel leaves every touched pixel above 0."""

    def __init__(self, mask: Any) -> None:
        count, height, width = (int(n) for n in mask.shape)
        super().__init__((count, height, width), np.uint8)
        self._mask = mask

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        return np.where(np.asarray(self._mask[index, rows, columns]) != 0, np.uint8(255), np.uint8(0))


class _ShiftedSlices(LazySlices):
    """Slices moved by fractions of a pixel."""

    def __init__(self, source: Any, shift_px: NDArray[np.float64], order: int = 3) -> None:
        count, height, width = (int(n) for n in source.shape)
        super().__init__((count, height, width), source.dtype)
        self._source, self._shift_px, self._order = source, shift_px, order

    def read_slice(self, index: int, rows: slice, columns: slice) -> NDArray[Any]:
        from scipy.ndimage import shift

        plane = np.asarray(self._source[index])
        moved = shift(plane.astype(np.float64), self._shift_px[index], order=self._order, mode="nearest")
        if self._dtype.kind in "iu":
            limits = np.iinfo(self._dtype)
            moved = np.clip(np.rint(moved), limits.min, limits.max)
        return moved.astype(self._dtype)[rows, columns]


def _filtered(stack: Stack, index: int, window: tuple[slice, slice]) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter

    values = stack.normalisation.to_unit(np.asarray(stack.slices[index, window[0], window[1]])).astype(np.float64)
    values = np.nan_to_num(values)
    return np.asarray(gaussian_filter(values, _FINE, mode="nearest") - gaussian_filter(values, _COARSE, mode="nearest"))


def _shift(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Median shift ``(y, x)`` of the structures from ``first`` to ``second`` over parts, and its standard error."""
    from skimage.registration import phase_cross_correlation

    rows, columns = (_parts(n) for n in first.shape)
    found = []
    for row in rows:
        for column in columns:
            a, b = first[row, column], second[row, column]
            # The edges of a part are no structure: fade them out.
            fade = np.hanning(a.shape[0] + 2)[1:-1, None] * np.hanning(a.shape[1] + 2)[None, 1:-1]
            if not (a.any() and b.any()):
                continue
            # The full normalisation ("phase") would give noise the same weight as structure.
            back, _, _ = phase_cross_correlation(a * fade, b * fade, upsample_factor=10, normalization=None)
            found.append(-np.asarray(back))
    if not found:
        return np.zeros(2), np.inf
    shifts = np.array(found)
    median = np.median(shifts, axis=0)
    spread = 1.4826 * float(np.hypot(*np.median(np.abs(shifts - median), axis=0)))
    # Parts overlap by half: a quarter as many are independent. 1.25: the median is less sure than the mean.
    return median, 1.25 * spread / max(1.0, len(found) / 4) ** 0.5


def _parts(length: int) -> list[slice]:
    """Overlapping ranges of half the length, at most 192 and at least 48 pixels."""
    size = min(length, max(48, min(192, length // 2)))
    starts = np.linspace(0, length - size, max(1, round(2 * (length - size) / size) + 1)).astype(int)
    return [slice(int(start), int(start) + size) for start in starts]


def _overlap_correlation(first: NDArray[np.float64], second: NDArray[np.float64], shift: NDArray[np.float64]) -> float:
    """Correlation of the parts that lie over each other once ``second`` is moved back by whole pixels."""
    dy, dx = (round(float(v)) for v in shift)
    height, width = first.shape
    a = first[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    b = second[max(0, dy) : height - max(0, -dy), max(0, dx) : width - max(0, -dx)]
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
