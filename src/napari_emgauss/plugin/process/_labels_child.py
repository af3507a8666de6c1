"""The processes that carry labels to all depths, for the window and into a file. Know neither Qt nor napari."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._asked_child import answer_requests
from ._job import answer_job
from ._process import Channel
from ._shared_array import SharedArray
from ._sharing import keep_freed_memory, lower_priority, share_cores

if TYPE_CHECKING:
    from napari_emgauss._progress import Progress
    from napari_emgauss.labels import CarriedLabels, CarryChoice
    from napari_emgauss.stack import Region

PLANES_BYTES = 256 << 20
"""Whole slices of labels that are kept, for other samplings of the same depth."""


@dataclass(frozen=True)
class LabelsOrder:
    """Which labels are to be carried, and how.

    Parameters
    ----------
    model_path : str
        Model file, or folder of tiles.
    values : SharedArray
        ``(K, H, W)`` labels of the fitted slices, shared with the window.
    labelled : tuple of int
        Slices that are labelled.
    unlabelled : int or None
        The value of pixels of which nothing is known.
    name : str
        Of the labels.
    method : str
        Key of :data:`~napari_emgauss.labels.CARRY_CHOICES`.
    device : str
        Where to render.
    channel : int
        Of a model with several channels, the one in which motion and membranes are looked for.
    """

    model_path: str
    values: SharedArray
    labelled: tuple[int, ...]
    unlabelled: int | None
    name: str
    method: CarryChoice
    device: str = "auto"
    channel: int = 0

    def carried(self) -> CarriedLabels:
        """What it asks for; loads the model."""
        from napari_emgauss.labels import LabelledSlices, carry_labels
        from napari_emgauss.tiles import load
        from napari_emgauss.volume import VolumeModel, channel_models

        model: VolumeModel = load(self.model_path, device=self.device)
        if model.channels > 1:
            model = channel_models(model)[self.channel]
        labels = LabelledSlices(self.values.array(), self.labelled, self.unlabelled, self.name)
        return carry_labels(labels, model, self.method)


@dataclass(frozen=True)
class LabelsExport:
    """Where to write carried labels.

    Parameters
    ----------
    target : str
        A file, or an OME-Zarr that holds the image.
    name : str
        Of the labels in that OME-Zarr.
    spacing_nm : float or None
        Distance between slices; None for that of the image in the OME-Zarr.
    format : str or None
        As in :func:`napari_emgauss.volume.export`.
    overwrite : bool
        Replace what is there.
    """

    target: str
    name: str
    spacing_nm: float | None
    format: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class LabelsWritten:
    """Where labels were written, and what is to be said of it."""

    path: str
    notes: tuple[str, ...] = ()


def serve_labels(connection: Any, order: LabelsOrder) -> None:
    """Answer requests ``(verb, *arguments)`` until the window is gone, as the rendering process does."""
    lower_priority()
    share_cores()
    keep_freed_memory()
    desk: _Desk | None = None

    def answer(verb: str, *arguments: Any) -> Any:
        nonlocal desk
        desk = _Desk(order.carried()) if desk is None else desk
        if verb == "render":
            return desk.render(*arguments)
        if verb == "relabel":
            return desk.relabel(*arguments)
        raise ValueError(f"unknown request {verb!r}")

    answer_requests(connection, answer, "labels")


class _Desk:
    """The labels as they are now, and whole slices of them that were worked out last."""

    def __init__(self, carried: CarriedLabels) -> None:
        from napari_emgauss._cache import ByteBoundCache

        self._carried = carried
        self._planes: ByteBoundCache[tuple[int, float], NDArray[Any]] = ByteBoundCache(
            lambda plane: plane.nbytes, PLANES_BYTES
        )

    def relabel(self, labelled: tuple[int, ...], changed: tuple[int, ...]) -> None:
        """Slices have other labels than before; their values are in the shared memory."""
        labels = replace(self._carried.labels, labelled=labelled)
        self._carried = self._carried.relabelled(labels, changed)

    def render(self, z_nm: tuple[float, ...], region: Region | None, shape: tuple[int, int] | None) -> NDArray[Any]:
        """Labels at depths; a thumbnail, or a row of a slice, costs no second look at the slice."""
        if self._carried.has_parts:  # whole slices are large, and the window shows a part
            return self._carried.render(list(z_nm), region=region, shape=shape)
        from napari_emgauss.stack import Frame

        picked = np.ix_(*(axis.astype(np.int64) for axis in Frame.of(self._carried).centres(region, shape)))
        return np.stack([self._plane(depth)[picked] for depth in z_nm])

    def _plane(self, depth_nm: float) -> NDArray[Any]:
        key = (self._carried.version, depth_nm)
        return self._planes.get_or_load(key, lambda _: self._carried.render(depth_nm))


def export_labels_in_child(channel: Channel, order: LabelsOrder, request: LabelsExport) -> None:
    """Target of the process that writes labels; answers with :class:`LabelsWritten`."""

    def work(progress: Progress) -> LabelsWritten:
        from napari_emgauss.labels import export_labels

        try:
            carried = order.carried()
        finally:
            if not Path(order.model_path).is_dir():  # a folder of tiles is the user's own
                Path(order.model_path).unlink(missing_ok=True)
        notes: list[str] = []
        written = export_labels(
            carried,
            request.target,
            name=request.name,
            spacing_nm=request.spacing_nm,
            format=request.format,
            overwrite=request.overwrite,
            on_note=notes.append,
            on_progress=progress,
        )
        return LabelsWritten(str(written), tuple(notes))

    answer_job(channel, work)
