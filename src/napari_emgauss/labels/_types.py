"""Integer types of labels: which holds which ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from napari_emgauss._errors import ExportError


def holds(dtype: np.dtype[Any], value: int) -> bool:
    """Whether a type of whole numbers has a value."""
    if dtype.kind == "b":
        return value in (0, 1)
    limits = np.iinfo(dtype)
    return int(limits.min) <= value <= int(limits.max)


def smallest_type(low: int, high: int, names: Iterable[str], label: str) -> np.dtype[Any]:
    """The smallest of some integer types that holds ids from ``low`` to ``high``, unsigned before signed.

    Raises
    ------
    ExportError
        None does. ``label`` says whose types they are.
    """
    types = sorted(
        (np.dtype(name) for name in names if np.dtype(name).kind in "iu"),
        key=lambda one: (one.itemsize, one.kind != "u"),
    )
    for one in types:
        if holds(one, low) and holds(one, high):
            return one
    raise ExportError(
        f"{label} holds labels of the types {', '.join(str(one) for one in types)}, and these reach from {low} to "
        f"{high}: choose another format, such as OME-Zarr, or number the objects anew."
    )
