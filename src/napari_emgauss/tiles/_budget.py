"""Memory: amounts as people write them, and tiles that fit into a budget."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss._remedies import Door, remedy
from napari_emgauss.fitting import FitConfig

from ._estimate import COORDINATOR_BYTES, card_memory_bytes, tile_memory_bytes, whole_memory_bytes
from ._plan import SMALLEST_TILE, TilePlan, TileSize, cut

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_COMFORTABLE_PIXELS = 128
"""Rather fewer slices a tile than a side below this: of a smaller tile the halo is most."""
_FEWEST_SLICES = 8
_CARD_SHARE = 0.8
"""Of a card's free memory: allocators leave gaps."""


def parse_memory(text: str) -> int:
    """Bytes from ``8GB``, ``500 MB``, ``16GiB`` or a number of bytes.

    Raises
    ------
    ConfigError
        It is not an amount of memory.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([kmgt]i?)?b?\s*", text, re.IGNORECASE)
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"'{text}' is not an amount of memory; write for example 8GB.")
    return round(float(match[1]) * _UNITS[(match[2] or "").lower()])


def size_within(
    shape: tuple[int, int, int],
    z_nm: NDArray[np.float64] | Sequence[float],
    pixel_size_nm: tuple[float, float],
    config: FitConfig,
    *,
    memory_bytes: int | None = None,
    card_bytes: int | None = None,
    workers: int | None = None,
    preferred: TileSize | None = None,
) -> TileSize:
    """The largest tiles, up to the preferred size, of which ``workers`` at once fit into memory.

    Where a volume would be cut into fewer tiles than there are workers, tiles are made smaller so that all have work.

    Parameters
    ----------
    shape, z_nm, pixel_size_nm
        Of the volume.
    config : FitConfig
        Settings of every tile's fit.
    memory_bytes : int, optional
        For the whole run on this machine; without it tiles have the preferred size.
    card_bytes : int, optional
        Of the graphics card that fits one tile; see :func:`free_card_bytes`.
    workers : int or None
        Processes that fit tiles at once, beside the one that hands them out; None: that one fits them itself.
    preferred : TileSize, optional
        Size to begin with.

    Raises
    ------
    ConfigError
        Not even the smallest tiles fit.
    """
    size = TileSize() if preferred is None else preferred

    def needed(candidate: TileSize) -> int:
        plan = cut(shape, z_nm, candidate)
        each = tile_memory_bytes(plan.largest.shape, z_nm, pixel_size_nm, config)
        at_once = min(workers or 1, len(plan))
        return each * at_once + (0 if workers is None else COORDINATOR_BYTES)

    def needed_on_card(candidate: TileSize) -> int:
        return card_memory_bytes(cut(shape, z_nm, candidate).largest.shape, z_nm, pixel_size_nm, config)

    # Small steps first where they cost least: side down to the comfortable, then depth, then side.
    while (memory_bytes is not None and needed(size) > memory_bytes) or (
        card_bytes is not None and needed_on_card(size) > card_bytes
    ):
        smaller = _smaller(size, shape)
        if smaller is None and (memory_bytes is None or needed(size) <= memory_bytes):
            raise ConfigError(
                f"The graphics card has too little free memory: with the smallest tiles that work, a fit takes "
                f"{_gigabytes(needed_on_card(size))}",
                remedy=remedy("fit on the CPU"),
            )
        if smaller is None:
            who = "a tile at a time" if workers is None else "1 worker" if workers == 1 else f"{workers} workers"
            fewer = "." if workers is None else ", or use fewer workers."
            raise ConfigError(
                f"{_gigabytes(memory_bytes or 0)} is too little for {who}: with the smallest tiles that work, it takes "
                f"{_gigabytes(needed(size))}. Allow more{fewer}"
            )
        size = smaller
    while len(cut(shape, z_nm, size)) < (workers or 1) and size.pixels > _COMFORTABLE_PIXELS:
        size = replace(size, pixels=_step_down(size.pixels, shape, _COMFORTABLE_PIXELS))
    return size


def _smaller(size: TileSize, shape: tuple[int, int, int]) -> TileSize | None:
    if size.pixels > _COMFORTABLE_PIXELS:
        return replace(size, pixels=_step_down(size.pixels, shape, _COMFORTABLE_PIXELS))
    fewest = max(_FEWEST_SLICES, 3 * size.overlap_slices)
    if min(size.window_slices, shape[0]) > fewest:
        return replace(size, window_slices=max(fewest, min(size.window_slices, shape[0]) * 3 // 4))
    smallest = max(SMALLEST_TILE, 4 * size.halo_pixels)
    if size.pixels > smallest:
        return replace(size, pixels=_step_down(size.pixels, shape, smallest))
    return None


def _step_down(pixels: int, shape: tuple[int, int, int], smallest: int) -> int:
    """One part more along the longer side of the slice: less would change nothing."""
    longer = max(shape[1:])
    if pixels >= longer:
        pixels = longer
    parts = -(-longer // pixels) + 1
    return max(smallest, -(-longer // parts))


def free_card_bytes(device: str) -> int | None:
    """Memory of the graphics card that ``device`` means that a fit may take; None where it is not one of CUDA."""
    import torch

    from napari_emgauss.render import choose_backend

    chosen = choose_backend(device).device
    if not chosen.startswith("cuda"):
        return None
    return int(torch.cuda.mem_get_info(chosen)[0] * _CARD_SHARE)


def advice_on_memory(
    shape: tuple[int, int, int],
    z_nm: NDArray[np.float64] | Sequence[float],
    pixel_size_nm: tuple[float, float],
    config: FitConfig,
    *,
    door: Door = Door.LIBRARY,
) -> str | None:
    """What to do where a single fit of the whole stack takes more memory than is free; None where it does not.

    ``door`` words it: :class:`napari_emgauss._remedies.Door`.
    """
    import psutil

    wanted = whole_memory_bytes(shape, z_nm, pixel_size_nm, config)
    free = int(psutil.virtual_memory().available)
    if wanted > free:
        return (
            f"A single fit of this stack takes about {_gigabytes(wanted)} of memory, but {_gigabytes(free)} are free: "
            f"{remedy('less memory', gigabytes=max(1, free * 3 // 4 // 10**9)).worded(door)}."
        )
    card = free_card_bytes(str(config.device))
    wanted = card_memory_bytes(shape, z_nm, pixel_size_nm, config)
    if card is not None and wanted > card:
        return (
            f"A single fit of this stack takes about {_gigabytes(wanted)} of the graphics card's memory, but "
            f"{_gigabytes(card)} are free: {remedy('less of the card', pixels=TileSize().pixels).worded(door)}."
        )
    return None


def plan_tiles(
    shape: tuple[int, int, int],
    z_nm: NDArray[np.float64] | Sequence[float],
    pixel_size_nm: tuple[float, float],
    config: FitConfig,
    *,
    memory_bytes: int | None = None,
    card_bytes: int | None = None,
    workers: int | None = None,
    preferred: TileSize | None = None,
) -> TilePlan:
    """The plan for a volume within a memory budget; parameters and errors are those of :func:`size_within`."""
    size = size_within(
        shape,
        z_nm,
        pixel_size_nm,
        config,
        memory_bytes=memory_bytes,
        card_bytes=card_bytes,
        workers=workers,
        preferred=preferred,
    )
    return cut(shape, z_nm, size)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
