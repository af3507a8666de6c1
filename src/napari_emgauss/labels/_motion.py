"""How structures move through a gap: optical flow from slice to slice of what the model inferred there.

The flow from one labelled slice to the next fails where structures move further than they are wide. Through the slices
that the model infers in between, each step is small. Neither is right everywhere, so labels are carried along both,
and along no motion at all, and what the three say is averaged (`benchmarks/labels.py` compares them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.priors import blur_slices, optical_flow

MOST_STEPS = 8
"""Inferred slices to chain the flow through are this many less one at most."""
_WHOLE_RESOLUTION_PIXELS = 1 << 20
"""Larger pictures are looked at in half their resolution: motion is smooth, and the flow takes most of the time."""

Displacement = NDArray[np.float32]
"""``(2, H, W)``, rows and columns."""


@dataclass(frozen=True)
class GapMotion:
    """Where what is seen in a gap lies in the slice above it and in the one below.

    Parameters
    ----------
    positions : tuple of float
        Of the steps, 0 at the slice above and 1 at the one below, both included.
    from_above, from_below : ndarray
        ``(n, 2, H, W)`` float32, displacement to the slice above and to the one below for each step.
    forward, backward : ndarray
        ``(2, H, W)``, flow from the slice above to the one below at once, and back.
    """

    positions: tuple[float, ...]
    from_above: NDArray[np.float32]
    from_below: NDArray[np.float32]
    forward: Displacement
    backward: Displacement

    @property
    def nbytes(self) -> int:
        """Memory of the displacements."""
        return self.from_above.nbytes + self.from_below.nbytes + self.forward.nbytes + self.backward.nbytes

    @property
    def reach_pixels(self) -> float:
        """The largest displacement in rows or columns."""
        return float(
            max(np.abs(part).max() for part in (self.from_above, self.from_below, self.forward, self.backward))
        )

    def at(self, position: float) -> list[tuple[Displacement, Displacement]]:
        """Pairs of displacements to the slice above and to the one below: through the steps, at once, and none."""
        u = np.float32(position)
        above, below = (_between(part, self.positions, position) for part in (self.from_above, self.from_below))
        still = np.zeros_like(self.forward)
        return [(above, below), (-u * self.forward, -(1 - u) * self.backward), (still, still)]


def no_motion(shape: tuple[int, int]) -> list[tuple[Displacement, Displacement]]:
    """What :meth:`GapMotion.at` gives where nothing moves."""
    still = np.zeros((2, *shape), np.float32)
    return [(still, still)]


def step_count(gap_pixels: float) -> int:
    """Steps through a gap of so many pixels."""
    return int(np.clip(round(gap_pixels), 1, MOST_STEPS))


def gap_motion(images: NDArray[np.float32], positions: tuple[float, ...]) -> GapMotion:
    """Motion through the slices of a gap, the two around it included.

    Parameters
    ----------
    images : ndarray
        ``(n, H, W)`` float32 in the unit range.
    positions : tuple of float
        Of each in the gap, from 0 to 1.
    """
    factor = 2 if images[0].size > _WHOLE_RESOLUTION_PIXELS else 1
    smooth = blur_slices(images if factor == 1 else blur_slices(images)[:, ::2, ::2])
    grid = np.indices(smooth.shape[1:], dtype=np.float32)
    above, below = [grid], [grid]
    for here, before in zip(smooth[1:], smooth[:-1], strict=True):
        above.append(_moved(above[-1], grid + optical_flow(here, before)))
    for here, after in zip(smooth[-2::-1], smooth[:0:-1], strict=True):
        below.append(_moved(below[-1], grid + optical_flow(here, after)))
    parts: list[Any] = [
        np.stack(above) - grid,
        np.stack(below[::-1]) - grid,
        optical_flow(smooth[0], smooth[-1]),
        optical_flow(smooth[-1], smooth[0]),
    ]
    if factor > 1:
        parts = [_finer(part, factor, images.shape[1:]) for part in parts]
    return GapMotion(positions, *parts)


def _moved(place: Displacement, to: Displacement) -> Displacement:
    """``place`` looked up at ``to``, linear between pixels, continued beyond the edge as it is there."""
    from scipy.ndimage import map_coordinates

    grid = np.indices(place.shape[1:], dtype=np.float32)
    return (
        np.stack([map_coordinates(c - g, to, order=1, mode="nearest") for c, g in zip(place, grid, strict=True)]) + to
    )


def _finer(coarse: NDArray[np.float32], factor: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    from scipy.ndimage import map_coordinates

    grid = np.indices(shape, dtype=np.float32) / np.float32(factor)
    flat = coarse.reshape(-1, *coarse.shape[-2:])
    fine = np.stack([map_coordinates(one, grid, order=1, mode="nearest") for one in flat]) * np.float32(factor)
    return np.asarray(fine.reshape(*coarse.shape[:-2], *shape), dtype=np.float32)


def _between(parts: NDArray[np.float32], positions: tuple[float, ...], position: float) -> Displacement:
    index = int(np.clip(np.searchsorted(positions, position, side="right") - 1, 0, len(positions) - 2))
    span = positions[index + 1] - positions[index]
    share = np.float32(np.clip((position - positions[index]) / span, 0.0, 1.0))
    return np.asarray((1 - share) * parts[index] + share * parts[index + 1], dtype=np.float32)
