"""A volume that is rendered only where, and when, it is looked at.

Indexing never renders: it gives another :class:`LazyVolume` over fewer positions. Only ``np.asarray(view)`` renders,
and then exactly that box. The order matters for viewers, which first crop the visible part, ``data[:, y0:y1, x0:x1]``,
and only then pick the slice.
"""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError

from ._depths import aligned_spacing, isotropic_depths
from ._drawing import Drawing, PlaneBox
from ._protocol import VolumeModel
from ._render_cache import RenderCache

# A view along z (xz, yz) needs a few rows of every depth. Moving the Gaussians to a depth costs more than drawing a
# row, so neighbouring rows are drawn with it and kept: the next steps of the slider are then there already.
_BAND = 16
_BAND_DEPTHS = 8


@dataclass(frozen=True)
class _Axis:
    """Some cells of an in-plane axis: ``first, first + step, ...`` of cells ``cell`` pixels wide.

    ``single`` marks an axis that was indexed by a number and has gone from the view's shape.
    """

    cell: float
    first: int
    count: int
    step: int = 1
    single: bool = False

    def take(self, key: Any) -> _Axis:
        if isinstance(key, slice):
            start, stop, step = key.indices(self.count)
            kept = len(range(start, stop, step))
            return _Axis(self.cell, self.first + start * self.step, kept, self.step * step)
        return _Axis(self.cell, self.first + _number(key, self.count) * self.step, 1, 1, single=True)

    @property
    def span(self) -> tuple[int, int]:
        """First cell, and one past the last, whichever way the view walks."""
        last = self.first + (self.count - 1) * self.step
        return min(self.first, last), max(self.first, last) + 1


_tokens: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
_token_lock = threading.Lock()


def _token(model: VolumeModel) -> str:
    """A name for a model that, unlike ``id``, no other has, in this or another process, now or later."""
    with _token_lock:
        return _tokens.setdefault(model, uuid.uuid4().hex)


def _number(key: Any, length: int) -> int:
    index = int(key.__index__())
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of bounds for an axis of {length}")
    return index % length


