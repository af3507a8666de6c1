"""The slices of a fit as they are in its source: how they are known again, and found."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError

from ._channel_slices import view
from ._read import open_channels
from ._record import JsonRecord, StackRecord
from ._source import Selection
from ._stack import SliceSource, Stack

# Of masks that need more than this as text, none is kept: they would be the larger part of the model.
_LARGEST_MASKS = 8 << 20


@dataclass(frozen=True, kw_only=True)
class OwnSlices(JsonRecord):
    """What a model keeps of the slices that it was fitted to, to know them again.

    Parameters
    ----------
    digests : sequence of str
        :func:`digest` of each slice as it is in the source, before any correction.
    damage : mapping of str to str
        Index of a slice of the fit -> its damaged pixels, packed; without those that were left whole.
    """

    digests: Sequence[str] = ()
    damage: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: object) -> Self:
        """See :meth:`JsonRecord.from_json`; what is no such note is none."""
        known = super().from_json(values)
        digests: Any = known.digests
        damage: Any = known.damage
        return replace(
            known,
            digests=tuple(str(one) for one in digests) if isinstance(digests, (list, tuple)) else (),
            damage=damage if isinstance(damage, Mapping) else {},
        )

    def damaged_pixels(self, index: int, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
        """``(H, W)`` bool, True where slice ``index`` of the fit was damaged; None where that is not kept."""
        packed = self.damage.get(str(index))
        try:
            bits = np.frombuffer(zlib.decompress(base64.b64decode(packed or "")), np.uint8)
            return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)
        except (ValueError, TypeError, zlib.error):
            return None


def digest(values: NDArray[Any]) -> str:
    """A short text that says which grey values a slice has: of their type, shape and bytes."""
    array = np.ascontiguousarray(values)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    told = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    told.update(array.data)
    return told.hexdigest()[:32]


def record_own_slices(stack: Stack) -> OwnSlices:
    """What to keep of a stack that is going to be fitted; each slice is read once."""
    count = stack.shape[0]
    digests = [digest(np.asarray(stack.own_slices[k])) for k in range(count)]
    damage: dict[str, str] = {}
    if stack.damage is not None:
        for k in range(count):
            mask = np.asarray(stack.damage[k]) != 0
            if mask.any():
                damage[str(k)] = base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode()
    kept = damage if sum(map(len, damage.values())) <= _LARGEST_MASKS else {}
    return OwnSlices(digests=digests, damage=kept)


def open_own_slices(path: str | Path, record: StackRecord, shape: tuple[int, int, int]) -> SliceSource:
    """The slices that a fit had of a file, as they are in it: ``(K, H, W)``, or ``(K, C, H, W)``; read lazily.

    Parameters
    ----------
    path : path
        The file.
    record : StackRecord
        How the stack came about.
    shape : tuple of int
        Slices, rows, columns of the fit.

    Raises
    ------
    StackFileError, StackError
        It cannot be read, or holds no such slices.
    """
    selection = Selection(record.dataset or None, None, record.time_in_file)
    return slices_as_fitted(open_channels(Path(path), selection, record.channels_in_file).slices, record, shape)


def slices_as_fitted(slices: SliceSource, record: StackRecord, shape: tuple[int, int, int]) -> SliceSource:
    """Those slices of a whole file or layer, and the region of them, that a fit had.

    Raises
    ------
    StackError
        The file is too small, or the region has another size.
    """
    count, *_, height, width = (int(n) for n in slices.shape)
    numbers = record.fitted_numbers(shape[0])
    y0, y1, x0, x1 = (int(n) for n in record.region or (0, height, 0, width))
    inside = 0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width and max(numbers) < count
    if not inside or (len(numbers), y1 - y0, x1 - x0) != tuple(shape):
        wanted, found = (" × ".join(str(n) for n in size) for size in (shape, (count, height, width)))
        raise StackError(f"it has {found} voxels and cannot contain those of the fit ({wanted}) cannot be")
    return view(slices, numbers, (y0, y1, x0, x1))
