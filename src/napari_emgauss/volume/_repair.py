"""A stack as it is, but for what was missing or damaged: on its own grid, in its own type."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError, ExportError, StackError
from napari_emgauss._paths import same_file
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.stack import Frame, Region, Stack, record_own_slices

from ._exact import ExactModel, exact_model
from ._export import check_target, with_own_slices, write_planned
from ._model_view import ModelView
from ._original_intensity import in_original_intensity
from ._plan import ExportPlan, plan_export
from ._protocol import VolumeModel
from ._provenance import Provenance
from ._traits import ModelTraits


def repair(
    model: VolumeModel,
    stack: Stack,
    path: str | os.PathLike[str],
    *,
    mask: str | os.PathLike[str] | None = None,
    format: str | None = None,
    overwrite: bool = False,
    on_note: Callable[[str], None] | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Write a stack with its left-out slices and its damaged pixels filled, and all others byte for byte.

    Parameters
    ----------
    model : VolumeModel
        Fitted to ``stack``.
    stack : Stack
        As it was fitted: without the slices to fill (see :func:`~napari_emgauss.stack.leave_out`), and with the pixels
        to fill marked (see :func:`~napari_emgauss.stack.mask_damage`).
    path : path
        Where to; its ending says the format, as of :func:`export`.
    mask : path, optional
        Also write here what was filled: 1, and 0 elsewhere, in the format of its own ending.
    format, overwrite, on_progress
        As of :func:`export`.
    on_note : callable, optional
        Called with a sentence that says what is filled.

    Returns
    -------
    Path
        Of the repaired stack.

    Raises
    ------
    ConfigError
        Nothing is to be filled, or slices before the first or after the last good one; or see :func:`exact_model`.
    StackError
        The model was fitted to other slices, or other damage.
    ExportError
        As of :func:`export`.
    """
    check_repair(stack)
    exact, depths = _filling(model, stack), _all_depths(stack)
    volume = _planned(exact, Path(path), depths, format)
    targets: list[tuple[VolumeModel, ExportPlan]] = [(exact, volume)]
    if mask is not None:
        if same_file(mask, path):
            raise ConfigError(f"'{os.fspath(mask)}' would be written twice: choose two different names.")
        filled = _FilledMask(exact)
        targets.append((filled, _planned(filled, Path(mask), depths, None)))
    for shown, plan in targets:
        if stack.source is not None and same_file(stack.source, plan.path):
            raise ExportError(f"'{plan.path}' is the stack itself: choose another name.")
        check_target(shown, plan, overwrite=overwrite)
    targets[0] = exact, with_own_slices(exact, volume, None)
    progress = Progress(on_progress)
    for k, (shown, plan) in enumerate(targets):
        part = progress.part(k / len(targets), (k + 1) / len(targets))
        write_planned(shown, plan, overwrite=overwrite, progress=part)
    if on_note is not None:
        on_note(_told(stack, exact))
    return volume.path


def check_repair(stack: Stack) -> None:
    """Refuse, before a fit, a stack of which nothing is to be filled, or something that nothing can be put into.

    Raises
    ------
    ConfigError
        So it is.
    """
    record = stack.record
    left_out = record.left_out
    uneven = any(one.intensity_correction and one.intensity_lines is None for one in record.by_channel)
    if uneven or np.any(np.asarray(record.jitter_removed_px, dtype=np.float64)):
        raise ConfigError(
            "Slices that are moved into place, or evened out other than linearly, cannot stay as they "
            "are: repair the stack without these corrections."
        )
    if not left_out and stack.damage is None:
        raise ConfigError("There is nothing to fill: no slice is left out, and no pixel is marked as damaged.")
    for number, z_nm in left_out.items():
        if not stack.z_nm[0] < z_nm < stack.z_nm[-1]:
            raise ConfigError(
                f"Slice {number} cannot be filled: there are no good slices on both sides of it. Crop the stack there "
                "first."
            )


def _filling(model: VolumeModel, stack: Stack) -> ExactModel:
    known = Provenance.from_json(model.provenance)
    if stack.shape != tuple(model.shape) or not np.allclose(stack.z_nm, model.z_nm):
        raise StackError(
            "The model was fitted to other slices than the good ones of this stack: leave out the same slices, and "
            "use the same region and depths as for its fit."
        )
    if stack.damage is not None and dict(record_own_slices(stack).damage) != dict(known.own_slices.damage):
        raise StackError("The model was fitted with another damage mask: use the same one, or fit again.")
    if all(one.intensity_lines is not None for one in known.stack.by_channel):
        model = in_original_intensity(model)
    exact = exact_model(model, stack)
    try:
        exact.check(range(stack.shape[0]))
    except StackError as error:
        raise StackError("The model was fitted to other slices: the grey values of these differ.") from error
    return exact


def _all_depths(stack: Stack) -> NDArray[np.float64]:
    return np.sort(np.concatenate([stack.z_nm, list(stack.record.left_out.values())]))


def _planned(model: VolumeModel, path: Path, depths_nm: NDArray[np.float64], format: str | None) -> ExportPlan:
    holds_mask = isinstance(model, _FilledMask)
    plan = plan_export(
        Frame.of(model),
        path,
        dtype=model.dtype,
        channels=model.channels,
        provenance=model.provenance,
        format=format,
        labels=holds_mask,
        depths_nm=depths_nm,
    )
    return replace(plan, about={**plan.about, "repaired": True}) if not holds_mask else plan


def _told(stack: Stack, exact: ExactModel) -> str:
    whole = len(stack.record.left_out)
    partly = sum(bool(exact.inferred(float(z)).any()) for z in stack.z_nm)
    good = stack.shape[0] - partly
    return f"Slices filled completely: {whole}; in part: {partly}; unchanged: {good}, as are all other good pixels."


class _FilledMask(ModelView):
    """1 where a pixel was filled, 0 where it is the source's."""

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    @property
    def channels(self) -> int:
        return 1

    @property
    def traits(self) -> ModelTraits:
        return replace(super().traits, holds_labels=True, has_own_device=False)

    def _images(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        return np.stack([self.model.inferred(float(depth)) for depth in depths_nm]).astype(np.uint8)
