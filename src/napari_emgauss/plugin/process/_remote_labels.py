"""Carried labels as the window sees them: a process of their own works them out. Knows neither Qt nor napari."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import threading
import uuid
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError
from napari_emgauss.labels import CarryMethod, LabelledSlices, label_slices
from napari_emgauss.stack import Frame, Region, SliceSource, parse_slices

from ._job import Job
from ._labels_child import LabelsExport, LabelsOrder, export_labels_in_child, serve_labels
from ._problem import ChildFailedError, Problem, memory_advice, problem_of
from ._process import SPAWN, hidden_main
from ._remote_model import RemoteModel
from ._render_service import Depths
from ._scratch import scratch_folder
from ._shared_array import SharedArray

LOGGER = logging.getLogger("napari_emgauss.plugin")


class FittedLabels:
    """Labels of a layer on the slices, and in the rectangle, that were fitted.

    Parameters
    ----------
    values : array-like
        ``(N, H, W)`` the layer's data, possibly lazy.
    slices : sequence of int
        Slices of the layer that were fitted.
    region : tuple of int
        ``(y0, y1, x0, x1)`` of the fitted part.
    name : str
        Of the layer, for messages.
    unlabelled : int or None
        The value of pixels of which nothing is known.
    chosen : str
        Which slices of the layer are labelled; empty for all that are not empty.
    """

    def __init__(
        self,
        values: Any,
        slices: Sequence[int],
        region: tuple[int, int, int, int],
        name: str,
        *,
        unlabelled: int | None = None,
        chosen: str = "",
    ) -> None:
        self._values, self._slices, self._region = values, tuple(slices), region
        self.name, self.unlabelled, self._chosen = name, unlabelled, chosen
        y0, y1, x0, x1 = region
        self.shape = (len(self._slices), y1 - y0, x1 - x0)
        dtype = np.dtype(values.dtype)
        self.dtype: np.dtype[Any] = np.dtype(np.uint8) if dtype.kind == "b" else dtype

    def __getitem__(self, index: int) -> NDArray[Any]:
        y0, y1, x0, x1 = self._region
        return np.asarray(self._values[self._slices[index], y0:y1, x0:x1]).astype(self.dtype, copy=False)

    def laid_on(self, model: Any, values: SliceSource) -> LabelledSlices:
        """These labels, or newer ``values`` of them, on the slices of a model.

        Raises
        ------
        StackError
            No integers, no such slice, or fewer than two labelled slices.
        """
        labelled = None
        if self._chosen.strip():
            wanted = parse_slices(self._chosen, int(self._values.shape[0]))
            labelled = [self._slices.index(k) for k in wanted if k in self._slices]
        return label_slices(
            values, model, labelled=labelled, unlabelled=self.unlabelled, name=f"The layer “{self.name}”"
        )


class RemoteLabels:
    """What a lazy volume needs of labels at all depths, answered by a process of their own.

    The process holds a state of the model as it was at the beginning, and what is prepared for the gaps; it starts with
    the first request, and anew where it was ended. Working out the first depth of a gap takes seconds: for worker
    threads. Safe to call from several.

    Parameters
    ----------
    source : FittedLabels
        The labels.
    model : RemoteModel
        Says depths and shows motion.
    method : str
        Key of :data:`~napari_emgauss.labels.CARRY_METHODS`.
    device, channel
        See :class:`LabelsOrder`.

    Raises
    ------
    StackError
        The labels do not suit the model, or there is no memory for them.
    """

    channels, confidence, holds_labels = 1, None, True

    def __init__(
        self,
        source: FittedLabels,
        model: RemoteModel,
        method: CarryMethod,
        *,
        device: str = "auto",
        channel: int = 0,
    ) -> None:
        self._model, self.version = model, 1
        self._frame = Frame.of(model)
        try:
            shared = SharedArray.empty(source.shape, source.dtype)
        except (MemoryError, OSError) as error:
            raise StackError(f"There is not enough memory for “{source.name}”: close other programs.") from error
        self._values = shared.array()
        for k in range(source.shape[0]):
            self._values[k] = source[k]
        labels = source.laid_on(model, self._values)
        path = model.scratch_copy()
        self._order = LabelsOrder(
            path, shared, labels.labelled, source.unlabelled, source.name, method, device, channel
        )
        self._process = _Process()
        self._turn = threading.Lock()
        finalizer = weakref.finalize(self, _forget, self._process, path)
        finalizer.atexit = False

    @property
    def labelled(self) -> tuple[int, ...]:
        """Slices of the model that are labelled."""
        return self._order.labelled

    @property
    def method(self) -> CarryMethod:
        """How they are carried."""
        return self._order.method

    @property
    def name_in_container(self) -> str:
        """What they are called in the OME-Zarr of an image."""
        return re.sub(r"[^\w-]+", "-", self._order.name).strip("-") or "labels"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns of the fitted stack."""
        return self._frame.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the labels."""
        return self._values.dtype

    @property
    def z_nm(self) -> NDArray[np.float64]:
        """Depth of every fitted slice, nm."""
        return self._frame.z_nm

    @property
    def pixel_size_nm(self) -> tuple[float, float]:
        """In-plane pixel size ``(y, x)``, nm."""
        return self._frame.pixel_size_nm

    @property
    def provenance(self) -> dict[str, Any]:
        """Of the model: where the labels lie."""
        return self._model.provenance

    def render(
        self, z_nm: Depths, *, region: Region | None = None, shape: tuple[int, int] | None = None
    ) -> NDArray[Any]:
        """Labels at depths; the same contract as ``CarriedLabels.render``.

        Raises
        ------
        ChildFailedError
            They could not be worked out.
        """
        depths = tuple(float(z) for z in self._frame.checked_depths(z_nm))
        images: NDArray[Any] = self._ask("render", depths, self._frame.checked_region(region), shape)
        return np.asarray(images[0] if np.ndim(z_nm) == 0 else images)

    def nearest(
        self, z_nm: Depths, *, region: Region | None = None, shape: tuple[int, int] | None = None
    ) -> NDArray[Any]:
        """What the nearest labelled slices say; ``(n, rows, columns)``, at once."""
        labelled = np.asarray(self.labelled)
        apart = np.abs(np.subtract.outer(self._frame.checked_depths(z_nm), self.z_nm[labelled]))
        rows, columns = (axis.astype(np.int64) for axis in self._frame.centres(region, shape))
        return self._values[np.ix_(labelled[apart.argmin(axis=1)], rows, columns)]

    def update(self, source: FittedLabels) -> bool:
        """Take newer labels over; whether they differ.

        Raises
        ------
        StackError
            The labels as they are now cannot be carried: the ones before stay.
        ChildFailedError
            The process failed; it starts anew with the next request.
        """
        if source.shape != self._values.shape or source.dtype != self.dtype:
            raise StackError(f"“{source.name}” has another shape or type than before: carry it anew.")
        changed: dict[int, NDArray[Any]] = {}
        for k, before in enumerate(self._values):
            image = source[k]
            if not np.array_equal(image, before):
                changed[k] = image.copy()  # it may be edited on
        if not changed:
            return False
        labels = source.laid_on(self._model, _Newer(self._values, changed))
        for k, image in changed.items():
            self._values[k] = image
        self._order = replace(self._order, labelled=labels.labelled)
        self.version += 1
        if self._process.alive:
            self._ask("relabel", labels.labelled, tuple(changed))
        return True

    def export_job(self, request: LabelsExport) -> Job:
        """A job that writes the labels as they are now."""
        from napari_emgauss.volume import sweep_export

        copy = self._order.model_path
        if not Path(copy).is_dir():  # a folder of tiles does not change: it is its own copy
            copy = str(scratch_folder() / f"copy-{uuid.uuid4().hex}.emgauss.safetensors")
            shutil.copyfile(self._order.model_path, copy)
        values = SharedArray.empty(self._values.shape, self._values.dtype)
        values.array()[:] = self._values
        order = replace(self._order, model_path=copy, values=values)

        def clean_up() -> None:
            if not Path(copy).is_dir():
                Path(copy).unlink(missing_ok=True)
            target = Path(request.target)
            sweep_export(target / "labels" / request.name if target.is_dir() else target)

        return Job(export_labels_in_child, (order, request), name="labels", clean_up=clean_up)

    def close(self) -> None:
        """End the process; a later request starts another. Returns at once."""
        threading.Thread(target=self._process.close, daemon=True).start()

    def __deepcopy__(self, memo: dict[int, Any]) -> RemoteLabels:
        # Layer > Duplicate copies data and metadata deeply; two layers may well share the labels.
        return self

    def _ask(self, *request: Any) -> Any:
        with self._turn:
            answer = self._process.ask(self._order, request)
        if isinstance(answer, Problem):
            raise ChildFailedError.of(answer)
        return answer


class _Newer:
    """Slices, some of them newer than in an array."""

    def __init__(self, values: NDArray[Any], changed: dict[int, NDArray[Any]]) -> None:
        self._values, self._changed = values, changed
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, index: int) -> NDArray[Any]:
        return np.asarray(self._changed.get(index, self._values[index]))


class _Process:
    """The child and the pipe to it."""

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Any = None

    @property
    def alive(self) -> bool:
        return self._process is not None and bool(self._process.is_alive())

    def ask(self, order: LabelsOrder, request: tuple[Any, ...]) -> Any:
        """One request, one answer. A process that was ended is started again once."""
        for attempt in (1, 2):
            try:
                if not self.alive:
                    self._start(order)
                return self._exchange(request)
            except Exception as error:
                LOGGER.warning("The labels process ended (request %s, attempt %d): %r", request[0], attempt, error)
                self.close()
                if attempt == 2:
                    raise ChildFailedError(
                        "The labels process ends again and again, most often because memory runs out: "
                        f"{memory_advice('labels')}.",
                        problem_of(error).details,
                        "ended",
                    ) from None
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            self._connection.close()
        process.join(0.3)
        if process.is_alive():
            process.terminate()
            process.join(1)
        if process.is_alive():
            process.kill()
            process.join()

    def _start(self, order: LabelsOrder) -> None:
        ours, theirs = SPAWN.Pipe(duplex=True)
        process = SPAWN.Process(target=serve_labels, args=(theirs, order), daemon=True, name="emgauss-labels")
        with hidden_main():
            process.start()
        theirs.close()
        self._connection, self._process = ours, process

    def _exchange(self, request: tuple[Any, ...]) -> Any:
        self._connection.send(request)
        answer = self._connection.recv()
        if request[0] != "render" or isinstance(answer, Problem):
            return answer
        shape, dtype = answer
        image = np.empty(shape, np.dtype(dtype))
        if image.nbytes:
            self._connection.recv_bytes_into(image.view(np.uint8).reshape(-1).data)
        return image


def _forget(process: _Process, path: str) -> None:
    def forget() -> None:
        process.close()
        if not Path(path).is_dir():  # a folder of tiles is the user's own
            with contextlib.suppress(OSError):
                Path(path).unlink(missing_ok=True)

    threading.Thread(target=forget, daemon=True).start()
