# mypy: disable-error-code="no-untyped-def"
"""Triton kernels of the GPU renderer: tile lists, blending forwards, blending backwards. No toolkit, no host sync.

The image is cut into tiles. Two passes of ``list_splats`` write for each tile the splats that meet it, in index order:
first for blocks of tiles, then for each tile from its block's list. Lists have a fixed capacity, so nothing has to be
fetched from the GPU to size a buffer. A list that overflows is not used: the tile then walks its block's list, and if
that overflowed too, all splats. Every walk gives the same image; only its length differs.

With ``TRITON_INTERPRET=1`` the same code runs on the CPU, which is how its numbers are tested without a GPU.
"""

from __future__ import annotations

import triton
import triton.language as tl

from napari_emgauss.render import _formula

GEOMETRY = tl.constexpr(8)
"""Numbers kept per splat: x, y, a/2, b/a, (c - b²/a)/2, ln(255 o), o, and one to fill up."""
SUMS = tl.constexpr(6)
"""Gradient sums per splat before those of its values; see ``blend_backward``."""


def row_of_sums(channels: int) -> int:
    """Length of a splat's row of sums: a power of two, so that a tile adds a whole row in one atomic instruction."""
    return 1 << (SUMS.value + channels - 1).bit_length()


# Sizes differ from region to region; Triton would compile anew for each that is, or is not, a multiple of 16.
_SIZES = [
    *("count", "height", "width", "tiles_x", "blocks_x", "blocks"),
    *("capacity", "block_capacity", "block_lists", "channels"),
]
MAX_ALPHA = tl.constexpr(_formula.MAX_ALPHA)
MIN_ALPHA = tl.constexpr(_formula.MIN_ALPHA)
EXHAUSTED = tl.constexpr(_formula.EXHAUSTED)
LARGEST = tl.constexpr(3.0e38)
FAR = tl.constexpr(1 << 30)


@triton.jit(do_not_specialize=["splats", "height", "width"])
def prepare(means, conics, opacities, geometry, boxes, splats, height, width, BLOCK: tl.constexpr):
    """Geometry and box ``x0, x1, y0, y1`` of every splat of every image; the box of an invisible one is nowhere."""
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    given = index < splats
    x = tl.load(means + index * 2, mask=given, other=0.0)
    y = tl.load(means + index * 2 + 1, mask=given, other=0.0)
    a = tl.load(conics + index * 3, mask=given, other=0.0)
    b = tl.load(conics + index * 3 + 1, mask=given, other=0.0)
    c = tl.load(conics + index * 3 + 2, mask=given, other=0.0)
    opacity = tl.load(opacities + index, mask=given, other=0.0)
    # Comparisons with NaN are false, so one test covers NaN and infinity.
    finite = (tl.abs(x) < LARGEST) & (tl.abs(y) < LARGEST) & (tl.abs(opacity) < LARGEST)
    finite = finite & (tl.abs(a) < LARGEST) & (tl.abs(b) < LARGEST) & (tl.abs(c) < LARGEST)
    a = tl.where(finite, a, 0.0)
    b = tl.where(finite, b, 0.0)
    c = tl.where(finite, c, 0.0)
    # Products of float32 are exact in float64: a thin ellipse keeps its determinant.
    determinant = a.to(tl.float64) * c.to(tl.float64) - b.to(tl.float64) * b.to(tl.float64)
    drawn = finite & (a > 0) & (c > 0) & (determinant > 0) & (opacity > MIN_ALPHA) & given
    a = tl.where(drawn, a, 1.0)
    b = tl.where(drawn, b, 0.0)
    c = tl.where(drawn, c, 1.0)
    x = tl.where(drawn, x, 0.0)
    y = tl.where(drawn, y, 0.0)
    determinant = tl.where(drawn, determinant, 1.0)
    cut = tl.log(tl.where(drawn, opacity, 1.0) / MIN_ALPHA)
    # A hundredth of a pixel covers rounding where the cut is taken, pixel by pixel.
    reach_x = tl.sqrt(2 * cut * (c / determinant).to(tl.float32)) + 0.51
    reach_y = tl.sqrt(2 * cut * (a / determinant).to(tl.float32)) + 0.51
    left = tl.maximum(x - reach_x, 0.0)
    right = tl.minimum(x + reach_x - 1.0, width - 1.0)
    top = tl.maximum(y - reach_y, 0.0)
    bottom = tl.minimum(y + reach_y - 1.0, height - 1.0)
    drawn = drawn & (left <= right + 1.0) & (top <= bottom + 1.0)
    left = tl.where(drawn, left, 0.0)
    right = tl.where(drawn, right, 0.0)
    top = tl.where(drawn, top, 0.0)
    bottom = tl.where(drawn, bottom, 0.0)
    row = geometry + index * GEOMETRY
    tl.store(row, x, mask=given)
    tl.store(row + 1, y, mask=given)
    tl.store(row + 2, 0.5 * a, mask=given)
    tl.store(row + 3, b / a, mask=given)
    tl.store(row + 4, (0.5 * determinant / a).to(tl.float32), mask=given)
    # sigma is never negative: a splat with this cut is seen nowhere.
    tl.store(row + 5, tl.where(drawn, cut, -1.0), mask=given)
    tl.store(row + 6, tl.where(drawn, opacity, 0.5), mask=given)
    row = boxes + index * 4
    tl.store(row, tl.where(drawn, tl.floor(left).to(tl.int32), FAR), mask=given)
    tl.store(row + 1, tl.where(drawn, tl.ceil(right).to(tl.int32), -1), mask=given)
    tl.store(row + 2, tl.where(drawn, tl.floor(top).to(tl.int32), FAR), mask=given)
    tl.store(row + 3, tl.where(drawn, tl.ceil(bottom).to(tl.int32), -1), mask=given)


