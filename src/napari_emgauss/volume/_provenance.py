"""Where a model comes from, as a dataclass over the JSON that is kept with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.stack import JsonRecord, OwnSlices, StackRecord


@dataclass(frozen=True, kw_only=True)
class Provenance(JsonRecord):
    """Where a model comes from: ``model.provenance`` is this as JSON.

    Parameters
    ----------
    name, source : str, optional
        Of the stack.
    stack : StackRecord
        How that came about.
    own_slices : OwnSlices
        By which the slices of the source are known again.
    stack_id : str, optional
        Fingerprint of the stack, by which a run that goes on knows it again.
    fit : mapping
        Settings.
    prior : optional
        What the prior reported of itself; in a tile the prior's name.
    prior_name, napari_emgauss, torch : str, optional
        Prior and versions.
    prior_s, fit_s, final_loss : float, optional
        Times and the last loss.
    slice_shifts_px : sequence, optional
        ``(y, x)`` by which slices were moved in the fit; with its largest and its median length.
    shared_prior : optional
        Of a fit in tiles: what they share; with ``threads_per_tile``.
    texture : sequence of mapping
        Of each channel what the textured look adds to rendered slices.
    channel : int, optional
        Where one channel of several is shown.
    """

    name: str | None = None
    source: str | None = None
    stack: StackRecord = field(default_factory=StackRecord)
    own_slices: OwnSlices = field(default_factory=OwnSlices)
    stack_id: str | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)
    prior: object = None
    prior_name: str | None = None
    napari_emgauss: str | None = None
    torch: str | None = None
    prior_s: float | None = None
    fit_s: float | None = None
    final_loss: float | None = None
    slice_shifts_px: Sequence[Sequence[float]] | None = None
    slice_shift_largest_px: float | None = None
    slice_shift_median_px: float | None = None
    shared_prior: object = None
    threads_per_tile: int | None = None
    texture: Sequence[Mapping[str, Any]] = ()
    channel: int | None = None

    @classmethod
    def from_json(cls, values: object) -> Self:
        """See `JsonRecord.from_json`."""
        if isinstance(values, Mapping):
            values = {
                **values,
                "stack": StackRecord.from_json(values.get("stack")),
                "own_slices": OwnSlices.from_json(values.get("own_slices")),
            }
        return super().from_json(values)

    def offsets_px(self, count: int) -> NDArray[np.float64]:
        """``(count, 2)`` rows and columns by which what is on a fitted slice lies off from where the model has it.

        What the straightening before the fit took off, and what the fit learned on top; 0 where the notes are of
        another number of slices.
        """
        off = np.zeros((count, 2))
        for noted in (self.stack.jitter_removed_px, self.slice_shifts_px):
            try:
                values = np.asarray(noted if noted is not None else (), dtype=np.float64)
            except (TypeError, ValueError):
                continue
            if values.shape == (count, 2) and np.isfinite(values).all():
                off += values
        return off
