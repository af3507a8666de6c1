"""Where a volume lies: the layer arguments that put a finer grid exactly on its source layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Placement:
    """How the fitted part of a stack lies in the viewer's world; independent of the z step it is shown with.

    Parameters
    ----------
    world_per_nm_z : float
        World units per nm along z.
    scale_yx : tuple of float
        World units per pixel.
    translate : tuple of float
        World position of the first fitted voxel (before ``affine``).
    rotate, shear, affine : ndarray
        As of the source layer.
    units, axis_labels : tuple
        As of the source layer.
    """

    world_per_nm_z: float
    scale_yx: tuple[float, float]
    translate: tuple[float, ...]
    rotate: Any
    shear: Any
    affine: Any
    units: Any
    axis_labels: Any

    def layer_arguments(self, z_step_nm: float) -> dict[str, Any]:
        """Keywords of ``add_image`` for a grid with this z step."""
        return {
            "scale": (self.world_per_nm_z * z_step_nm, *self.scale_yx),
            "translate": self.translate,
            "rotate": self.rotate,
            "shear": self.shear,
            "affine": self.affine,
            "units": self.units,
            "axis_labels": self.axis_labels,
        }


def placement_on(source: Layer, origin: tuple[int, int, int], z_nm: Sequence[float]) -> Placement:
    """Placement of a part of ``source`` that starts at voxel ``origin``; its slices lie at the depths ``z_nm``.

    ``world = affine(R·Sh·S·x + t)`` with voxel ``x = origin + D·x'`` of the part, ``D`` diagonal: the part has the
    scale ``S·D`` and the translation ``t + R·Sh·S·origin``. Slices at uneven depths lie evenly in the source layer;
    the part keeps first and last slice on theirs.
    """
    from napari.utils.transforms import Affine

    # Of a layer with channels in front, the last three axes.
    scale, rotate = np.asarray(source.scale)[-3:], np.asarray(source.rotate)[-3:, -3:]
    shear = np.asarray(source.shear) if source.ndim == 3 else np.zeros(3)
    affine = np.asarray(source.affine.affine_matrix)[-4:, -4:]
    transform = Affine(scale=scale, translate=np.asarray(source.translate)[-3:], rotate=rotate, shear=shear)
    step_nm = (z_nm[-1] - z_nm[0]) / (len(z_nm) - 1)
    return Placement(
        world_per_nm_z=float(scale[0]) / float(step_nm),
        scale_yx=(float(scale[1]), float(scale[2])),
        translate=tuple(float(v) for v in transform(np.asarray(origin, dtype=float))),
        rotate=np.array(rotate),
        shear=np.array(shear),
        affine=np.array(affine),
        units=tuple(source.units)[-3:],
        axis_labels=tuple(source.axis_labels)[-3:],
    )


def placement_in_nm(
    z_nm: Sequence[float] | NDArray[np.float64], pixel_size_nm: tuple[float, float], origin: tuple[int, int] = (0, 0)
) -> Placement:
    """Placement of a model without a source layer: in nm, at its own depths and place in the plane."""
    y_nm, x_nm = pixel_size_nm
    return Placement(
        world_per_nm_z=1.0,
        scale_yx=(y_nm, x_nm),
        translate=(float(z_nm[0]), origin[0] * y_nm, origin[1] * x_nm),
        rotate=np.eye(3),
        shear=np.zeros(3),
        affine=np.eye(4),
        units=("nm", "nm", "nm"),
        axis_labels=("z", "y", "x"),
    )
