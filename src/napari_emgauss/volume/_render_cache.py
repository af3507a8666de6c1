"""Rendered planes kept in memory."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from numpy.typing import NDArray

from napari_emgauss._cache import ByteBoundCache


class RenderCache(ByteBoundCache[Hashable, NDArray[Any]]):
    """Rendered planes, least recently used ones dropped above a limit in bytes; shared by levels and views.

    Parameters
    ----------
    max_bytes : int
        Limit; a plane larger than it is not kept at all.
    """

    def __init__(self, max_bytes: int = 512 << 20) -> None:
        super().__init__(lambda plane: plane.nbytes, max_bytes)

    def __reduce__(self) -> tuple[type[RenderCache], tuple[int]]:
        """In another process it begins empty: planes are rendered anew sooner than they are sent."""
        return RenderCache, (self.max_bytes,)
