"""Numba kernels of the CPU renderer: serial over a range of tasks, free of the GIL, float32.

The image is cut into bands of rows. ``prepare``, ``lay_out`` and ``list_entries`` make for each band the list of the
splats that meet it, in index order; such a pair is an *entry*. ``blend`` walks the entries of a band
forwards, ``blend_backward`` walks them in reverse, recovers each transmittance by division and leaves one row of
gradient sums per entry; ``gather`` adds up the rows of each splat. No two tasks write the same number, and every sum
has a fixed order, so the result does not depend on the number of threads.

A row of a splat is handled eight pixels at a time (see ``_lanes``); lanes outside the ellipse are masked. The band's
rows live in scratch memory with room for the last group to run over the right border.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from napari_emgauss.render._formula import EXHAUSTED, MAX_ALPHA, MIN_ALPHA
from napari_emgauss.render._lanes import COUNT, both, choose, load, spread, steps, store, total

GEOMETRY = 8
"""Numbers kept per splat: x, y, then the ellipse in the form the kernels need; see ``prepare``."""

_ZERO = np.float32(0)
_HALF = np.float32(0.5)
_ONE = np.float32(1)
_MAX_ALPHA = np.float32(MAX_ALPHA)
_EXHAUSTED = np.float32(EXHAUSTED)


uncached: list[str] = []
"""Kernels that are compiled anew in every process."""

# Fused multiply-add is all that is allowed: infinities and NaN must keep their meaning in comparisons.
_inlined = numba.njit(nogil=True, fastmath={"contract"})


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile once per machine where a folder for the machine code can be written, else once per process."""
    try:
        return numba.njit(nogil=True, cache=True, fastmath={"contract"})(function)
    except RuntimeError:  # numba found no place for its cache
        uncached.append(function.__name__)
        return _inlined(function)


@_inlined
def _exp8(z: Any) -> Any:
    """``exp(8 z)`` for z in [-0.75, 0], relative error below 3e-6.

    A polynomial with least maximal relative error (Remez exchange, by us), then three squarings. Below the range it is
    wrong but finite or infinite, never NaN; such lanes are masked.
    """
    r = z * np.float32(0.00569871) + np.float32(0.03952206)
    r = r * z + np.float32(0.16582604)
    r = r * z + np.float32(0.499847)
    r = r * z + np.float32(0.99998954)
    r = r * z + np.float32(0.99999988)
    r = r * r
    r = r * r
    return r * r


