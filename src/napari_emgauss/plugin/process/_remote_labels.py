"""Carried labels as the window sees them: a process of their own works them out. Knows neither Qt nor napari."""

from __future__ import annotations

import contextlib
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
from numpy.typing import ArrayLike, NDArray

from napari_emgauss._errors import StackError
from napari_emgauss.labels import CarryChoice, LabelledSlices, holds_image, label_slices, move_slice
from napari_emgauss.stack import Frame, Region, SliceSource, parse_slices

from ._asked_child import AskedChild
from ._job import Job
from ._labels_child import LabelsExport, LabelsOrder, export_labels_in_child, serve_labels
from ._remote_model import RemoteModel
from ._render_service import Depths
from ._scratch import scratch_folder
from ._shared_array import SharedArray


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
    offsets_px : array-like, optional
        ``(N, 2)`` rows and columns by which what is on a fitted slice lies off from where the model has it.
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
        offsets_px: ArrayLike | None = None,
    ) -> None:
        self._values, self._slices, self._region = values, tuple(slices), region
        count = len(self._slices)
        self._offsets_px = np.zeros((count, 2)) if offsets_px is None else np.asarray(offsets_px, dtype=np.float64)
        self.name, self.unlabelled, self._chosen = name, unlabelled, chosen
        y0, y1, x0, x1 = region
        self.shape = (len(self._slices), y1 - y0, x1 - x0)
        dtype = np.dtype(values.dtype)
        self.dtype: np.dtype[Any] = np.dtype(np.uint8) if dtype.kind == "b" else dtype

    def __getitem__(self, index: int) -> NDArray[Any]:
        y0, y1, x0, x1 = self._region
        image = np.asarray(self._values[self._slices[index], y0:y1, x0:x1]).astype(self.dtype, copy=False)
        return move_slice(image, self._offsets_px[index])

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
            values,
            model,
            labelled=labelled,
            unlabelled=self.unlabelled,
            offsets_px=np.zeros_like(self._offsets_px),  # they were moved when they were read
            name=f"The layer “{self.name}”",
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
        Key of :data:`~napari_emgauss.labels.CARRY_CHOICES`.
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
        method: CarryChoice,
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
        self._child = AskedChild("labels", "labels")
        self._turn = threading.Lock()
        finalizer = weakref.finalize(self, _forget, self._child, path)
        finalizer.atexit = False

    @property
    def labelled(self) -> tuple[int, ...]:
        """Slices of the model that are labelled."""
        return self._order.labelled

    @property
    def method(self) -> CarryChoice:
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
            raise StackError(f"“{source.name}” has a different shape or type than before: carry it again.")
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
        if self._child.alive:
            self._ask("relabel", labels.labelled, tuple(changed))
        return True

    def export_job(self, request: LabelsExport) -> Job:
        """A job that writes the labels as they are now."""
        from napari_emgauss.volume import remove_export_leftovers

        copy = self._order.model_path
        if not Path(copy).is_dir():  # a folder of tiles does not change: it is its own copy
            copy = str(scratch_folder() / f"copy-{uuid.uuid4().hex}.emgauss.safetensors")
            shutil.copyfile(self._order.model_path, copy)
        values = SharedArray.empty(self._values.shape, self._values.dtype)
        values.array()[:] = self._values
        order = replace(self._order, model_path=copy, values=values)
        target = Path(request.target)
        group = target / "labels" if holds_image(target) else None
        had_labels = group is not None and group.exists()

        def clean_up() -> None:
            if not Path(copy).is_dir():
                Path(copy).unlink(missing_ok=True)
            remove_export_leftovers(target if group is None else group / request.name)
            if group is not None and not had_labels:
                with contextlib.suppress(OSError):  # there are other labels in it
                    group.rmdir()

        return Job(export_labels_in_child, (order, request), name="labels", clean_up=clean_up)

    def close(self) -> None:
        """End the process; a later request starts another. Returns at once."""
        threading.Thread(target=self._child.close, daemon=True).start()

    def __deepcopy__(self, memo: dict[int, Any]) -> RemoteLabels:
        # Layer > Duplicate copies data and metadata deeply; two layers may well share the labels.
        return self

    def _ask(self, *request: Any) -> Any:
        with self._turn:
            return self._child.ask(request, serve_labels, (self._order,))


class _Newer:
    """Slices, some of them newer than in an array."""

    def __init__(self, values: NDArray[Any], changed: dict[int, NDArray[Any]]) -> None:
        self._values, self._changed = values, changed
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, index: int) -> NDArray[Any]:
        return np.asarray(self._changed.get(index, self._values[index]))


def _forget(child: AskedChild, path: str) -> None:
    def forget() -> None:
        child.close()
        if not Path(path).is_dir():  # a folder of tiles is the user's own
            with contextlib.suppress(OSError):
                Path(path).unlink(missing_ok=True)

    threading.Thread(target=forget, daemon=True).start()
