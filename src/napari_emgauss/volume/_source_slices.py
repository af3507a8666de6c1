"""Where the slices of the source lie in the volume of a model: numbers, depths, and how far each was moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.stack import HasFrame, Stack, StackRecord

from ._provenance import Provenance


@dataclass(frozen=True, eq=False)
class SourceSlices:
    """The slices of the source within the volume of a model, in their order.

    Parameters
    ----------
    numbers : ndarray
        ``(K,)`` int64, of each slice in the file, or in the layer.
    z_nm : ndarray
        ``(K,)`` depths, nm, increasing.
    fitted : ndarray
        ``(K,)`` bool, False for slices that were left out of the fit.
    offsets_px : ndarray
        ``(K, 2)``, rows and columns by which what is on a slice lies off from where the model has it: slices are put
        straight before a fit, and a fit may learn more of that. Of slices that were left out what lies around them,
        linearly.
    origin_px : tuple of int
        Row and column of the source at which the fitted rectangle begins.
    """

    numbers: NDArray[np.int64]
    z_nm: NDArray[np.float64]
    fitted: NDArray[np.bool_]
    offsets_px: NDArray[np.float64]
    origin_px: tuple[int, int]

    @classmethod
    def of(cls, placed: HasFrame) -> SourceSlices:
        """What a model, or a stack, notes of its slices; where it notes nothing, they are the slices of the source."""
        known = _provenance_of(placed)
        observed = np.asarray(placed.z_nm, dtype=np.float64)
        fitted = np.asarray(known.stack.fitted_numbers(len(observed)), dtype=np.int64)
        left_out = {number: z for number, z in known.stack.left_out.items() if number not in set(fitted.tolist())}
        numbers = np.concatenate([fitted, np.asarray(list(left_out), dtype=np.int64)])
        depths = np.concatenate([observed, np.asarray(list(left_out.values()), dtype=np.float64)])
        order = np.argsort(depths, kind="stable")
        is_fitted = order < len(observed)
        offsets = known.offsets_px(len(observed))
        everywhere = np.stack([np.interp(depths[order], observed, offsets[:, axis]) for axis in (0, 1)], axis=1)
        top, _, left, _ = known.stack.region or (0, 0, 0, 0)
        return cls(numbers[order], depths[order], is_fitted, everywhere, (int(top), int(left)))


def record_of_source(placed: HasFrame) -> StackRecord:
    """How the stack that a model was fitted to, or a stack itself, came about."""
    return _provenance_of(placed).stack


def _provenance_of(placed: Any) -> Provenance:
    if isinstance(placed, Stack):
        return Provenance(stack=placed.record)
    return Provenance.from_json(getattr(placed, "provenance", None))