@_kernel
def prepare(
    means: Any,
    conics: Any,
    opacities: Any,
    height: int,
    width: int,
    band_rows: int,
    geometry: Any,
    boxes: Any,
    counts: Any,
    first: int,
    last: int,
) -> None:
    """Bring splats to the kernels' form, find their boxes, count their entries per band; a task is an image's chunk.

    With ``sigma = dᵀ Σ⁻¹ d / 2 = a/2 (dx + b/a dy)² + (c - b²/a)/2 dy²`` the geometry is ``x, y, -a/16, b/a,
    -(c - b²/a)/16, -ln(255 o)/8, o, -16/a``: then ``z = -sigma/8``, what ``_exp8`` takes, is two multiply-adds. A box
    is ``x0, x1, y0, y1`` (first and last pixel), empty for what is invisible or invalid.
    """
    chunks = counts.shape[1]
    count = means.shape[1]
    for task in range(first, last):
        b = task // chunks
        chunk = task % chunks
        counts[b, chunk, :] = 0
        for i in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            boxes[b, i, 2] = 0
            boxes[b, i, 3] = -1
            x = np.float64(means[b, i, 0])
            y = np.float64(means[b, i, 1])
            ca = np.float64(conics[b, i, 0])
            cb = np.float64(conics[b, i, 1])
            cc = np.float64(conics[b, i, 2])
            opacity = np.float64(opacities[b, i])
            # Products of float32 are exact in float64: a thin ellipse keeps its determinant.
            determinant = ca * cc - cb * cb
            drawable = ca > 0 and cc > 0 and determinant > 0 and opacity > MIN_ALPHA
            if not (drawable and math.isfinite(x + y + determinant + opacity)):
                continue
            cut = math.log(opacity / MIN_ALPHA)
            # A hundredth of a pixel covers rounding in the kernels, which decide pixel by pixel.
            reach_x = math.sqrt(2 * cut * cc / determinant) + 0.01
            reach_y = math.sqrt(2 * cut * ca / determinant) + 0.01
            left = max(x - reach_x - 0.5, 0.0)
            right = min(x + reach_x - 0.5, width - 1.0)
            top = max(y - reach_y - 0.5, 0.0)
            bottom = min(y + reach_y - 0.5, height - 1.0)
            if left > right or top > bottom:  # also keeps far-away means from overflowing the integers below
                continue
            y0 = math.ceil(top)
            y1 = math.floor(bottom)
            x0 = math.ceil(left)
            x1 = math.floor(right)
            if x0 > x1 or y0 > y1:
                continue
            geometry[b, i, 0] = x
            geometry[b, i, 1] = y
            geometry[b, i, 2] = -ca / 16
            geometry[b, i, 3] = cb / ca
            geometry[b, i, 4] = -determinant / ca / 16
            geometry[b, i, 5] = -cut / 8
            geometry[b, i, 6] = opacity
            geometry[b, i, 7] = -16 / ca
            boxes[b, i, 0] = x0
            boxes[b, i, 1] = x1
            boxes[b, i, 2] = y0
            boxes[b, i, 3] = y1
            for band in range(y0 // band_rows, y1 // band_rows + 1):
                counts[b, chunk, band] += 1


@_kernel
def lay_out(counts: Any, starts: Any, edges: Any) -> int:
    """Where each chunk's entries of a band begin (``starts``), and each band's (``edges``); returns their number."""
    position = 0
    for b in range(counts.shape[0]):
        for band in range(counts.shape[2]):
            edges[b, band] = position
            for chunk in range(counts.shape[1]):
                starts[b, chunk, band] = position
                position += counts[b, chunk, band]
            edges[b, band + 1] = position
    return position


@_kernel
def list_entries(boxes: Any, starts: Any, band_rows: int, entries: Any, first: int, last: int) -> None:
    """Write the splat number of every entry; a task is an image's chunk."""
    chunks = starts.shape[1]
    count = boxes.shape[1]
    for task in range(first, last):
        b = task // chunks
        chunk = task % chunks
        cursor = starts[b, chunk].copy()
        for i in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            if boxes[b, i, 3] >= boxes[b, i, 2]:
                for band in range(boxes[b, i, 2] // band_rows, boxes[b, i, 3] // band_rows + 1):
                    entries[cursor[band]] = i
                    cursor[band] += 1


@_inlined
def _columns(x0: Any, x1: Any, centre: Any, room: Any) -> Any:
    """First and last pixel of a row that an ellipse can reach; ``room`` is the squared reach about ``centre``."""
    if x1 - x0 < COUNT:  # one group holds the whole box: a root would cost more than it saves
        return x0, x1
    if room < _ZERO:
        return 0, -1
    reach = np.float32(math.sqrt(room)) + np.float32(0.01)
    left = centre - _HALF - reach
    right = centre - _HALF + reach
    # Compared this way round, NaN and infinity leave the box as it is.
    start = np.intp(left) if left > np.float32(x0) else x0
    stop = np.intp(right) if right < np.float32(x1) else x1
    return start, stop


@_inlined
def _blend_band(
    geometry: Any,
    boxes: Any,
    values: Any,
    entries: Any,
    transmittance: Any,
    colour: Any,
    stops: Any,
    top: Any,
    bottom: Any,
    width: int,
    replay: bool,
) -> None:
    """Lay a band's splats over each other in flat scratch; ``replay`` notes where pixels stop instead of colours."""
    stride = width + COUNT
    plane = (bottom - top) * stride
    channels = values.shape[1]
    for e in range(entries.shape[0]):
        i = entries[e]
        mx = geometry[i, 0]
        my = geometry[i, 1]
        na = geometry[i, 2]
        shear = geometry[i, 3]
        nd = geometry[i, 4]
        cut = geometry[i, 5]
        opacity = geometry[i, 6]
        inverse = geometry[i, 7]
        x0 = np.intp(boxes[i, 0])
        x1 = np.intp(boxes[i, 1])
        first_value = values[i, 0]
        for y in range(max(top, np.intp(boxes[i, 2])), min(bottom, np.intp(boxes[i, 3]) + 1)):
            dy = np.float32(y) + _HALF - my
            q = nd * dy * dy
            shift = shear * dy
            start, stop = _columns(x0, x1, mx - shift, (cut - q) * inverse)
            row = (y - top) * stride
            for x in range(start, stop + 1, COUNT):
                u = steps() + (np.float32(x) + _HALF - mx + shift)
                z = u * u * na + q
                at = row + x
                t = load(transmittance, at)
                alive = t >= _EXHAUSTED
                raw = _exp8(z) * opacity
                alpha = choose(both(z >= cut, alive), choose(raw < _MAX_ALPHA, raw, _MAX_ALPHA), _ZERO)
                weight = alpha * t
                store(transmittance, at, t - weight)
                if replay:
                    store(stops, at, choose(alive, np.float32(e), load(stops, at)))
                else:
                    store(colour, at, load(colour, at) + weight * first_value)
                    for c in range(1, channels):
                        store(colour, c * plane + at, load(colour, c * plane + at) + weight * values[i, c])


@_kernel
def blend(
    geometry: Any,
    boxes: Any,
    values: Any,
    background: Any,
    entries: Any,
    edges: Any,
    band_rows: int,
    image: Any,
    transmittance: Any,
    exhausted: Any,
    first: int,
    last: int,
) -> None:
    """Paint bands; a task is an image's band.

    ``transmittance`` ``(B, H, W)`` and ``exhausted`` ``(B, bands)``, whether any pixel of a band let nothing through,
    are what the backward pass needs.
    """
    height, width = image.shape[2], image.shape[3]
    channels = values.shape[1]
    bands = edges.shape[1] - 1
    stride = width + COUNT
    through = np.empty(band_rows * stride, np.float32)
    colour = np.empty(channels * band_rows * stride, np.float32)
    for task in range(first, last):
        b = task // bands
        band = task % bands
        top = band * band_rows
        bottom = min(height, top + band_rows)
        through[:] = _ONE
        colour[:] = _ZERO
        listed = entries[edges[b, band] : edges[b, band + 1]]
        _blend_band(geometry[b], boxes[b], values, listed, through, colour, through, top, bottom, width, False)
        least = _ONE
        for y in range(top, bottom):
            row = (y - top) * stride
            for x in range(width):
                t = through[row + x]
                transmittance[b, y, x] = t
                least = min(least, t)
            for c in range(channels):
                plane = c * (bottom - top) * stride + row
                for x in range(width):
                    image[b, c, y, x] = colour[plane + x] + through[row + x] * background[c]
        exhausted[b, band] = least < _EXHAUSTED


@_kernel
def blend_backward(
    geometry: Any,
    boxes: Any,
    values: Any,
    background: Any,
    entries: Any,
    edges: Any,
    band_rows: int,
    transmittance: Any,
    exhausted: Any,
    grad: Any,
    sums: Any,
    first: int,
    last: int,
) -> None:
    """Walk bands in reverse; a task is an image's band.

    Each entry gets a row of ``sums``: with ``g = dL/dsigma`` of a pixel, the sums over its pixels of ``g``, ``g u``,
    ``g u²``, ``g dy``, ``g dy²``, ``g u dy`` (``u = dx + b/a dy``), then the gradient of its value, channel by channel.
    """
    height, width = grad.shape[2], grad.shape[3]
    channels = values.shape[1]
    bands = edges.shape[1] - 1
    stride = width + COUNT
    through = np.empty(band_rows * stride, np.float32)
    behind = np.empty(band_rows * stride, np.float32)
    given = np.empty(channels * band_rows * stride, np.float32)
    stops = np.empty(band_rows * stride, np.float32)
    further = np.empty(channels * COUNT, np.float32)
    for task in range(first, last):
        b = task // bands
        band = task % bands
        top = band * band_rows
        bottom = min(height, top + band_rows)
        plane = (bottom - top) * stride
        listed = entries[edges[b, band] : edges[b, band + 1]]
        replayed = exhausted[b, band]
        if replayed:
            through[:] = _ONE
            stops[:] = -_ONE
            _blend_band(geometry[b], boxes[b], values, listed, through, through, stops, top, bottom, width, True)
        # Beyond the right border nothing is given and nothing comes through.
        through[:] = _ZERO
        behind[:] = _ZERO
        given[:] = _ZERO
        for y in range(top, bottom):
            row = (y - top) * stride
            for c in range(channels):
                for x in range(width):
                    given[c * plane + row + x] = grad[b, c, y, x]
                    behind[row + x] += background[c] * grad[b, c, y, x]
            for x in range(width):
                t = transmittance[b, y, x]
                through[row + x] = t
                behind[row + x] *= t
        for e in range(listed.shape[0] - 1, -1, -1):
            i = listed[e]
            mx = geometry[b, i, 0]
            my = geometry[b, i, 1]
            na = geometry[b, i, 2]
            shear = geometry[b, i, 3]
            nd = geometry[b, i, 4]
            cut = geometry[b, i, 5]
            opacity = geometry[b, i, 6]
            inverse = geometry[b, i, 7]
            x0 = np.intp(boxes[b, i, 0])
            x1 = np.intp(boxes[b, i, 1])
            first_value = values[i, 0]
            further[:] = _ZERO
            sum_1 = spread(_ZERO)
            sum_u = spread(_ZERO)
            sum_uu = spread(_ZERO)
            sum_y = spread(_ZERO)
            sum_yy = spread(_ZERO)
            sum_uy = spread(_ZERO)
            sum_value = spread(_ZERO)
            for y in range(max(top, np.intp(boxes[b, i, 2])), min(bottom, np.intp(boxes[b, i, 3]) + 1)):
                dy = np.float32(y) + _HALF - my
                q = nd * dy * dy
                shift = shear * dy
                start, stop = _columns(x0, x1, mx - shift, (cut - q) * inverse)
                row = (y - top) * stride
                row_1 = spread(_ZERO)
                row_u = spread(_ZERO)
                for x in range(start, stop + 1, COUNT):
                    u = steps() + (np.float32(x) + _HALF - mx + shift)
                    z = u * u * na + q
                    at = row + x
                    seen = z >= cut
                    if replayed:
                        seen = both(seen, load(stops, at) >= np.float32(e))
                    raw = _exp8(z) * opacity
                    free = raw < _MAX_ALPHA
                    alpha = choose(seen, choose(free, raw, _MAX_ALPHA), _ZERO)
                    up = _ONE / (_ONE - alpha)
                    t = load(through, at)
                    before = t * up
                    store(through, at, before)
                    weight = alpha * before
                    back = load(behind, at)
                    gift = load(given, at)
                    sum_value = sum_value + weight * gift
                    gift = gift * first_value
                    for c in range(1, channels):
                        more = load(given, c * plane + at)
                        store(further, c * COUNT, load(further, c * COUNT) + weight * more)
                        gift = gift + more * values[i, c]
                    store(behind, at, back + weight * gift)
                    # dL/da = T c·g - (what lies behind)/(1 - a); dL/dsigma = -a dL/da, and nothing where a is clamped.
                    g = choose(free, (back - t * gift) * up * alpha, _ZERO)
                    gu = g * u
                    row_1 = row_1 + g
                    row_u = row_u + gu
                    sum_uu = sum_uu + gu * u
                row_y = row_1 * dy
                sum_1 = sum_1 + row_1
                sum_u = sum_u + row_u
                sum_y = sum_y + row_y
                sum_yy = sum_yy + row_y * dy
                sum_uy = sum_uy + row_u * dy
            at = edges[b, band] + e
            sums[at, 0] = total(sum_1)
            sums[at, 1] = total(sum_u)
            sums[at, 2] = total(sum_uu)
            sums[at, 3] = total(sum_y)
            sums[at, 4] = total(sum_yy)
            sums[at, 5] = total(sum_uy)
            sums[at, 6] = total(sum_value)
            for c in range(1, channels):
                sums[at, 6 + c] = total(load(further, c * COUNT))


@_kernel
def gather(
    geometry: Any,
    boxes: Any,
    starts: Any,
    band_rows: int,
    sums: Any,
    grad_means: Any,
    grad_conics: Any,
    grad_opacities: Any,
    grad_values: Any,
    first: int,
    last: int,
) -> None:
    """Add up each splat's entries and turn the sums into gradients; a task is a chunk, of all images."""
    batch = boxes.shape[0]
    count = boxes.shape[1]
    chunks = starts.shape[1]
    channels = grad_values.shape[1]
    row = np.empty(6 + channels, np.float32)
    for chunk in range(first, last):
        begin = chunk * count // chunks
        end = (chunk + 1) * count // chunks
        grad_values[begin:end] = _ZERO
        for b in range(batch):
            cursor = starts[b, chunk].copy()
            for i in range(begin, end):
                row[:] = _ZERO
                if boxes[b, i, 3] < boxes[b, i, 2]:
                    grad_means[b, i, :] = _ZERO
                    grad_conics[b, i, :] = _ZERO
                    grad_opacities[b, i] = _ZERO
                    continue
                for band in range(boxes[b, i, 2] // band_rows, boxes[b, i, 3] // band_rows + 1):
                    row += sums[cursor[band]]
                    cursor[band] += 1
                half_a = np.float32(-8) * geometry[b, i, 2]
                shear = geometry[b, i, 3]
                half_d = np.float32(-8) * geometry[b, i, 4]
                s_1, s_u, s_uu, s_y, s_yy, s_uy = row[0], row[1], row[2], row[3], row[4], row[5]
                # dx = u - shear dy, so that sum(g dx²) and sum(g dx dy) follow from the sums in u.
                grad_means[b, i, 0] = np.float32(-2) * half_a * s_u
                grad_means[b, i, 1] = np.float32(-2) * (half_a * shear * s_u + half_d * s_y)
                grad_conics[b, i, 0] = _HALF * (s_uu - np.float32(2) * shear * s_uy + shear * shear * s_yy)
                grad_conics[b, i, 1] = s_uy - shear * s_yy
                grad_conics[b, i, 2] = _HALF * s_yy
                grad_opacities[b, i] = -s_1 / geometry[b, i, 6]
                for c in range(channels):
                    grad_values[i, c] += row[6 + c]
