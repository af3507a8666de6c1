"""The phantom's grey values: membranes and what lies between them, as an electron microscope shows them.

Everything is drawn in the coordinates of the neurite it belongs to and therefore follows it from slice to slice.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._neuropil import Field, Neurites, Tissue, smooth_noise

# Grey values of an 8-bit image and lengths in voxels (at 5 nm), read off published ssTEM and FIB-SEM images.
_CYTOPLASM, _MEMBRANE, _MATRIX, _LUMEN = 160.0, 60.0, 106.0, 152.0
_MEMBRANE_HALF_WIDTH = 1.7
_MICROTUBULE_SPACING = 15.0
_VESICLE_RADIUS = 4.2


def paint(tissue: Tissue, neurites: Neurites, rng: np.random.Generator) -> Field:
    """What the microscope would see without noise."""
    from scipy import ndimage

    shape = (tissue.label.shape[0], tissue.label.shape[1], tissue.label.shape[2])
    grain = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 1.1)
    grain /= grain.std()
    grey = np.float32(_CYTOPLASM) + neurites.brightness[tissue.label] + 5 * smooth_noise(shape, 14.0, rng)
    grey += 8 * grain - 16 * np.maximum(-grain - 1.5, 0)  # with specks of ribosomes
    _darken(grey, _reticulum(tissue, shape, rng), 0.55)
    _draw_microtubules(grey, tissue, neurites)
    taken = _draw_mitochondria(grey, tissue, neurites, smooth_noise(shape, 30.0, rng))
    _draw_vesicles(grey, tissue, neurites, taken, rng)
    # Two membranes and the cleft between them; denser where a bouton has its synapse.
    cleft = np.exp(-((tissue.wall / 0.9) ** 2))
    _darken(grey, _soft_step((_MEMBRANE_HALF_WIDTH + 0.4 - tissue.wall) / 0.45) * (1 - 0.35 * cleft), 1.0)
    _darken(grey, _densities(tissue, neurites, rng), 0.85)
    return np.asarray(ndimage.gaussian_filter(grey, 0.55), dtype=np.float32)


def _darken(grey: Field, amount: Field, strength: float) -> None:
    """Pull ``grey`` towards the membrane's value, in place."""
    grey += np.float32(strength) * amount * (np.float32(_MEMBRANE) - grey)


def _reticulum(tissue: Tissue, shape: tuple[int, int, int], rng: np.random.Generator) -> Field:
    """Thin cisternae of endoplasmic reticulum: where a smooth field passes through zero, in some places only."""
    sheet = np.exp(-((smooth_noise(shape, 42.0, rng) / 0.05) ** 2))
    return sheet * _soft_step(8 * (smooth_noise(shape, 60.0, rng) - 0.7)) * (tissue.wall > 6)


def _draw_microtubules(grey: Field, tissue: Tissue, neurites: Neurites) -> None:
    """Fine lines along some neurites: dots on a jittered lattice across them."""
    where = neurites.has_microtubules[tissue.label] & (tissue.wall > 5)
    across = tissue.across[:, where]
    cell = np.rint(across / _MICROTUBULE_SPACING)
    # A number in [0, 1) per lattice cell and neurite, the same all along the neurite.
    chance = np.sin(cell[0] * 127.1 + cell[1] * 311.7 + tissue.label[where] * np.float32(74.7)) * 43758.547
    chance -= np.floor(chance)
    offset = _MICROTUBULE_SPACING * 0.6 * np.stack([chance - 0.5, (chance * 7.3) % 1 - 0.5])
    distance = np.linalg.norm(across - cell * _MICROTUBULE_SPACING - offset, axis=0)
    inner = grey[where]
    _darken(inner, np.exp(-((distance / 1.8) ** 2)) * (chance < 0.75), 0.6)
    grey[where] = inner


