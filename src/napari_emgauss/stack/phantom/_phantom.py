"""A generated piece of neuropil: isotropic truth, and the anisotropic stack that a microscope would have kept of it.

Nothing in it is real data: it can be shipped, and everything between the kept slices is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss.stack._stack import Normalisation, Stack

from ._neuropil import fill_tissue, lay_neurites
from ._ultrastructure import paint


@dataclass(frozen=True)
class PhantomConfig:
    """What a phantom is made from.

    Parameters
    ----------
    shape : tuple of int
        ``(z, y, x)`` voxels of the isotropic truth.
    factor : int
        The stack keeps slices 0, factor, 2·factor, ... of it.
    pixel_size_nm : float
        Edge of a voxel. Structures are drawn for 5 nm; other sizes only change what is written into the metadata.
    seed : int
        Another seed, another piece of tissue.
    noise : float
        Standard deviation of the shot noise at mid-grey, in 8-bit grey values; 0 for none.
    """

    shape: tuple[int, int, int] = (121, 176, 208)
    factor: int = 8
    pixel_size_nm: float = 5.0
    seed: int = 3
    noise: float = 8.0

    def __post_init__(self) -> None:
        if min(self.shape) < 8:
            raise ConfigError(f"A phantom of shape {self.shape} is too small: give at least 8 voxels along z, y and x.")
        if not 1 <= self.factor <= (self.shape[0] - 1) // 2:
            raise ConfigError(
                f"A factor of {self.factor} leaves fewer than three of {self.shape[0]} slices: "
                f"give one from 1 to {(self.shape[0] - 1) // 2}."
            )
        if not (self.pixel_size_nm > 0 and self.noise >= 0):
            raise ConfigError("The phantom's pixel size must be above 0 nm and its noise must not be negative.")


def sample_truth(config: PhantomConfig | None = None) -> Stack:
    """The isotropic phantom, every slice of it.

    Parameters
    ----------
    config : PhantomConfig, optional
        Default: 121×176×208 voxels of 5 nm.

    Returns
    -------
    Stack
        8-bit, spacing equal to the pixel size. Its slices are one NumPy array that must not be written to.
    """
    config = config or PhantomConfig()
    return _as_stack(_volume(config), config, step=1, name="phantom-truth")


def sample_stack(config: PhantomConfig | None = None) -> Stack:
    """The anisotropic stack from the phantom: slices 0, factor, 2·factor, ... of :func:`sample_truth`.

    Parameters
    ----------
    config : PhantomConfig, optional
        Default: 16 slices of 176×208 pixels, 5 nm in plane, 40 nm from slice to slice.

    Returns
    -------
    Stack
        8-bit; exactly the truth's slices, so what was dropped can be scored.
    """
    config = config or PhantomConfig()
    return _as_stack(_volume(config)[:: config.factor], config, step=config.factor, name="phantom")


def _as_stack(slices: NDArray[np.uint8], config: PhantomConfig, *, step: int, name: str) -> Stack:
    return Stack(
        slices=slices,
        z_nm=np.arange(len(slices), dtype=np.float64) * step * config.pixel_size_nm,
        pixel_size_nm=(config.pixel_size_nm, config.pixel_size_nm),
        normalisation=Normalisation(low=0.0, high=255.0, dtype="uint8"),
        name=name,
        source=f"generated phantom, seed {config.seed}",
        metadata={"voxel_size_from": "the phantom's configuration"},
    )


@lru_cache(maxsize=2)
def _volume(config: PhantomConfig) -> NDArray[np.uint8]:
    """``(z, y, x)`` 8-bit truth, read-only since it is shared."""
    rng = np.random.default_rng(config.seed)
    neurites = lay_neurites(config.shape, rng)
    tissue = fill_tissue(config.shape, neurites, rng)
    grey = paint(tissue, neurites, rng)
    # Electrons arrive one by one: the variance grows with the brightness.
    grain = rng.standard_normal(config.shape, dtype=np.float32)
    grey += config.noise * np.sqrt(np.maximum(grey, 1.0) / 128.0) * grain
    volume = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    volume.setflags(write=False)
    return volume
