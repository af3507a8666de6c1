"""The lazy volume as napari gets it: exact for everybody, and quick for the window."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_emgauss.volume import LazyVolume

_SLICING = "napari.layers._scalar_field"
"""Where napari takes the pixels that it draws."""


class LayerPainter(Protocol):
    """Who answers for the window; see :class:`~napari_emgauss.plugin.view._painter.Painter`."""

    failing: bool
    refresh_s: float

    def paint(self, view: LazyVolume, *, coarsest: bool, grid_nm: NDArray[np.float64] | None = None) -> NDArray[Any]:
        """Pixels of a view, now."""

    def stand_in(self, view: LazyVolume, error: Exception) -> NDArray[Any]:
        """The best there is where :meth:`paint` has failed."""


class PromptVolume:
    """A level of a layer's pyramid.

    When napari slices it in the window's thread, a painter answers, at once and perhaps not with the last
    word; the layer is refreshed when there is more. Everybody else (threads, writers, scripts, a console) gets the
    rendered pixels, however long that takes.

    Parameters
    ----------
    view : LazyVolume
        What is rendered.
    painter : LayerPainter
        Of the layer.
    coarsest : bool
        Whether this is the last level of its pyramid.
    whole_z_nm : ndarray, optional
        Depths of the level that this is a part of; by default this is all of it.
    """

    def __init__(
        self, view: LazyVolume, painter: LayerPainter, *, coarsest: bool, whole_z_nm: NDArray[np.float64] | None = None
    ) -> None:
        self._view, self.painter, self._coarsest = view, painter, coarsest
        self._whole_z_nm = view.z_nm if whole_z_nm is None else whole_z_nm

    @property
    def shape(self) -> tuple[int, ...]:
        return self._view.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._view.dtype

    @property
    def ndim(self) -> int:
        return self._view.ndim

    @property
    def size(self) -> int:
        return self._view.size

    @property
    def nbytes(self) -> int:
        return self._view.nbytes

    @property
    def chunks(self) -> tuple[int, ...]:
        return self._view.chunks

    @property
    def z_nm(self) -> NDArray[np.float64]:
        """Depth of each slice, nm."""
        return self._view.z_nm

    @property
    def scale_nm(self) -> tuple[float, float, float]:
        """Distance between neighbouring samples along z, y and x, nm."""
        return self._view.scale_nm

    def __len__(self) -> int:
        return len(self._view)

    def __getitem__(self, key: Any) -> PromptVolume:
        return PromptVolume(self._view[key], self.painter, coarsest=self._coarsest, whole_z_nm=self._whole_z_nm)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if not (self.size and _window_slices(sys._getframe(1))):
            return self._view.__array__(dtype, copy)
        try:
            values = self.painter.paint(self._view, coarsest=self._coarsest, grid_nm=self._whole_z_nm)
        except Exception as error:  # raised here, napari would show a traceback and nothing else
            values = self.painter.stand_in(self._view, error)
        # The painter goes on writing into what it handed out.
        return np.array(values, dtype=dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> PromptVolume:
        """Layer > Duplicate copies its data; two layers may well look at one volume."""
        return self

    def __repr__(self) -> str:
        return f"PromptVolume(shape={self.shape}, dtype={self.dtype})"


def _window_slices(caller: Any) -> bool:
    """Whether it is napari that asks, in the window's thread, for pixels to draw.

    No napari up to 0.9.2 has a public hook for it: a layer takes ``np.asarray`` of a part of its data, whoever made
    them; how it slices is private (``_slicing_state``, ``_slice_request_class``), and no event says that it begins. So
    the module that asks is looked at, here and nowhere else. Should napari move that code, pixels stay right but the
    window waits for them, and `tests/plugin/test_prompt_volume.py` fails, which continuous integration runs with the
    oldest, the newest and the next napari.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    if not str(caller.f_globals.get("__name__", "")).startswith(_SLICING):
        return False
    from napari_emgauss.plugin._background import prepare_calls

    return prepare_calls()
