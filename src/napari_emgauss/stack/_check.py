"""What can be seen of a stack before it is fitted: whether it is one, and whether its slices hold a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError
from napari_emgauss._remedies import remedy

from ._axes import MAX_SLICES
from ._stack import MAX_CHANNELS, Normalisation, SliceSource

MIN_SLICES = 3
MIN_PIXELS = 4
# Beyond this a file is broken rather than large: 46,000 x 46,000 pixels of 16 bit.
MAX_SLICE_BYTES = 4 << 30
# Up to here a stack is read whole when it is opened, to tell of any bad slice at once; above, a sample of its slices.
CHECK_ALL_BYTES = 256 << 20
SAMPLED_SLICES = 16
WINDOW = 4096
# Grey values beyond these percentiles are specks and dirt; they are kept, but do not set the range.
ROBUST_PERCENTILES = (0.1, 99.9)


def check_shape(shape: tuple[int, ...], dtype: Any) -> None:
    """Refuse what is not a grey-value stack.

    Raises
    ------
    StackError
        RGB, a single image, too many axes, a type that is no grey value, no pixels, or fewer than 3 slices.
    """
    # Channels lie on the second axis; what is asked of a stack is asked of each.
    if len(shape) == 4 and 1 <= shape[1] <= MAX_CHANNELS and shape[-1] not in (3, 4):
        shape = (shape[0], *shape[2:])
    dtype = np.dtype(dtype)
    if (len(shape) == 4 and shape[-1] in (3, 4)) or (len(shape) == 3 and shape[-1] in (3, 4) and dtype == np.uint8):
        raise StackError("This is an RGB image: convert it to grey values (in Fiji: Image > Type > 8-bit) first.")
    if len(shape) != 3:
        what = "a single image" if len(shape) == 2 else f"an array with {len(shape)} axes"
        raise StackError(
            f"This is {what}, not a stack: three axes are needed (slices, rows, columns), or four with up to "
            f"{MAX_CHANNELS} channels as the second."
        )
    if dtype.kind not in "iuf":
        what = "a yes/no mask" if dtype.kind == "b" else f"of type {dtype}"
        raise StackError(f"The stack is {what}: grey values must be whole or floating-point numbers.")
    if 0 in shape:
        raise StackError(f"The stack is empty: its shape is {shape}.")
    slice_bytes = shape[1] * shape[2] * dtype.itemsize
    if slice_bytes > MAX_SLICE_BYTES or shape[0] > MAX_SLICES:
        raise StackError(
            f"The stack claims {shape[0]} slices of {shape[1]} x {shape[2]} pixels, "
            f"{slice_bytes / 1e9:,.1f} GB each: that is more than can be read, or the file is damaged."
        )
    if shape[0] < MIN_SLICES:
        raise StackError(
            f"A stack needs at least {MIN_SLICES} slices to fill the gaps between them; this one has {shape[0]}."
        )
    if min(shape[1:]) < MIN_PIXELS:
        raise StackError(
            f"The slices are too small to fit: {shape[1]} x {shape[2]} pixels, "
            f"but at least {MIN_PIXELS} x {MIN_PIXELS} are needed."
        )


def sampled_indices(slices: SliceSource, kept: Sequence[int]) -> list[int]:
    """Which of the ``kept`` slices to look at on opening: all of a small stack, an even sample of a large one."""
    slice_bytes = int(slices.shape[1]) * int(slices.shape[2]) * np.dtype(slices.dtype).itemsize
    if slice_bytes * len(kept) <= CHECK_ALL_BYTES:
        return list(kept)
    return sorted({kept[int(i)] for i in np.linspace(0, len(kept) - 1, SAMPLED_SLICES).round()})


def check_slice(values: NDArray[Any], index: int) -> None:
    """Refuse a slice that cannot supervise anything.

    Raises
    ------
    StackError
        The slice holds NaN or infinity, or one grey value throughout.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise StackError(
            f"Slice {index} holds NaN or infinite values", remedy=remedy("leave out or replace slices", slices=index)
        )
    low, high = values.min(), values.max()
    if low == high:
        what = "empty (all 0)" if low == 0 else f"constant (all {low})"
        raise StackError(f"Slice {index} is {what}", remedy=remedy("leave out slices", slices=index))


def _window(slices: SliceSource) -> tuple[slice, slice] | None:
    """The middle of slices that are too large to be read whole only to look at them."""
    height, width = (int(n) for n in slices.shape[1:])
    if height * width * np.dtype(slices.dtype).itemsize <= CHECK_ALL_BYTES:
        return None
    top, left = max(0, (height - WINDOW) // 2), max(0, (width - WINDOW) // 2)
    return slice(top, top + WINDOW), slice(left, left + WINDOW)


def check_and_normalise(slices: SliceSource, indices: Sequence[int], *, check: bool = True) -> Normalisation:
    """Look at slices once: check them, and find the limits of their grey values.

    Parameters
    ----------
    slices : SliceSource
        ``(K, H, W)``.
    indices : sequence of int
        Which slices to look at.
    check : bool
        Refuse damaged slices. False where damage is to be looked for afterwards.

    Returns
    -------
    Normalisation
        0 to 255 for uint8, -128 to 127 for int8, else robust limits over at most 16 of the slices looked at.
    """
    dtype = np.dtype(slices.dtype)
    chosen = list(indices)
    byte_wide = dtype.kind in "iu" and dtype.itemsize == 1
    wanted = {chosen[int(i)] for i in np.linspace(0, len(chosen) - 1, min(len(chosen), SAMPLED_SLICES)).round()}
    samples: list[NDArray[Any]] = []
    window = _window(slices)
    for k in chosen:
        if not (check or (k in wanted and not byte_wide)):
            continue
        values = np.asarray(slices[k] if window is None else slices[k, *window])
        if check and window is None:
            check_slice(values, k)
        if k in wanted and not byte_wide:
            stride = max(1, round((values.size / 65536) ** 0.5))
            sample = values[::stride, ::stride].ravel()
            samples.append(sample[np.isfinite(sample)] if dtype.kind == "f" else sample)
    if byte_wide:
        limits = np.iinfo(dtype)
        return Normalisation(float(limits.min), float(limits.max), dtype.name)
    pooled = np.concatenate(samples).astype(np.float64)
    if pooled.size == 0:
        raise StackError("The stack holds no finite grey value.")
    low, high = (float(v) for v in np.percentile(pooled, ROBUST_PERCENTILES))
    if high <= low:  # mostly background: the robust limits fall together, the full ones need not
        low, high = float(pooled.min()), float(pooled.max())
    if high <= low:
        if check:
            raise StackError(f"All slices examined hold the same grey value {low:g}: there is nothing to fit.")
        high = low + 1.0
    return Normalisation(low, high, dtype.name)
