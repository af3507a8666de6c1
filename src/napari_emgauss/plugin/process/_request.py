"""What the window asks to be fitted: which part of which stack, checked, and its slices in shared memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_emgauss._errors import StackError, VoxelSizeError

from ._problem import DamagedSlicesError
from ._shared_array import SharedArray

if TYPE_CHECKING:
    from collections.abc import Callable

LOGGER = logging.getLogger("napari_emgauss.plugin")

PixelRegion = tuple[int, int, int, int]

MOST_CHANNELS = 4
"""Channels that one model can have."""

FEWEST_SLICES = 3
"""Slices that a fit needs at least."""

_MOST_LISTED = 6

SMALLEST_SIDE = 16
"""Rows and columns that a fit needs at least."""


def suspicion(zyx_nm: tuple[float, float, float]) -> str:
    """What is suspicious about a voxel size; empty when nothing is."""
    z_nm, y_nm, x_nm = zyx_nm
    pixel = (y_nm + x_nm) / 2
    if z_nm <= 1.02 * pixel:
        return (
            f"The z step of {z_nm:g} nm is no larger than a pixel ({pixel:g} nm): the stack would be isotropic "
            "already. "
            "Check the voxel size."
        )
    if z_nm > 40 * pixel:
        return f"The z step is {z_nm / pixel:.0f} pixels: check the units of the voxel size."
    if max(y_nm, x_nm) > 1.2 * min(y_nm, x_nm):
        return f"Pixels are not square ({y_nm:g} by {x_nm:g} nm): check that y and x are right."
    return ""


@dataclass(frozen=True)
class FitRequest:
    """One fit as the user asked for it.

    Parameters
    ----------
    name : str
        Of the layer.
    source : str or None
        Its file.
    voxel_size_nm : tuple of float
        ``(z, y, x)`` in nm.
    region : tuple of int
        ``(y0, y1, x0, x1)`` in pixels of the layer.
    slices : tuple of int
        First and last slice, both included.
    preset, device : str
        As in the widget.
    overrides : dict
        Advanced settings that differ from the preset.
    layer_shape : tuple of int or None
        Of the whole layer, to know it again later.
    skip : tuple of int
        Slices of the layer to leave out.
    masked : bool
        Whether a mask of damaged pixels comes with the slices.
    channels : int or None
        Of the layer, where it has an axis of them.
    tiles : dict or None
        Sizes of tiles, as ``TileSize`` takes them; None fits in one piece.
    resume : bool
        Go on with the unfinished fit of this stack.
    reuse_prior : bool
        Use what a prior has learned of this stack before.
    patch : bool
        A quick trial, whose state is not kept.
    """

    name: str
    source: str | None
    voxel_size_nm: tuple[float, float, float]
    region: PixelRegion
    slices: tuple[int, int]
    preset: str = "default"
    device: str = "auto"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    layer_shape: tuple[int, ...] | None = None
    skip: tuple[int, ...] = ()
    masked: bool = False
    channels: int | None = None
    tiles: Mapping[str, int] | None = None
    resume: bool = False
    reuse_prior: bool = True
    patch: bool = False

    @property
    def kept(self) -> tuple[int, ...]:
        """Slices of the layer to fit."""
        skip = frozenset(self.skip)
        return tuple(k for k in range(self.slices[0], self.slices[1] + 1) if k not in skip)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns to fit."""
        y0, y1, x0, x1 = self.region
        return len(self.kept), y1 - y0, x1 - x0

    @property
    def z_nm(self) -> tuple[float, ...]:
        """Depth of every slice to fit, nm, in the whole stack: the same whichever part was fitted."""
        return tuple(k * self.voxel_size_nm[0] for k in self.kept)

    @property
    def origin(self) -> tuple[int, int, int]:
        """First slice, row and column in the layer."""
        kept = self.kept
        return kept[0] if kept else self.slices[0], self.region[0], self.region[2]


@dataclass(frozen=True)
class FitData:
    """The slices of a request in shared memory.

    Parameters
    ----------
    values : SharedArray
        ``(K, H, W)``, or ``(K, C, H, W)``.
    damage : SharedArray or None
        ``(K, H, W)``, not zero where a pixel is damaged.
    stack_id : str
        Fingerprint of the whole stack; empty where it is not known.
    """

    values: SharedArray
    damage: SharedArray | None = None
    stack_id: str = ""

    def array(self) -> Any:
        """The grey values."""
        return self.values.array()


class StackView:
    """A layer's data as a stack has them: ``(K, H, W)``, or ``(K, C, H, W)`` of a layer with channels."""

    def __init__(self, values: Any) -> None:
        self._values, self._channels = values, len(values.shape) == 4
        shape = tuple(int(n) for n in values.shape)
        self.shape: tuple[int, ...] = (shape[1], shape[0], *shape[2:]) if self._channels else shape
        self.dtype, self.ndim = np.dtype(values.dtype), len(shape)

    def __getitem__(self, key: Any) -> Any:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if self._channels and rest and hasattr(rest[0], "__index__"):
            return self._values[(rest[0], first, *rest[1:])]  # one channel
        if self._channels and rest and rest[0] != slice(None):
            raise IndexError("of the channels of a slice one is read, or all")
        if not hasattr(first, "__index__"):
            chosen = np.arange(self.shape[0])[first]
            return np.stack([np.asarray(self[(int(k), *rest)]) for k in chosen])
        index = int(first.__index__())
        # One key: a lazy array reads no more than that.
        return self._values[(slice(None), index, *rest[1:])] if self._channels else self._values[(index, *rest)]


