"""How a volume looks, and what its depths are called; light, for the command line's help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Look: TypeAlias = Literal["smooth", "exact", "textured"]
"""How a volume looks at observed slices and between them."""


@dataclass(frozen=True)
class LookRow:
    """One look, as lists of looks tell of it.

    Parameters
    ----------
    name : Look
        By which it is asked for.
    label : str
        In the window.
    summary : str
        What it shows.
    keeps_own_slices : bool
        Observed depths show the slices of the source, so that the stack must be at hand.
    adds_texture : bool
        What is rendered gets the contrast and the noise of observed slices.
    """

    name: Look
    label: str
    summary: str
    keeps_own_slices: bool = False
    adds_texture: bool = False


LOOK_ROWS = (
    LookRow("smooth", "Smooth", "every depth as the model renders it"),
    LookRow("exact", "Exact", "observed slices as they are in the stack, byte for byte; all else rendered", True),
    LookRow(
        "textured",
        "Textured",
        "like exact, but what is rendered gets the stack's contrast and noise, so that all depths look alike",
        True,
        True,
    ),
)
"""All looks, the default first."""

LOOKS: tuple[Look, ...] = tuple(row.name for row in LOOK_ROWS)


def look_row(look: Look) -> LookRow:
    """What is known of a look."""
    return next(row for row in LOOK_ROWS if row.name == look)


def name_of_depth(
    depth_nm: float, z_nm: Sequence[float], numbers: Sequence[int] | None = None, look: Look = "smooth"
) -> str:
    """What is shown at a depth: ``your slice 8``, ``fitted to slice 8``, ``inferred, 20 nm from slice 8``.

    Parameters
    ----------
    depth_nm : float
        The depth.
    z_nm : sequence of float
        Depths of the observed slices, nm, increasing.
    numbers : sequence of int, optional
        Their numbers in the file; counted from 0 by default.
    look : {"smooth", "exact", "textured"}
        Only where it keeps them somebody's own slice is shown; where it adds texture, that is said.
    """
    row = look_row(look)
    nearest = min(range(len(z_nm)), key=lambda k: abs(z_nm[k] - depth_nm))
    number = nearest if numbers is None else numbers[nearest]
    distance = abs(float(z_nm[nearest]) - float(depth_nm))
    if distance > 1e-6 * float(z_nm[-1] - z_nm[0]):
        inferred = f"inferred, {distance:.4g} nm from slice {number}"
        return f"{inferred}; noise added" if row.adds_texture else inferred
    return f"your slice {number}" if row.keeps_own_slices else f"fitted to slice {number}"
