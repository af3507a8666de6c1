"""A volume at several resolutions, for viewers."""

from __future__ import annotations

import numpy as np

from ._depths import isotropic_depths
from ._lazy import LazyVolume, default_spacing
from ._protocol import VolumeModel
from ._render_cache import RenderCache


def pyramid(
    model: VolumeModel,
    *,
    spacing_nm: float | None = None,
    z_range_nm: tuple[float, float] | None = None,
    cache: RenderCache | None = None,
    smallest: int = 256,
    limit_3d: int = 160,
) -> list[LazyVolume]:
    """Levels of one volume, finest first, for a viewer's multiscale image layer.

    The in-plane levels keep every depth, or scrubbing a zoomed-out view would skip steps; only the last one is coarse
    along z too. It is what 3D views and thumbnails show, so its size is the price of both. Samples are spaced by the
    ratio of the levels' shapes, from which viewers derive the scale.

    Parameters
    ----------
    model : VolumeModel
    spacing_nm : float, optional
        Distance between slices; by default the pixel size, adjusted so that observed slices lie on the grid.
    z_range_nm : tuple of float, optional
        First and last depth.
    cache : RenderCache, optional
        Shared by all levels; a new one by default.
    smallest : int
        In-plane levels are made until the longer side would fall below this.
    limit_3d : int
        Largest extent of the last level.

    Raises
    ------
    DepthError
        See :func:`isotropic_depths`.
    """
    depths = isotropic_depths(model.z_nm, default_spacing(model) if spacing_nm is None else spacing_nm, z_range_nm)
    cache = RenderCache() if cache is None else cache
    _, height, width = model.shape
    levels: list[LazyVolume] = []
    reduction = 1
    while reduction == 1 or max(height, width) // reduction >= smallest:
        shape = (-(-height // reduction), -(-width // reduction))
        levels.append(LazyVolume(model, depths, in_plane_shape=shape, cache=cache))
        reduction *= 2
    kept, rows, columns = (min(n, limit_3d) for n in levels[-1].shape)
    if (kept, rows, columns) != levels[-1].shape:
        # Centres of `kept` equal cells of the index range, as for rows and columns.
        index = (np.arange(kept) + 0.5) * (len(depths) / kept) - 0.5
        coarse_depths = np.interp(index, np.arange(len(depths)), depths)
        levels.append(LazyVolume(model, coarse_depths, in_plane_shape=(rows, columns), cache=cache))
    return levels