def check_request(request: FitRequest) -> None:
    """Say in one sentence why a request cannot be fitted.

    Raises
    ------
    StackError, VoxelSizeError
        Too small a region, too few slices, an impossible voxel size, or more than the memory holds.
    """
    depth, height, width = request.shape
    if depth < FEWEST_SLICES:
        without = " apart from those left out" if request.skip else ""
        raise StackError(f"The z range holds {max(depth, 0)} slices{without}: a fit needs at least {FEWEST_SLICES}.")
    if min(height, width) < SMALLEST_SIDE:
        raise StackError(
            f"The region is {height}×{width} pixels: a fit needs at least {SMALLEST_SIDE}×{SMALLEST_SIDE}."
        )
    z_nm, y_nm, x_nm = request.voxel_size_nm
    if min(request.voxel_size_nm) <= 0:
        raise VoxelSizeError("The voxel size is unknown: type in z, y and x in nm.")
    if z_nm <= 1.02 * (y_nm + x_nm) / 2:
        raise VoxelSizeError(suspicion(request.voxel_size_nm))


def copy_slices(layer_values: Any, request: FitRequest, should_stop: Callable[[], bool], damage: Any = None) -> FitData:
    """Copy the wanted part into shared memory, slice by slice, so that a lazy array is never read whole.

    For a worker thread. Stops early, with what there is, when ``should_stop()`` turns true.

    Parameters
    ----------
    layer_values : array-like
        The layer's data.
    request : FitRequest
        What is wanted.
    should_stop : callable
        Asked between slices.
    damage : array-like, optional
        Of a Labels layer on the stack: not zero where a pixel is damaged.

    Raises
    ------
    DamagedSlicesError
        Slices hold NaN or one grey value throughout, or cannot be read; they can be left out.
    StackError
        No slice holds a picture, or there is not enough memory.
    """
    y0, y1, x0, x1 = request.region
    slices = StackView(layer_values)
    dtype = slices.dtype
    shape = (request.shape[0], *slices.shape[1:-2], y1 - y0, x1 - x0)
    every = (slice(None),) * (slices.ndim - 3)
    try:
        shared = SharedArray.empty(shape, dtype)
        mask = None if damage is None else SharedArray.empty(request.shape, np.uint8)
    except (MemoryError, OSError) as error:
        raise StackError("There is not enough memory for this region: choose a smaller one.") from error
    target = shared.array()
    bad: dict[int, str] = {}
    for position, k in enumerate(request.kept):
        if should_stop():
            break
        try:
            values = np.asarray(slices[(k, *every, slice(y0, y1), slice(x0, x1))])
        except MemoryError:
            raise
        except Exception as error:
            LOGGER.warning("Slice %d of %s cannot be read", k, request.name, exc_info=error)
            bad[k] = f"cannot be read ({str(error).partition(chr(10))[0] or type(error).__name__})"
            continue
        target[position] = values
        if what := _damage_of(values):
            bad[k] = what
        if mask is not None:
            mask.array()[position] = np.asarray(damage[k, y0:y1, x0:x1]) != 0
    if bad:
        raise _damaged(request, bad)
    return FitData(shared, mask)


def _damage_of(values: Any) -> str:
    """Why a slice cannot supervise a fit; empty where it can. Asked of each of its channels."""
    for plane in values.reshape(-1, *values.shape[-2:]):
        if plane.dtype.kind == "f" and not np.isfinite(plane).all():
            return "holds NaN or infinite values"
        low, high = plane.min(), plane.max()
        if low == high:
            return "is empty (all 0)" if low == 0 else f"holds one grey value ({low:g}) throughout"
    return ""


def _damaged(request: FitRequest, bad: Mapping[int, str]) -> StackError:
    """One sentence about all slices that are no pictures, and what to do."""
    numbers = tuple(sorted(bad))
    listed = number_list(numbers)
    first = bad[numbers[0]]
    if len(numbers) == 1:
        what = f"Slice {listed} of “{request.name}” {first}"
    elif len(set(bad.values())) == 1:
        what = f"{len(numbers)} slices of “{request.name}” ({listed}): each {first}"
    else:
        what = f"{len(numbers)} slices of “{request.name}” hold no image ({listed}); the first {first}"
    left = request.shape[0] - len(numbers)
    if left < FEWEST_SLICES:
        rest = "no slice is left to fit" if not left else f"the {left} that remain are too few for a fit"
        return StackError(f"{what}, and {rest}: choose another layer, region or z range.")
    return DamagedSlicesError(
        f"{what}: leave {'it' if len(numbers) == 1 else 'them'} out, and the fit fills the gap.", numbers
    )


def number_list(numbers: tuple[int, ...]) -> str:
    """Slice numbers for people: ``3, 7–9 and 12``."""
    runs: list[list[int]] = []
    for k in numbers:
        if runs and k == runs[-1][-1] + 1:
            runs[-1].append(k)
        else:
            runs.append([k])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    shown = (
        parts if len(parts) <= _MOST_LISTED else [*parts[: _MOST_LISTED - 1], f"{len(parts) - _MOST_LISTED + 1} more"]
    )
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