def _draw_mitochondria(grey: Field, tissue: Tissue, neurites: Neurites, ripple: Field) -> NDArray[np.bool_]:
    """Dark ovals with a double membrane and cristae, strung along some neurites. Returns where no vesicle may be."""
    where = neurites.has_mitochondrion[tissue.label] & (tissue.wall > 2)
    label, along, ripple = tissue.label[where], tissue.along[where], ripple[where]
    period = np.float32(190)
    phase = label * np.float32(53) % period
    middle = np.abs((along + phase) % period - period / 2) - 48  # each 96 voxels long, then a pause
    radius = np.minimum(0.55 * neurites.radius[label] + 8, 20) + 1.6 * ripple
    rounded = np.sqrt(np.maximum(middle + radius, 0) ** 2 + tissue.to_axis[where] ** 2) - radius
    depth = np.minimum(-rounded, tissue.wall[where] - 5)  # voxels below the organelle's surface
    # Cristae: lamellae across the organelle that reach in from one side and the other in turn.
    turn = (along + 5 * ripple) / 10
    fold = np.abs(turn % 1 - 0.5) * 10  # voxels from the middle of a crista
    reach = np.clip((tissue.across[0][where] * np.where(turn.astype(int) % 2, 1, -1) + 9) / 4, 0, 1) * (depth > 3)
    inner = grey[where]
    content = _MATRIX + 0.3 * (inner - _CYTOPLASM)
    _darken(content, np.exp(-(((fold - 1.7) / 0.9) ** 2)) * reach, 0.85)
    content += 0.45 * np.exp(-((fold / 0.9) ** 2)) * reach * (_LUMEN - content)
    inner += _soft_step(2 * depth) * (content - inner)
    _darken(inner, np.exp(-(((depth - 0.8) / 1.1) ** 2)), 0.85)
    _darken(inner, np.exp(-(((depth - 4.0) / 0.8) ** 2)), 0.35)
    grey[where] = inner
    taken = np.zeros(grey.shape, dtype=bool)
    taken[where] = depth > -_VESICLE_RADIUS - 1
    return taken


def _draw_vesicles(
    grey: Field, tissue: Tissue, neurites: Neurites, taken: NDArray[np.bool_], rng: np.random.Generator
) -> None:
    """Dark rings of about 40 nm, crowded in the boutons."""
    room = neurites.is_bouton[tissue.label] & (tissue.wall > _VESICLE_RADIUS + 3.0) & ~taken
    candidates = np.flatnonzero(room)
    wanted = len(candidates) // 1500
    if wanted == 0:
        return
    picked = rng.choice(candidates, size=min(len(candidates), 3 * wanted), replace=False)
    places = np.stack(np.unravel_index(picked, grey.shape), axis=1) + rng.uniform(-0.5, 0.5, (len(picked), 3))
    half = math.ceil(_VESICLE_RADIUS + 4)
    kept: list[NDArray[np.float64]] = []
    for place in places:
        if kept and np.min(np.sum((np.array(kept) - place) ** 2, axis=1)) < (2.1 * _VESICLE_RADIUS) ** 2:
            continue
        kept.append(place)
        box, offsets = _box_around(place, half, grey.shape)
        distance = np.sqrt(sum(o**2 for o in offsets))
        radius = _VESICLE_RADIUS * rng.uniform(0.88, 1.12)
        ring = np.exp(-(((distance - radius) / 1.15) ** 2)).astype(np.float32)
        patch = grey[box]
        patch += (np.exp(-((distance / (radius - 1)) ** 4)) * (_LUMEN - patch) * 0.5).astype(np.float32)
        _darken(patch, ring, 0.75)
        if len(kept) == wanted:
            return


def _densities(tissue: Tissue, neurites: Neurites, rng: np.random.Generator) -> Field:
    """Synapses: patches of the boutons' walls with dense material on both sides."""
    out = np.zeros(tissue.label.shape, dtype=np.float32)
    at_wall = np.flatnonzero(neurites.is_bouton[tissue.label] & (tissue.wall < 0.6))
    if len(at_wall) == 0:
        return out
    count = max(1, len(at_wall) // 9000)
    for place in np.stack(np.unravel_index(rng.choice(at_wall, size=count), out.shape), axis=1):
        box, offsets = _box_around(place, 40, out.shape)
        distance = np.sqrt(sum(o**2 for o in offsets)) / rng.uniform(15, 24)
        np.maximum(out[box], np.exp(-(distance**4)), out=out[box])
    return out * _soft_step((5.5 - tissue.wall) / 0.8)


def _box_around(
    place: NDArray[Any], half: int, shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[NDArray[Any], ...]]:
    """The part of the volume within ``half`` voxels of a place, and along each axis how far its voxels are from it."""
    low = np.maximum(np.rint(place).astype(int) - half, 0)
    high = np.minimum(np.rint(place).astype(int) + half + 1, shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return box, tuple(o - p for o, p in zip(np.ogrid[box], place, strict=True))


def _soft_step(x: Field) -> Field:
    """0 far below zero, 1 far above."""
    return 0.5 + 0.5 * np.tanh(0.5 * x)
