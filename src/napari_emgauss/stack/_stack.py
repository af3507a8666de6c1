"""A stack of slices at physical depths: what every other part of the project works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, VoxelSizeError
from napari_emgauss._remedies import remedy

from ._channel_slices import view
from ._record import StackRecord

# A model of more would need more grey values per Gaussian than anything else of it.
MAX_CHANNELS = 4


class SliceSource(Protocol):
    """Anything that hands out slices lazily: a NumPy, dask or Zarr array, or a file opened slice by slice."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, key: Any) -> Any: ...


@dataclass(frozen=True)
class Normalisation:
    """The straight line between source grey values and the unit range the model works in.

    Parameters
    ----------
    low, high : float
        Source values that become 0 and 1. For 8-bit data 0 and 255, so that errors are comparable between stacks; for
        other types robust limits of the data.
    dtype : str
        NumPy name of the source's dtype; output comes back in it.
    channel_limits : tuple of (float, float), optional
        ``(low, high)`` of each channel where there are several: stains differ in brightness. Values then have their
        channels on the third axis from the end.
    """

    low: float
    high: float
    dtype: str
    channel_limits: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        if self.channel_limits is not None:  # JSON knows no tuples
            limits = tuple((float(low), float(high)) for low, high in self.channel_limits)
            object.__setattr__(self, "channel_limits", limits)

    def of_channel(self, channel: int) -> Normalisation:
        """The line of one channel alone."""
        if self.channel_limits is None:
            return self
        low, high = self.channel_limits[channel]
        return Normalisation(low, high, self.dtype)

    @property
    def ranges(self) -> tuple[float, ...]:
        """Grey values from 0 to 1 of the unit range: one number, or one of each channel."""
        limits = ((self.low, self.high),) if self.channel_limits is None else self.channel_limits
        return tuple(float(high - low) for low, high in limits)

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible, for ``Normalisation(**...)``."""
        values: dict[str, Any] = {"low": self.low, "high": self.high, "dtype": self.dtype}
        if self.channel_limits is not None:
            values["channel_limits"] = [list(limits) for limits in self.channel_limits]
        return values

    def line(self, dtype: Any) -> tuple[Any, Any]:
        """Low end and length of the range in ``dtype``; ``(C, 1, 1)`` each where channels have their own."""
        if self.channel_limits is None:
            return dtype.type(self.low), dtype.type(self.high - self.low)
        limits = np.array(self.channel_limits, dtype=np.float64)[:, :, None, None]
        return limits[:, 0].astype(dtype), (limits[:, 1] - limits[:, 0]).astype(dtype)

    def to_unit(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Source grey values to the unit range, float32; values beyond the limits go beyond [0, 1]."""
        # 32-bit and wider values lose their low bits in float32 before the offset is taken off.
        wide = np.dtype(np.float64 if np.asarray(values).dtype.itemsize > 2 else np.float32)
        low, span = self.line(wide)
        unit = (np.asarray(values, dtype=wide) - low) / span
        return np.asarray(unit, dtype=np.float32)

    def from_unit(self, values: NDArray[Any]) -> NDArray[Any]:
        """Unit-range values back to the source's dtype: rounded and clipped for integers, as they are for floats."""
        dtype = np.dtype(self.dtype)
        low, span = self.line(np.dtype(np.float64))
        out = np.asarray(values, dtype=np.float64) * span + low
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            # The largest 64-bit integer has no float64; the next one below has.
            top = float(limits.max) if dtype.itemsize < 8 else np.nextafter(float(limits.max), 0)
            out = np.clip(np.rint(out), float(limits.min), top)
        return out.astype(dtype)


