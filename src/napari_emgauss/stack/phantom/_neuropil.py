"""The phantom's shape: neurites that fill space, and for every voxel which one it belongs to and where in it it lies.

Neurites are the cells of an additively weighted Voronoi diagram of line segments in smoothly warped space, so that they
fill the volume, bend, touch and change calibre. Lengths are in voxels.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

_WARPS = ((150.0, 22.0), (60.0, 5.0), (24.0, 1.2))  # wavelength, amplitude


@dataclass(frozen=True)
class Neurites:
    """Line segments with a calibre, in warped voxel coordinates ``(z, y, x)``; one per neurite."""

    centre: Field  # (N, 3)
    direction: Field  # (N, 3), unit length
    half_length: Field  # (N,)
    radius: Field  # (N,)
    brightness: Field  # (N,)
    is_bouton: NDArray[np.bool_]  # full of vesicles
    has_mitochondrion: NDArray[np.bool_]
    has_microtubules: NDArray[np.bool_]


def lay_neurites(shape: tuple[int, int, int], rng: np.random.Generator) -> Neurites:
    margin = 45.0
    box = np.array(shape) + 2 * margin
    count = max(8, round(float(np.prod(box)) / 60.0**3))
    centre = np.empty((count, 3))
    direction = np.empty((count, 3))
    half_length = np.empty(count)
    radius = np.empty(count)
    along = np.linspace(-1, 1, 9)[:, None]
    points = np.empty((0, 3))
    for n in range(count):
        long = rng.random() < 0.55
        # Most of the long ones run along z or obliquely to it, the rest anywhere.
        half_length[n] = 400.0 if long else rng.uniform(6, 45)
        radius[n] = rng.uniform(2, 16) if long else rng.uniform(10, 26)
        best = -math.inf
        for _ in range(10):  # of ten places, the one that is farthest from all others
            c = rng.uniform(0, 1, 3) * box - margin
            u = rng.standard_normal(3) * ((2.5, 1.0, 1.0) if long and n % 4 else (1.0, 1.0, 1.0))
            u /= np.linalg.norm(u)
            mine = c + along * min(half_length[n], 120.0) * u
            gap = float(np.min(np.linalg.norm(points[:, None] - mine[None], axis=-1), initial=1e3)) - radius[n]
            if gap > best:
                best, centre[n], direction[n] = gap, c, u
        points = np.concatenate([points, centre[n] + along * min(half_length[n], 120.0) * direction[n]])
    thick = radius > 9
    return Neurites(
        centre=centre.astype(np.float32),
        direction=direction.astype(np.float32),
        half_length=half_length.astype(np.float32),
        radius=radius.astype(np.float32),
        brightness=rng.normal(0, 9, count).astype(np.float32),
        is_bouton=(half_length < 100) & (rng.random(count) < 0.6),
        has_mitochondrion=thick & (rng.random(count) < 0.7),
        has_microtubules=(half_length > 100) & (rng.random(count) < 0.8),
    )


@dataclass(frozen=True)
class Tissue:
    """What every voxel belongs to."""

    label: NDArray[np.int16]  # the neurite
    wall: Field  # distance to the border with the next neurite, in voxels
    along: Field  # where on its neurite's segment, in voxels from the centre
    across: Field  # (2, z, y, x) position in the plane across the neurite
    to_axis: Field  # distance from the neurite's axis


def fill_tissue(shape: tuple[int, int, int], neurites: Neurites, rng: np.random.Generator) -> Tissue:
    places = _warped_places(shape, rng)
    axes = neurites.direction, *_across(neurites.direction)
    label = np.empty(shape, np.int16)
    wall, along, to_axis = (np.empty(shape, np.float32) for _ in range(3))
    across = np.empty((2, *shape), np.float32)
    edge = 24  # a block this small has few neurites near it, and only they are looked at
    for z, y, x in itertools.product(*(range(0, n, edge) for n in shape)):
        box = (slice(z, z + edge), slice(y, y + edge), slice(x, x + edge))
        block = places[box]
        flat = block.reshape(-1, 3)
        near = _neurites_near(flat, neurites)
        distance, at = _distances(flat, neurites, near)
        voxel = np.arange(len(flat))
        first = np.argmin(distance, axis=1)
        nearest = distance[voxel, first].copy()
        distance[voxel, first] = np.inf
        second = np.argmin(distance, axis=1)
        # The difference of two distances grows at the rate |n1 - n2|: divided by it, walls are evenly thick.
        foot = [
            flat - neurites.centre[near[i]] - at[voxel, i, None] * neurites.direction[near[i]] for i in (first, second)
        ]
        away = [f / np.maximum(_norm(f), 1e-3)[:, None] for f in foot]
        rate = np.maximum(_norm(away[0] - away[1]), 0.35)
        owner = near[first]
        label[box] = owner.reshape(block.shape[:3])
        wall[box] = ((distance[voxel, second] - nearest) / rate).reshape(block.shape[:3])
        to_axis[box] = _norm(foot[0]).reshape(block.shape[:3])
        from_centre = flat - neurites.centre[owner]
        own = [np.einsum("ij,ij->i", from_centre, axis[owner]).reshape(block.shape[:3]) for axis in axes]
        along[box], across[0][box], across[1][box] = own
    return Tissue(label, wall, along, across, to_axis)


def _neurites_near(places: Field, neurites: Neurites) -> NDArray[np.int16]:
    """Neurites that can be the nearest or second nearest at any of the places: distances change by a step at most."""
    middle = places.mean(axis=0, keepdims=True, dtype=np.float32)
    reach = float(np.max(_norm(places - middle)))
    distance = _distances(middle, neurites, np.arange(len(neurites.radius), dtype=np.int16))[0][0]
    return np.flatnonzero(distance <= np.partition(distance, 1)[1] + 2 * reach).astype(np.int16)


def _distances(places: Field, neurites: Neurites, which: NDArray[np.int16]) -> tuple[Field, Field]:
    """Distance beyond the neurite's radius, and the nearest point's position along the segment: ``(places, which)``."""
    centre, direction = neurites.centre[which], neurites.direction[which]
    # |x-c|² - 2ts + t² with s = (x-c)·u and t = s clipped to the segment.
    s = places @ direction.T - np.sum(centre * direction, axis=1)
    t = np.clip(s, -neurites.half_length[which], neurites.half_length[which])
    square = np.sum(places**2, axis=1)[:, None] - 2 * places @ centre.T
    square += np.sum(centre**2, axis=1) - (2 * s - t) * t
    return np.sqrt(np.maximum(square, 1e-3)) - neurites.radius[which], t


def _norm(vectors: Field) -> Field:
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))


def _across(direction: Field) -> tuple[Field, Field]:
    """Two unit vectors across each direction."""
    helper = np.where(np.abs(direction[:, :1]) < 0.7, np.array([[1.0, 0, 0]]), np.array([[0, 1.0, 0]]))
    side = np.cross(direction, helper)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    return side.astype(np.float32), np.cross(direction, side).astype(np.float32)


def _warped_places(shape: tuple[int, int, int], rng: np.random.Generator) -> Field:
    """``(z, y, x, 3)`` where each voxel lies after smooth warping."""
    places = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij"), axis=-1)
    for axis in range(3):
        for wavelength, amplitude in _WARPS:
            places[..., axis] += np.float32(amplitude) * smooth_noise(shape, wavelength, rng)
    return places


def smooth_noise(shape: tuple[int, int, int], wavelength: float, rng: np.random.Generator) -> Field:
    """A smooth random field of about unit variance that changes over ``wavelength`` voxels."""
    from scipy import ndimage

    step = max(1.0, wavelength / 4)
    coarse = [math.ceil(n / step) + 4 for n in shape]
    out = ndimage.gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), 0.8, mode="wrap") / np.float32(0.2)
    for n, knots in zip(shape, coarse, strict=True):  # cubic B-spline, one axis after the other
        distance = np.abs(np.arange(n)[:, None] / step + 1 - np.arange(knots))
        inner, outer = 2 / 3 - distance**2 + distance**3 / 2, np.maximum(2 - distance, 0) ** 3 / 6
        weights = np.where(distance < 1, inner, outer).astype(np.float32)
        out = np.tensordot(out, weights, axes=(0, 1))  # the axis just done goes to the end, the next one comes first
    return np.ascontiguousarray(out)
