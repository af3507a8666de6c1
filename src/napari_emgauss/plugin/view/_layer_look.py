"""The looks of a continuous layer: smooth, or with the slices of the stack that it was fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_emgauss._errors import ConfigError, EmgaussError
from napari_emgauss.plugin.process._request import StackView
from napari_emgauss.stack import Normalisation, Stack
from napari_emgauss.volume import ExactModel, Look, Provenance, VolumeModel, look_row, with_look

from ._compare import source_candidates
from ._continuous_layer import LayerRecord
from ._layer_input import layer_data


def look_sources(viewer: Any, layer: Any) -> list[Stack]:
    """Stacks among the layers that ``layer`` may have been fitted to; for the window's thread, reads nothing."""
    return [_as_stack(other) for other in source_candidates(viewer, layer)]


def model_with_look(record: LayerRecord, look: Look, sources: list[Stack]) -> VolumeModel:
    """The record's model as a look shows it; for a worker thread, because slices are read.

    Parameters
    ----------
    record : LayerRecord
        Of the layer.
    look : Look
        Which.
    sources : list of Stack
        Of :func:`look_sources`; the file that was fitted is tried after them.

    Raises
    ------
    EmgaussError
        The look cannot be had; the sentence says why.
    """
    row, model = look_row(look), record.model
    if not row.keeps_own_slices:
        found: VolumeModel = model
        return found
    if row.adds_texture and still_fitted(model):
        raise ConfigError("The texture is measured at the end of the fit: choose this look when the fit has finished.")
    refused: EmgaussError | None = None
    for source in (*sources, None):
        try:
            shown = with_look(model, look, source)
            if isinstance(shown, ExactModel):
                shown.check((0, len(model.z_nm) // 2, len(model.z_nm) - 1))
            return shown
        except EmgaussError as error:
            refused = refused or error
    raise refused or ConfigError("The stack of this layer is not known.")


def still_fitted(model: Any) -> bool:
    """Whether a model is what a running fit has so far; a folder of tiles is not."""
    path = getattr(model, "path", None)
    return (path is None or not path.is_dir()) and Provenance.from_json(model.provenance).fit_s is None


def kept_slices(record: LayerRecord) -> list[Stack]:
    """The slices that a layer shows as they are, as a stack; none where all are rendered."""
    view, model = record.shifted.model, record.model
    if not isinstance(view, ExactModel):
        return []
    unit = Normalisation(0.0, 1.0, np.dtype(view.slices.dtype).name)
    return [Stack(view.slices, model.z_nm, model.pixel_size_nm, unit)]


def _as_stack(layer: Any) -> Stack:
    """A layer as a stack whose depths nobody asks for; its slices are read when they are needed."""
    values = StackView(layer_data(layer))
    unit = Normalisation(0.0, 1.0, np.dtype(values.dtype).name)
    return Stack(values, np.arange(values.shape[0], dtype=np.float64), (1.0, 1.0), unit, name=layer.name)