# eq=False: two stacks are the same only when they are one object; comparing their arrays would read whole files.
@dataclass(frozen=True, eq=False)
class Stack:
    """Slices at physical depths, read lazily.

    Parameters
    ----------
    slices : SliceSource
        ``(K, H, W)`` grey values in the source's dtype, or ``(K, C, H, W)`` of 2 to 4 channels that share their
        geometry.
    z_nm : ndarray
        ``(K,)`` float64, strictly increasing depth of each slice in nm. Uneven spacing is allowed.
    pixel_size_nm : tuple of float
        In-plane pixel size ``(y, x)`` in nm.
    normalisation : Normalisation
        How grey values map to the unit range.
    name : str
        For titles and file names.
    source : str or None
        Where it was read from, for provenance.
    metadata : dict
        Free provenance (where the voxel size came from, which slices were left out, ...); JSON-compatible. What this
        project notes itself is told by :class:`StackRecord`, see :attr:`record`.
    damage : array-like, optional
        ``(K, H, W)``, not zero at pixels that must not supervise a fit; see :func:`mask_damage`.
    uncorrected : SliceSource, optional
        The slices with the grey values of the source, where corrections changed them.

    Raises
    ------
    StackError
        Not three axes (four with channels), or as many depths as slices are not given.
    VoxelSizeError
        Depths that do not increase, or a pixel size that is not positive.
    """

    slices: SliceSource
    z_nm: NDArray[np.float64]
    pixel_size_nm: tuple[float, float]
    normalisation: Normalisation
    name: str = "stack"
    source: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    damage: SliceSource | None = None
    uncorrected: SliceSource | None = None

    def __post_init__(self) -> None:
        axes = len(self.slices.shape)
        if axes not in (3, 4):
            raise StackError(f"A stack has three axes (slices, rows, columns), four with channels; this has {axes}.")
        if axes == 4 and not 2 <= self.slices.shape[1] <= MAX_CHANNELS:
            raise StackError(
                f"A stack has up to {MAX_CHANNELS} channels on its second axis; this has {self.slices.shape[1]}."
            )
        if self.damage is not None and tuple(int(n) for n in self.damage.shape) != self.shape:
            raise StackError(f"The damage has the shape {tuple(self.damage.shape)}, but the stack {self.shape}.")
        z_nm = np.array(self.z_nm, dtype=np.float64)
        if z_nm.shape != (self.slices.shape[0],):
            raise StackError(
                f"{z_nm.size} depths were given for {self.slices.shape[0]} slices: give one depth for each slice."
            )
        if not np.isfinite(z_nm).all() or (np.diff(z_nm) <= 0).any():
            raise VoxelSizeError("The depths of the slices must be finite numbers that increase from slice to slice.")
        y_nm, x_nm = (float(size) for size in self.pixel_size_nm)
        if not (np.isfinite([y_nm, x_nm]).all() and y_nm > 0 and x_nm > 0):
            raise VoxelSizeError(f"The pixel size must be positive, but it is {y_nm:g} x {x_nm:g} nm (y, x).")
        z_nm.flags.writeable = False
        object.__setattr__(self, "z_nm", z_nm)
        object.__setattr__(self, "pixel_size_nm", (y_nm, x_nm))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of slices, rows, columns."""
        depth, *_, height, width = self.slices.shape
        return int(depth), int(height), int(width)

    @property
    def channels(self) -> int:
        """Grey values per pixel, 1 to 4."""
        return int(self.slices.shape[1]) if len(self.slices.shape) == 4 else 1

    @property
    def own_slices(self) -> SliceSource:
        """The slices with the grey values of the source, whatever corrections made of them."""
        return self.slices if self.uncorrected is None else self.uncorrected

    @property
    def record(self) -> StackRecord:
        """What is noted of the stack."""
        return StackRecord.from_json(self.metadata)

    def noting(self, **notes: Any) -> Stack:
        """The same stack with notes added; the names are those of :class:`StackRecord`."""
        return replace(self, metadata={**self.metadata, **StackRecord(**notes).to_json()})

    @property
    def t(self) -> NDArray[np.float64]:
        """Depth of each slice in [0, 1]: ``(z - z_0) / (z_{K-1} - z_0)`` (paper, section 3)."""
        return np.asarray((self.z_nm - self.z_nm[0]) / (self.z_nm[-1] - self.z_nm[0]))

    @property
    def anisotropy_factor(self) -> float:
        """Median distance between slices over the in-plane pixel size (mean of y and x)."""
        return float(np.median(np.diff(self.z_nm)) / np.mean(self.pixel_size_nm))

    def unit_slice(self, index: int) -> NDArray[np.float32]:
        """Slice ``index`` as float32 in the unit range: ``(H, W)``, or ``(C, H, W)`` with several channels.

        Raises
        ------
        StackError
            The slice holds NaN or infinity (large files are not read whole when they are opened).
        """
        values = np.asarray(self.slices[index])
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise StackError(
                f"Slice {index} holds NaN or infinite values",
                remedy=remedy("leave out or replace slices", slices=index),
            )
        return self.normalisation.to_unit(values)

    def unit_slices(self) -> NDArray[np.float32]:
        """All slices as ``(K, H, W)`` or ``(K, C, H, W)`` float32 in the unit range (in memory)."""
        return np.stack([self.unit_slice(k) for k in range(self.shape[0])])

    def sound_pixels(self) -> NDArray[np.bool_] | None:
        """``(K, H, W)``, True where a pixel may supervise; None where all may."""
        if self.damage is None:
            return None
        return np.stack([np.asarray(self.damage[k]) == 0 for k in range(self.shape[0])])

    def select(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> Stack:
        """A stack of some of the slices, still lazy; depths and normalisation stay those of the whole.

        Parameters
        ----------
        indices : sequence of int
            Increasing, non-negative. ``metadata["selected_slices"]`` remembers them, counted in the file.
        """
        chosen = [int(k) for k in indices]
        count = self.shape[0]
        if not chosen or any(k < 0 or k >= count for k in chosen) or any(np.diff(chosen) <= 0):
            raise StackError(f"Slices to select must increase and lie between 0 and {count - 1}.")
        before = self.record.selected_slices
        in_file = chosen if before is None else [before[k] for k in chosen]
        return replace(
            self.noting(selected_slices=in_file),
            slices=view(self.slices, chosen),
            z_nm=self.z_nm[chosen],
            damage=None if self.damage is None else view(self.damage, chosen),
            uncorrected=None if self.uncorrected is None else view(self.uncorrected, chosen),
        )

    def keep_every(self, factor: int) -> Stack:
        """Slices 0, ``factor``, 2 ``factor``, ...: an anisotropic stack made of a finer one, for evaluation."""
        if factor < 1:
            raise StackError(f"The factor must be at least 1, not {factor}: every factor-th slice is kept.")
        return self.select(range(0, self.shape[0], factor))

    @property
    def numbers_in_file(self) -> list[int]:
        """Number of each slice in the file it was read from: those of left-out slices are missing."""
        selected = self.record.selected_slices
        return list(range(self.shape[0])) if selected is None else [int(k) for k in selected]

    def crop(self, region: tuple[int, int, int, int]) -> Stack:
        """The rectangle ``(y0, y1, x0, x1)`` (pixels) of every slice, still lazy.

        ``metadata["region"]`` remembers it, counted in the file.
        """
        depth, height, width = self.shape
        y0, y1, x0, x1 = checked_box(region, height, width)
        top, _, left, _ = self.record.region or (0, height, 0, width)
        box = (y0, y1, x0, x1)
        return replace(
            self.noting(region=[top + y0, top + y1, left + x0, left + x1]),
            slices=view(self.slices, range(depth), box),
            damage=None if self.damage is None else view(self.damage, range(depth), box),
            uncorrected=None if self.uncorrected is None else view(self.uncorrected, range(depth), box),
        )

    def in_memory(self) -> Stack:
        """The same stack with its grey values read into memory."""
        values = np.stack([np.asarray(self.slices[k]) for k in range(self.shape[0])])
        return replace(self, slices=values)


def checked_box(region: Sequence[int], height: int, width: int) -> tuple[int, int, int, int]:
    """``(y0, y1, x0, x1)`` of whole pixels within slices of ``height`` by ``width``.

    Raises
    ------
    StackError
        It reaches beyond them, or is empty.
    """
    box = tuple(int(v) for v in region)
    if len(box) != 4 or not (0 <= box[0] < box[1] <= height and 0 <= box[2] < box[3] <= width):
        raise StackError(f"The region {tuple(region)} (y0, y1, x0, x1) does not lie within {height} x {width} pixels.")
    return box
