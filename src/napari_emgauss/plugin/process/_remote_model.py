"""A fitted model as the window sees it: the pixels come from the rendering process. Knows neither Qt nor napari."""

from __future__ import annotations

import contextlib
import shutil
import threading
import uuid
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ExportError
from napari_emgauss._files import whole
from napari_emgauss._paths import same_file
from napari_emgauss.stack import Normalisation, Region
from napari_emgauss.volume import ErrorView, ModelTraits

from ._demand import moved_lately
from ._render_child import ModelInfo
from ._render_service import Depths, RenderService
from ._scratch import scratch_folder

if TYPE_CHECKING:
    from napari_emgauss.model import Confidence, ErrorBars

_Box = tuple[tuple[float, ...], Region | None, tuple[int, int] | None]

BOXES_REMEMBERED = 3
"""Boxes that are rendered ahead for a new state: the slice on screen, its thumbnail, and one more."""


@dataclass(frozen=True)
class PreparedState:
    """A newer state of the model, loaded and with what is on screen rendered already."""

    path: Path
    info: ModelInfo
    images: dict[_Box, NDArray[Any]]


class RemoteModel:
    """What :class:`~napari_emgauss.volume.LazyVolume` needs of a model, answered by the rendering process.

    A fit replaces the state again and again: :meth:`prepare` in a worker thread, then :meth:`commit` in the window's,
    which only swaps and so never makes the window wait.

    Parameters
    ----------
    service : RenderService
        Who renders.
    path : Path
        The model file.
    info : ModelInfo
        What the file holds.
    temporary : bool
        Remove the file when it is no longer needed.
    """

    def __init__(self, service: RenderService, path: Path, info: ModelInfo, *, temporary: bool = False) -> None:
        self._service, self._path, self.info, self._temporary = service, Path(path), info, temporary
        self.version = 1
        self._ahead: dict[_Box, NDArray[Any]] = {}
        self._recent: OrderedDict[_Box, None] = OrderedDict()
        self._lock = threading.Lock()
        self._watch(self._path)
        service.add_user(self)

    @classmethod
    def open(cls, service: RenderService, path: str | Path, *, temporary: bool = False) -> RemoteModel:
        """Load a model file in the rendering process; takes seconds when that has to start."""
        return cls(service, Path(path), service.describe(str(path)), temporary=temporary)

    @property
    def path(self) -> Path:
        """The file of the present state."""
        return self._path

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns of the fitted stack."""
        return self.info.shape

    @property
    def channels(self) -> int:
        """Grey values per pixel."""
        return self.info.channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the fitted stack, and of what is rendered."""
        return np.dtype(self.info.dtype)

    @property
    def z_nm(self) -> NDArray[np.float64]:
        """Depth of every fitted slice, nm."""
        return np.asarray(self.info.z_nm, dtype=np.float64)

    @property
    def pixel_size_nm(self) -> tuple[float, float]:
        """In-plane pixel size ``(y, x)``, nm."""
        return self.info.pixel_size_nm

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the model comes from."""
        return self.info.provenance

    @property
    def traits(self) -> ModelTraits:
        """What not every model has."""
        low, high = self.info.limits
        limits = self.info.channel_limits or None
        return ModelTraits(normalisation=Normalisation(low, high, self.info.dtype, limits))

    def render(
        self, z_nm: Depths, *, region: Region | None = None, shape: tuple[int, int] | None = None
    ) -> NDArray[Any]:
        """Slices in the source's dtype; the same contract as ``EmgaussModel.render``."""
        single = np.ndim(z_nm) == 0
        depths = tuple(float(z) for z in np.atleast_1d(np.asarray(z_nm, dtype=np.float64)))
        where = None if region is None else (float(region[0]), float(region[1]), float(region[2]), float(region[3]))
        box: _Box = (depths, where, None if shape is None else (int(shape[0]), int(shape[1])))
        with self._lock:
            self._recent[box] = None
            self._recent.move_to_end(box)
            while len(self._recent) > BOXES_REMEMBERED:
                self._recent.popitem(last=False)
            path = self._path
            image = self._ahead.get(box)
        if image is None:
            image = self._render_at(path, box)
        return image[0] if single else image

    @property
    def confidence(self) -> Confidence | None:
        """How far the prior trusted its guesses; None where the model does not know.

        The rendering process is asked: for a worker thread.
        """
        return self._service.confidence(str(self._path))

    @property
    def error(self) -> ErrorBars | RemoteError | None:
        """σ of what is rendered; None where the model does not know.

        The rendering process is asked: for a worker thread.
        """
        found = self._service.error(str(self._path))
        return RemoteError(self, found) if isinstance(found, dict) else found

    def sigma_of_tiles(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[np.float32]:
        """σ ``(n, h, w)`` of a tiled model, from the rendering process."""
        return self._service.render_error(str(self._path), depths_nm.tolist(), region, shape)

    def prepare(self, path: str | Path) -> PreparedState:
        """Load a newer state and render what is on screen; for a worker thread."""
        if Path(path).is_dir():  # the same folder as before, with more tiles
            self._service.drop(str(path))
        info = self._service.describe(str(path))
        with self._lock:
            boxes = [] if moved_lately() else list(self._recent)  # somebody scrubs: it will not be what is on screen
        images = {box: self._service.render(str(path), *box) for box in boxes if _pixels(box, info) <= 4_000_000}
        return PreparedState(Path(path), info, images)

    def commit(self, state: PreparedState) -> None:
        """Make a prepared state the present one; quick."""
        with self._lock:
            old, self._path, self.info = self._path, state.path, state.info
            self._ahead = state.images
            self.version += 1
        if self._finalizer.detach() is not None:
            self._watch(state.path)
        if old != state.path:
            threading.Thread(target=_forget, args=(self._service, [old], self._temporary), daemon=True).start()

    def save(self, path: str | Path) -> Path:
        """Copy the model file, or the folder of tiles, to ``path``, whole or not at all.

        Raises
        ------
        EmgaussError
            It is the model's own file, or cannot be written. The model is still where it was.
        """
        target = Path(path)
        if same_file(self._path, target):
            raise ExportError(f"{target} is the file that this layer shows: choose another name.")
        if self._path.is_dir():
            from napari_emgauss.tiles import copy_tiles

            copy_tiles(self._path, target)
            return target
        with whole(target) as part:
            shutil.copyfile(self._path, part)
        return target

    def scratch_copy(self) -> str:
        """A copy of the file of the present state, for work that takes longer than that state lasts.

        A folder of tiles is large and does not change: it is its own copy.
        """
        if self._path.is_dir():
            return str(self._path)
        return str(self.save(scratch_folder() / f"copy-{uuid.uuid4().hex}.emgauss.safetensors"))

    def release(self) -> None:
        """Free what the renderer holds of this model, and its temporary file."""
        self._finalizer()

    def _watch(self, path: Path) -> None:
        """Free ``path`` when the last layer lets go of the model; at exit the processes and the folder go as wholes."""
        self._finalizer = weakref.finalize(self, _forget, self._service, [path], self._temporary)
        self._finalizer.atexit = False

    def __deepcopy__(self, memo: dict[int, Any]) -> RemoteModel:
        # Layer > Duplicate copies data and metadata deeply; two layers may well share one model.
        return self

    def _render_at(self, path: Path, box: _Box) -> NDArray[Any]:
        try:
            return self._service.render(str(path), *box)
        except Exception:
            # The fit may have replaced the state, and removed its file, since we looked.
            with self._lock:
                present = self._path
            if present == path:
                raise
            return self._service.render(str(present), *box)


class RemoteError(ErrorView):
    """σ of a tiled model, whose tiles stay in the rendering process.

    Parameters
    ----------
    model : RemoteModel
    half_widths : dict
        Share of the truth, and how many σ hold it.
    """

    def __init__(self, model: RemoteModel, half_widths: dict[float, float]) -> None:
        super().__init__(model)
        self._half_widths = half_widths

    def half_width(self, share: float, channel: int = 0) -> float:
        """How many σ on either side hold a share of the truth."""
        return self._half_widths[share]

    def _images(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        return np.asarray(self.model.sigma_of_tiles(depths_nm, region, shape))


def _pixels(box: _Box, info: ModelInfo) -> int:
    depths, _, shape = box
    height, width = shape if shape is not None else info.shape[1:]
    return len(depths) * height * width


def _forget(service: RenderService, paths: list[Path], temporary: bool) -> None:
    """Drop models from the renderer in the background, and remove their files where they are ours."""

    def forget() -> None:
        for path in paths:
            service.drop(str(path))
            if temporary:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        service.close_if_idle()

    if threading.current_thread() is threading.main_thread():
        threading.Thread(target=forget, daemon=True).start()
    else:
        forget()
