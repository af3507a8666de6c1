"""How observed slices look in a volume, and what its depths are called; light, for the command line's help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

Look: TypeAlias = Literal["smooth", "exact"]
"""How observed slices look: as the model renders them, or as they are in the source."""

LOOKS: tuple[Look, ...] = get_args(Look)


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
    look : {"smooth", "exact"}
        Only the exact look shows somebody's own slice.
    """
    nearest = min(range(len(z_nm)), key=lambda k: abs(z_nm[k] - depth_nm))
    number = nearest if numbers is None else numbers[nearest]
    distance = abs(float(z_nm[nearest]) - float(depth_nm))
    if distance > 1e-6 * float(z_nm[-1] - z_nm[0]):
        return f"inferred, {distance:.4g} nm from slice {number}"
    return f"your slice {number}" if look == "exact" else f"fitted to slice {number}"