class LazyVolume:
    """Array-like view of a model on a regular grid.

    Has what viewers and NumPy ask of an array: ``shape``, ``dtype``, ``ndim``, ``size``, ``chunks``, indexing by
    numbers and ranges (which gives another lazy view), and ``__array__``, which renders.

    Parameters
    ----------
    model : VolumeModel
        What is rendered. Later versions of its parameters show at once: the version is part of the cache's keys.
    depths_nm : array-like, optional
        Depths of the slices; by default isotropic ones, see ``spacing_nm``.
    spacing_nm : float, optional
        Distance between slices; by default the pixel size, adjusted so that observed slices lie on the grid.
    in_plane_shape : tuple of int, optional
        Rows and columns to sample each slice with; one per pixel by default.
    cache : RenderCache, optional
        Shared with other volumes of the same model.

    Raises
    ------
    ConfigError
        The model has several channels: see :func:`channel_models`.

    Examples
    --------
    >>> volume = LazyVolume(model)  # doctest: +SKIP
    >>> xz = np.asarray(volume[:, 100, :])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: VolumeModel,
        depths_nm: Sequence[float] | NDArray[np.float64] | None = None,
        *,
        spacing_nm: float | None = None,
        in_plane_shape: tuple[int, int] | None = None,
        cache: RenderCache | None = None,
    ) -> None:
        if model.channels > 1:
            raise ConfigError(
                f"A lazy volume shows one grey value, but this model has {model.channels} channels: make one for "
                "each of channel_models(model)."
            )
        if depths_nm is None:
            depths_nm = isotropic_depths(model.z_nm, default_spacing(model) if spacing_nm is None else spacing_nm)
        _, height, width = model.shape
        rows, columns = (height, width) if in_plane_shape is None else in_plane_shape
        self._model = model
        self._depths = np.asarray(depths_nm, dtype=np.float64)
        self._single_depth = False
        self._rows = _Axis(height / rows, 0, rows)
        self._columns = _Axis(width / columns, 0, columns)
        self._cache = RenderCache() if cache is None else cache

    @property
    def model(self) -> VolumeModel:
        """What is rendered."""
        return self._model

    @property
    def cache(self) -> RenderCache:
        """Where rendered planes are kept."""
        return self._cache

    @property
    def z_nm(self) -> NDArray[np.float64]:
        """Depth of each slice of this view, nm."""
        return self._depths

    @property
    def scale_nm(self) -> tuple[float, float, float]:
        """Distance between neighbouring samples along z, y and x, nm (z: of the whole range; 0 for a single depth)."""
        steps = max(len(self._depths) - 1, 1)
        y_nm, x_nm = self._model.pixel_size_nm
        return (
            float(self._depths[-1] - self._depths[0]) / steps if len(self._depths) else 0.0,
            y_nm * self._rows.cell * abs(self._rows.step),
            x_nm * self._columns.cell * abs(self._columns.step),
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._model.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        depths = () if self._single_depth else (len(self._depths),)
        return (*depths, *(axis.count for axis in (self._rows, self._columns) if not axis.single))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def chunks(self) -> tuple[int, ...]:
        """One slice: what a viewer that samples chunks (for a histogram) should ask for at a time."""
        return (1, *self.shape[1:]) if self.ndim else ()

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("a view of a single value has no length")
        return self.shape[0]

    def __getitem__(self, key: Any) -> LazyVolume:
        parts: list[Any] = list(key) if isinstance(key, tuple) else [key]
        ellipses = [at for at, part in enumerate(parts) if part is Ellipsis]
        if len(ellipses) > 1:
            raise IndexError("an index can only have a single ellipsis ('...')")
        if ellipses:
            parts[ellipses[0] : ellipses[0] + 1] = [slice(None)] * (self.ndim + 1 - len(parts))
        if len(parts) > self.ndim:
            raise IndexError(f"too many indices: {len(parts)} for {self.ndim} axes")
        for part in parts:
            if not (isinstance(part, slice) or hasattr(part, "__index__")):
                raise IndexError(f"a lazy volume is indexed by numbers and ranges, not {type(part).__name__}")
        rest = iter(parts)
        view: LazyVolume = object.__new__(LazyVolume)
        view._model, view._cache = self._model, self._cache
        view._depths, view._single_depth = self._depths, self._single_depth
        if not self._single_depth:
            part = next(rest, slice(None))
            if isinstance(part, slice):
                view._depths = self._depths[part]
            else:
                view._depths = self._depths[[_number(part, len(self._depths))]]
                view._single_depth = True
        view._rows = self._rows if self._rows.single else self._rows.take(next(rest, slice(None)))
        view._columns = self._columns if self._columns.single else self._columns.take(next(rest, slice(None)))
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if not self.size:
            return np.empty(self.shape, self.dtype if dtype is None else dtype)
        picked = self.pick(self.drawing().finish())
        return np.array(picked, dtype=dtype) if copy else np.asarray(picked, dtype=dtype)

    def drawing(self) -> Drawing:
        """The planes of this view, some of them in the cache, for callers that cannot wait for all of them."""
        _, height, width = self._model.shape
        (y0, y1), (x0, x1) = self._rows.span, self._columns.span
        row_cells, column_cells = round(height / self._rows.cell), round(width / self._columns.cell)
        top, bottom, left, right = y0, y1, x0, x1
        if len(self._depths) >= _BAND_DEPTHS:
            # Viewers ask for one row as a number, or as a range of one.
            if self._rows.count == 1:
                top = y0 // _BAND * _BAND
                bottom = min(top + _BAND, row_cells)
            elif self._columns.count == 1:
                left = x0 // _BAND * _BAND
                right = min(left + _BAND, column_cells)
        # The ends are computed so that they never exceed the slice by a rounding error.
        region = (
            top * height / row_cells,
            bottom * height / row_cells,
            left * width / column_cells,
            right * width / column_cells,
        )
        # The version is part of the key: a new state never shows old pixels, and nothing needs clearing.
        key = (_token(self._model), self._model.version, row_cells, column_cells, (top, bottom, left, right))
        window = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        box = PlaneBox(region, (bottom - top, right - left), window, key)
        return Drawing(self._model, self._cache, self._depths, box)

    def pick(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Of the planes of :meth:`drawing` the cells of this view, in its order and with its axes."""
        first_row, first_column = self._rows.step < 0, self._columns.step < 0
        picked: NDArray[Any] = planes[
            0 if self._single_depth else slice(None),
            0 if self._rows.single else slice(-1 if first_row else 0, None, self._rows.step),
            0 if self._columns.single else slice(-1 if first_column else 0, None, self._columns.step),
        ]
        return picked

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyVolume:
        """Duplicating a layer deep-copies its data; locks and device tensors cannot be copied, and need not be."""
        return self

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Names this view in dask's graphs; it would otherwise pickle the whole model to find a name."""
        where = (self._depths.tobytes(), self._single_depth, str(self._rows), str(self._columns))
        return ("LazyVolume", _token(self._model), self._model.version, *where)

    def __repr__(self) -> str:
        return f"LazyVolume(shape={self.shape}, dtype={self.dtype})"


def default_spacing(model: VolumeModel) -> float:
    """The pixel size (mean of y and x), adjusted so that evenly spaced observed slices lie on the grid."""
    return aligned_spacing(model.z_nm, float(np.mean(model.pixel_size_nm)))