@triton.jit
def _place(tiles_x, blocks_x, blocks, SIDE: tl.constexpr, RATIO: tl.constexpr):
    """Which image and which of all tiles a program works on, the tile's block, and its first column and row."""
    tile = tl.program_id(0)
    image = tl.program_id(1).to(tl.int64)
    tile_x = tile % tiles_x
    tile_y = tile // tiles_x
    block = image * blocks + (tile_y // RATIO) * blocks_x + tile_x // RATIO
    return image, image * tl.num_programs(0) + tile, block, tile_x * SIDE, tile_y * SIDE


@triton.jit(do_not_specialize=["count", "tiles_x", "blocks_x", "blocks", "capacity", "block_capacity"])
def list_splats(
    boxes,
    source_lists,
    source_counts,
    lists,
    counts,
    count,
    tiles_x,
    blocks_x,
    blocks,
    capacity,
    block_capacity,
    SIDE: tl.constexpr,
    RATIO: tl.constexpr,
    FROM_BLOCKS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the list of one tile of one image, in index order, and how many splats meet it (more than fit, maybe).

    With ``FROM_BLOCKS`` only the list of the tile's block is searched, where it did not overflow.
    """
    image, slot, block, left, top = _place(tiles_x, blocks_x, blocks, SIDE, RATIO)
    if FROM_BLOCKS:
        found = tl.load(source_counts + block)
        listed = found <= block_capacity
        candidates = tl.where(listed, found, count)
    else:
        listed = False
        candidates = count
    met = 0
    for start in range(0, candidates, BLOCK):
        candidate = start + tl.arange(0, BLOCK)
        given = candidate < candidates
        if FROM_BLOCKS:
            entry = tl.where(listed, block * block_capacity + candidate, 0)
            splat = tl.where(listed, tl.load(source_lists + entry, mask=given, other=0), candidate)
        else:
            splat = candidate
        row = boxes + (image * count + splat) * 4
        x0 = tl.load(row, mask=given, other=FAR)
        x1 = tl.load(row + 1, mask=given, other=-1)
        y0 = tl.load(row + 2, mask=given, other=FAR)
        y1 = tl.load(row + 3, mask=given, other=-1)
        meets = (x0 < left + SIDE) & (x1 >= left) & (y0 < top + SIDE) & (y1 >= top)
        one = meets.to(tl.int32)
        position = met + tl.cumsum(one, 0) - one
        tl.store(lists + slot * capacity + position, splat, mask=meets & (position < capacity))
        met += tl.sum(one, 0)
    tl.store(counts + slot, met)


@triton.jit
def _walk(tile_counts, block_counts, slot, block, count, capacity, block_capacity, block_lists):
    """Length of a tile's walk, where its list starts in the shared buffer, whether there is a list, and a short one."""
    fine = tl.load(tile_counts + slot)
    coarse = tl.load(block_counts + block)
    short = fine <= capacity
    listed = short | (coarse <= block_capacity)
    length = tl.where(short, fine, tl.where(listed, coarse, count))
    offset = tl.where(short, slot * capacity, tl.where(listed, block_lists + block * block_capacity, 0))
    return length, offset, listed, short


@triton.jit
def _meets(boxes, index, left, top, SIDE: tl.constexpr):
    """Whether one splat's box meets the tile: asked where the walk is not the tile's own list."""
    row = boxes + index * 4
    across = (tl.load(row) < left + SIDE) & (tl.load(row + 1) >= left)
    return across & (tl.load(row + 2) < top + SIDE) & (tl.load(row + 3) >= top)


@triton.jit
def _pixels(image, left, top, height, width, channels, SIDE: tl.constexpr, CHANNELS: tl.constexpr):
    """Of a tile's pixels: centres, which are inside, places in one plane and in those of all channels, and the mask."""
    pixel = tl.arange(0, SIDE * SIDE)
    column = left + pixel % SIDE
    row = top + pixel // SIDE
    inside = (column < width) & (row < height)
    channel = tl.arange(0, CHANNELS)
    flat = (image * height + row) * width + column
    planes = ((image * channels + channel[None, :]) * height + row[:, None]) * width + column[:, None]
    painted = inside[:, None] & (channel < channels)[None, :]
    return column.to(tl.float32) + 0.5, row.to(tl.float32) + 0.5, inside, flat, planes, painted


@triton.jit
def _entry(lists, offset, entry, listed, short, boxes, image, count, left, top, SIDE: tl.constexpr):
    """Splat of an entry of a walk, its place among those of all images, and whether it meets the tile."""
    splat = tl.where(listed, tl.load(lists + offset + tl.where(listed, entry, 0)), entry)
    index = image * count + splat
    meets = short
    if not short:
        meets = _meets(boxes, index, left, top, SIDE)
    return splat, index, meets


@triton.jit
def _distance(at, x, y):
    """``u = dx + b/a dy``, ``dy`` and ``sigma`` of pixels from the splat whose geometry lies ``at``."""
    dy = y - tl.load(at + 1)
    u = x - tl.load(at) + tl.load(at + 3) * dy
    return u, dy, tl.load(at + 2) * u * u + tl.load(at + 4) * dy * dy


@triton.jit(do_not_specialize=_SIZES)
def blend(
    geometry,
    boxes,
    values,
    background,
    lists,
    tile_counts,
    block_counts,
    picture,
    transmittance,
    last,
    count,
    height,
    width,
    tiles_x,
    blocks_x,
    blocks,
    capacity,
    block_capacity,
    block_lists,
    channels,
    SIDE: tl.constexpr,
    RATIO: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Paint one tile of one image; keep each pixel's transmittance and the last entry that it saw."""
    image, slot, block, left, top = _place(tiles_x, blocks_x, blocks, SIDE, RATIO)
    length, offset, listed, short = _walk(
        tile_counts, block_counts, slot, block, count, capacity, block_capacity, block_lists
    )
    x, y, inside, flat, planes, painted = _pixels(image, left, top, height, width, channels, SIDE, CHANNELS)
    channel = tl.arange(0, CHANNELS)
    through = tl.full((SIDE * SIDE,), 1.0, tl.float32)
    colour = tl.zeros((SIDE * SIDE, CHANNELS), tl.float32)
    seen_last = tl.full((SIDE * SIDE,), -1, tl.int32)
    for entry in range(0, length):
        splat, index, meets = _entry(lists, offset, entry, listed, short, boxes, image, count, left, top, SIDE)
        if meets:
            at = geometry + index * GEOMETRY
            _, _, sigma = _distance(at, x, y)
            seen = (sigma <= tl.load(at + 5)) & (through >= EXHAUSTED)
            alpha = tl.minimum(tl.load(at + 6) * tl.exp(-sigma), MAX_ALPHA)
            weight = tl.where(seen, alpha, 0.0) * through
            value = tl.load(values + splat * channels + channel, mask=channel < channels, other=0.0)
            colour += weight[:, None] * value[None, :]
            through -= weight
            seen_last = tl.where(seen, entry, seen_last)
    behind = tl.load(background + channel, mask=channel < channels, other=0.0)
    colour += through[:, None] * behind[None, :]
    tl.store(transmittance + flat, through, mask=inside)
    tl.store(last + flat, seen_last, mask=inside)
    tl.store(picture + planes, colour, mask=painted)


@triton.jit(do_not_specialize=_SIZES)
def blend_backward(
    geometry,
    boxes,
    values,
    background,
    lists,
    tile_counts,
    block_counts,
    transmittance,
    last,
    given,
    sums,
    count,
    height,
    width,
    tiles_x,
    blocks_x,
    blocks,
    capacity,
    block_capacity,
    block_lists,
    channels,
    SIDE: tl.constexpr,
    RATIO: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROW: tl.constexpr,
):
    """Walk one tile of one image in reverse, recovering each transmittance by division.

    Adds to each splat's row of ``sums``, with ``g = dL/dsigma`` of a pixel: ``g``, ``g u``, ``g u²``, ``g dy``,
    ``g dy²``, ``g u dy`` (``u = dx + b/a dy``), then the gradient of its value, channel by channel.
    """
    image, slot, block, left, top = _place(tiles_x, blocks_x, blocks, SIDE, RATIO)
    length, offset, listed, short = _walk(
        tile_counts, block_counts, slot, block, count, capacity, block_capacity, block_lists
    )
    x, y, inside, flat, planes, painted = _pixels(image, left, top, height, width, channels, SIDE, CHANNELS)
    channel = tl.arange(0, CHANNELS)
    lane = tl.arange(0, ROW)
    through = tl.load(transmittance + flat, mask=inside, other=0.0)
    seen_last = tl.load(last + flat, mask=inside, other=-1)
    gift = tl.load(given + planes, mask=painted, other=0.0)
    shine = tl.load(background + channel, mask=channel < channels, other=0.0)
    behind = through * tl.sum(gift * shine[None, :], 1)
    for step in range(0, length):
        entry = length - 1 - step
        splat, index, meets = _entry(lists, offset, entry, listed, short, boxes, image, count, left, top, SIDE)
        if meets:
            at = geometry + index * GEOMETRY
            u, dy, sigma = _distance(at, x, y)
            seen = (sigma <= tl.load(at + 5)) & (entry <= seen_last)
            raw = tl.load(at + 6) * tl.exp(-sigma)
            alpha = tl.where(seen, tl.minimum(raw, MAX_ALPHA), 0.0)
            up = 1.0 / (1.0 - alpha)
            value = tl.load(values + splat * channels + channel, mask=channel < channels, other=0.0)
            bright = tl.sum(gift * value[None, :], 1)
            # dL/da = T c·g - (what lies behind)/(1 - a); dL/dsigma = -a dL/da, and nothing where a is clamped.
            g = tl.where(raw < MAX_ALPHA, (behind - through * bright) * up * alpha, 0.0)
            through = through * up
            weight = alpha * through
            behind += weight * bright
            gu = g * u
            gy = g * dy
            # One instruction for the whole row: its numbers lie in one or two sectors of the cache.
            row = tl.where(lane == 0, tl.sum(g, 0), 0.0)
            row = tl.where(lane == 1, tl.sum(gu, 0), row)
            row = tl.where(lane == 2, tl.sum(gu * u, 0), row)
            row = tl.where(lane == 3, tl.sum(gy, 0), row)
            row = tl.where(lane == 4, tl.sum(gy * dy, 0), row)
            row = tl.where(lane == 5, tl.sum(gu * dy, 0), row)
            share = tl.sum(weight[:, None] * gift, 0)
            row += tl.sum(tl.where(lane[:, None] == channel[None, :] + SUMS, share[None, :], 0.0), 1)
            # Nobody reads the sums before the kernel ends: no order is asked for, which would cost a fence each time.
            tl.atomic_add(sums + index * ROW + lane, row, mask=lane < SUMS + channels, sem="relaxed")


@triton.jit(do_not_specialize=["splats"])
def finish(geometry, sums, grad_means, grad_conics, grad_opacities, splats, ROW: tl.constexpr, BLOCK: tl.constexpr):
    """Turn the sums of every splat of every image into the gradients of its mean, conic and opacity."""
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    given = index < splats
    row = geometry + index * GEOMETRY
    half_a = tl.load(row + 2, mask=given, other=0.0)
    shear = tl.load(row + 3, mask=given, other=0.0)
    half_d = tl.load(row + 4, mask=given, other=0.0)
    opacity = tl.load(row + 6, mask=given, other=1.0)
    row = sums + index * ROW
    g = tl.load(row, mask=given, other=0.0)
    gu = tl.load(row + 1, mask=given, other=0.0)
    guu = tl.load(row + 2, mask=given, other=0.0)
    gy = tl.load(row + 3, mask=given, other=0.0)
    gyy = tl.load(row + 4, mask=given, other=0.0)
    guy = tl.load(row + 5, mask=given, other=0.0)
    tl.store(grad_means + index * 2, -2.0 * half_a * gu, mask=given)
    tl.store(grad_means + index * 2 + 1, -2.0 * (half_a * shear * gu + half_d * gy), mask=given)
    # dx = u - shear dy, so that sum(g dx²) and sum(g dx dy) follow from the sums in u.
    tl.store(grad_conics + index * 3, 0.5 * (guu - 2.0 * shear * guy + shear * shear * gyy), mask=given)
    tl.store(grad_conics + index * 3 + 1, guy - shear * gyy, mask=given)
    tl.store(grad_conics + index * 3 + 2, 0.5 * gyy, mask=given)
    tl.store(grad_opacities + index, -g / opacity, mask=given)
