"""Whether the seams of tiles show: jumps between neighbouring pixels where tiles meet.

Jumps at other places are those of other tissue. So the same lines of pixels are compared with themselves: once with a
border on them, and once in a picture that has none there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Lines = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows and columns, each the first pixel after an edge that is looked at."""


def borders(plan: Any, offset: int = 0) -> Lines:
    """Edges where tiles meet, counted in a volume in which the plan's begins at pixel (offset, offset)."""
    rows, columns = (_edges(spans, lambda low, high: (round((low + high) / 2),)) for spans in (plan.rows, plan.columns))
    return rows + offset, columns + offset


def fades(plan: Any, offset: int = 0) -> Lines:
    """All edges between pixels over which tiles fade into each other."""
    rows, columns = (
        _edges(spans, lambda low, high: range(int(np.ceil(low)), int(high) + 1)) for spans in (plan.rows, plan.columns)
    )
    return rows + offset, columns + offset


def _edges(spans: Any, of_fade: Any) -> NDArray[np.int64]:
    found = [of_fade(*span.fade_in) for span in spans if span.fade_in is not None]
    return np.array([edge for edges in found for edge in edges], dtype=np.int64)


def without(lines: Lines, others: Lines) -> Lines:
    """Those of ``lines`` that are not among ``others``."""
    rows, columns = (mine[~np.isin(mine, other)] for mine, other in zip(lines, others, strict=True))
    return rows, columns


def jumps(images: NDArray[Any], lines: Lines, origin: int = 0) -> NDArray[np.float64]:
    """Mean absolute difference across each line, of ``(n, H, W)`` images that begin at pixel (origin, origin)."""
    found = []
    for axis, edges in ((1, lines[0]), (2, lines[1])):
        for edge in edges - origin:
            pair = np.take(images, (edge - 1, edge), axis=axis).astype(np.float32)
            found.append(float(np.abs(np.diff(pair, axis=axis)).mean(dtype=np.float64)))
    return np.array(found)


def seam_ratio(pairs: list[tuple[NDArray[Any], NDArray[Any], Lines]], origin: int = 0) -> float:
    """Mean jump across lines with a border on them, over that across the same lines without one.

    Parameters
    ----------
    pairs : list of (with a border, without, lines)
        Images ``(n, H, W)`` of the same pixels, and where the first of them has its borders.
    origin : int
        Where the images begin in the volume that the lines are counted in.
    """
    with_border = np.concatenate([jumps(images, lines, origin) for images, _, lines in pairs])
    plain = np.concatenate([jumps(images, lines, origin) for _, images, lines in pairs])
    return float(with_border.mean() / plain.mean())


def jump_ratio(images: NDArray[Any], plan: Any) -> float:
    """Mean jump across tile borders over that away from them, in the same picture: of other tissue, therefore."""
    fading = fades(plan)
    inside = without(tuple(np.arange(1, n) for n in images.shape[1:]), fading)  # type: ignore[arg-type]
    return float(jumps(images, borders(plan)).mean() / jumps(images, inside).mean())


def depth_steps(images: NDArray[Any], depths: NDArray[np.float64], plan: Any) -> tuple[float, float]:
    """Mean absolute difference from slice to slice: where depth windows fade into each other, and elsewhere."""
    steps = np.abs(np.diff(images.astype(np.float32), axis=0)).mean((1, 2))
    at = (depths[1:] + depths[:-1]) / 2
    even = np.diff(depths) <= np.diff(depths).min() * 1.01  # not across a kept slice
    spans = [span.fade_in for span in plan.slices if span.fade_in is not None]
    near = np.any([(at >= low) & (at <= high) for low, high in spans], axis=0)
    return float(steps[near & even].mean()), float(steps[~near & even].mean())
