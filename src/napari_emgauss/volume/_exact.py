"""A model that shows the user's own slices as they are in the source, and infers everything else."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError, EmgaussError, StackError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack import Frame, Region, SliceSource, Stack, digest, open_own_slices, slices_as_fitted

from ._cells import means_of_cells
from ._depths import aligned_spacing
from ._error import changed_error
from ._look import look_row
from ._model_view import ModelView
from ._protocol import VolumeModel
from ._provenance import Provenance
from ._traits import ModelTraits, traits_of

# Grids and depths went through files: a millionth of a step off is the same depth.
_SAME_DEPTH = 1e-6


@dataclass(frozen=True)
class KeptSlices:
    """Which observed slices a grid of depths shows as they are.

    Parameters
    ----------
    kept : tuple of int
        Those that are, counted among the slices of the fit.
    missed : tuple of int
        Those within the range of the grid whose depth lies between two of its depths.
    rendered_whole : tuple of int
        Those that were damaged in part, where nobody knows any more which part.
    spacing_nm : float
        A spacing on which all lie, where there is one.
    """

    kept: tuple[int, ...]
    missed: tuple[int, ...]
    rendered_whole: tuple[int, ...]
    spacing_nm: float

    def __str__(self) -> str:
        count = len(self.kept) + len(self.missed) + len(self.rendered_whole)
        told = [f"{len(self.kept)} of {count} observed slices are in the volume as they are in the source"]
        if self.missed:
            told.append(
                f"{len(self.missed)} lie between the depths of its grid and are rendered: a spacing of "
                f"{self.spacing_nm:.6g} nm suits them better"
            )
        if self.rendered_whole:
            told.append(f"{len(self.rendered_whole)} rendered whole, because the damage mask is not known")
        return "; ".join(told) + "."


class ExactModel(ModelView):
    """Observed slices as they are in the source, byte for byte; everything between them as the model renders it.

    Pixels that were marked as damaged are rendered as well. A sampling other than one cell a pixel shows the mean of
    the source's pixels in each cell.

    Parameters
    ----------
    model : VolumeModel
        What renders the rest.
    slices : SliceSource
        ``(K, H, W)`` or ``(K, C, H, W)`` grey values of the source, one slice for each of the model.
    damage : dict
        Index of a slice -> ``(H, W)`` bool, True at damaged pixels; None where they are not known.
    digests : sequence of str
        What :func:`~napari_emgauss.stack.digest` says of each slice; empty where nobody knows.
    name : str
        Of the source, for messages.
    channel : int, optional
        Which channel of the slices the model shows, where it is one of several.

    Raises
    ------
    StackError
        The slices have another shape or type than the model. While rendering: the source has changed since the fit.
    """

    def __init__(
        self,
        model: VolumeModel,
        slices: SliceSource,
        *,
        damage: dict[int, NDArray[np.bool_] | None] | None = None,
        digests: Sequence[str] = (),
        name: str = "the stack",
        channel: int | None = None,
    ) -> None:
        super().__init__(model)
        depth, height, width = self.shape
        found, axes = tuple(int(n) for n in slices.shape), len(slices.shape)
        several = self.channels if channel is None else max(found[1], channel + 1) if axes == 4 else 2
        wanted = (depth, height, width) if several == 1 else (depth, several, height, width)
        if found != wanted:
            raise StackError(f"{name} has the shape {found}, but the model's slices have {wanted}.")
        if np.dtype(slices.dtype).newbyteorder("=") != self.dtype:
            raise StackError(
                f"{name} has grey values of type {np.dtype(slices.dtype).name}, but the model has {self.dtype}."
            )
        self._slices, self._damage, self._name, self._channel = slices, dict(damage or {}), name, channel
        self._digests = tuple(digests) if len(digests) == depth else ()
        self._checked: set[int] = set()
        self._lock = threading.Lock()

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the model is from, and how it looks."""
        return {**super().provenance, "look": self.traits.look}

    @property
    def traits(self) -> ModelTraits:
        """The model's, and the look."""
        inner = replace(super().traits, error=changed_error(self.model, self._without_own))
        return inner if look_row(inner.look).adds_texture else replace(inner, look="exact")

    @property
    def slices(self) -> SliceSource:
        """The slices of the source."""
        return self._slices

    def over(self, model: VolumeModel) -> ExactModel:
        """The same slices between what another view of the same model renders."""
        return ExactModel(
            model,
            self._slices,
            damage=self._damage,
            digests=self._digests,
            name=self._name,
            channel=self._channel,
        )

    def damaged(self, index: int) -> NDArray[np.bool_] | None:
        """``(H, W)``, True at the pixels of a slice that are not shown as they are; None where all are."""
        mask = self._damage.get(index)
        return mask if index not in self._damage or mask is not None else np.full(self.shape[1:], True)

    def _without_own(
        self, sigma: NDArray[np.float32], depths_nm: NDArray[np.float64], region: Region | None, shape: Any
    ) -> NDArray[np.float32]:
        """σ that is 0 where the source's own pixels are."""
        own = self._positions(depths_nm)
        box = Frame.of(self).checked_region(region)
        for at in np.flatnonzero(own >= 0):
            mask = self._damage.get(int(own[at]))
            inferred = False if mask is None else means_of_cells(mask, box, sigma.shape[-2:]) > 0
            sigma[at] = np.where(inferred, sigma[at], np.float32(0))
        return sigma

    def kept(self, depths_nm: Any) -> KeptSlices:
        """Which of the observed slices are shown as they are on a grid of depths."""
        depths = Frame.of(self).checked_depths(depths_nm)
        here = set(self._positions(depths).tolist())
        unknown = {k for k, mask in self._damage.items() if mask is None}
        slack = _SAME_DEPTH * float(np.diff(self.z_nm).min())
        inside = np.flatnonzero((self.z_nm >= depths.min() - slack) & (self.z_nm <= depths.max() + slack)).tolist()
        near = float(np.diff(depths).mean()) if len(depths) > 1 else 1.0
        return KeptSlices(
            tuple(k for k in inside if k in here),
            tuple(k for k in inside if k not in here and k not in unknown),
            tuple(k for k in inside if k in unknown),
            aligned_spacing(self.z_nm, near),
        )

    def inferred(self, depth_nm: float) -> NDArray[np.bool_]:
        """``(H, W)``, True at the pixels of a depth that are not the source's."""
        (index,) = self._positions(Frame.of(self).checked_depths(depth_nm))
        mask = None if index < 0 else self._damage.get(int(index))
        return np.full(self.shape[1:], index < 0) if mask is None else mask

    def check(self, indices: Sequence[int]) -> None:
        """Make sure that slices of the source are those of the fit, before anything is made of them.

        Raises
        ------
        StackError
            One of them has changed.
        """
        for index in indices:
            self._checked_slice(index)

    def _positions(self, depths_nm: NDArray[np.float64]) -> NDArray[np.intp]:
        """Index of the observed slice that is shown at each depth; -1 for none."""
        z_nm = self.z_nm
        nearest = np.abs(z_nm[None] - depths_nm[:, None]).argmin(axis=1)
        same = np.abs(z_nm[nearest] - depths_nm) <= _SAME_DEPTH * float(np.diff(z_nm).min())
        known = np.array([self._damage.get(int(k), True) is not None for k in nearest], dtype=bool)
        return np.where(same & known, nearest, -1)

    def _checked_slice(self, index: int) -> NDArray[Any] | None:
        """A whole slice, where it had to be read to be checked."""
        with self._lock:
            if index in self._checked or not self._digests:
                return None
        values = np.asarray(self._slices[index])
        if digest(values) != self._digests[index]:
            raise StackError(
                f"{self._name} is not the stack that the model was fitted to, or has changed since",
                remedy=remedy("smooth look"),
            )
        with self._lock:
            self._checked.add(index)
        return values

    def _images(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        frame = Frame.of(self)
        depths, box = frame.checked_depths(depths_nm), frame.checked_region(region)
        _, sampled = frame.sampling(region, shape)
        own = self._positions(depths)
        damaged = [None if k < 0 else self._damage.get(int(k)) for k in own]
        rendered = np.array([k < 0 or mask is not None for k, mask in zip(own, damaged, strict=True)])
        channels = () if self.channels == 1 else (self.channels,)
        images = np.empty((len(depths), *channels, *sampled), self.dtype)
        if rendered.any():
            images[rendered] = self.model.render(depths[rendered], region=region, shape=shape)
        for at in np.flatnonzero(own >= 0):
            plane = self._sampled(int(own[at]), box, sampled)
            mask = damaged[at]
            sound = True if mask is None else means_of_cells(mask, box, sampled) == 0
            images[at] = np.where(sound, plane, images[at])
        return images

    def _sampled(self, index: int, box: Region, sampled: tuple[int, int]) -> NDArray[Any]:
        y0, y1, x0, x1 = box
        rows, columns = slice(int(y0), int(np.ceil(y1))), slice(int(x0), int(np.ceil(x1)))
        whole = self._checked_slice(index)
        if whole is not None:
            part = whole[..., rows, columns]
            part = part if self._channel is None else part[self._channel]
        else:
            channel = () if len(self._slices.shape) == 3 else (slice(None) if self._channel is None else self._channel,)
            part = np.asarray(self._slices[(index, *channel, rows, columns)])
        if tuple(part.shape[-2:]) == sampled and all(edge == int(edge) for edge in box):
            return part
        inner = (y0 - rows.start, y1 - rows.start, x0 - columns.start, x1 - columns.start)
        means = means_of_cells(part, inner, sampled)
        return (np.rint(means) if self.dtype.kind in "iu" else means).astype(self.dtype)


def exact_model(model: VolumeModel, stack: Stack | str | Path | None = None) -> ExactModel:
    """The model with the slices that it was fitted to as they are in their source.

    Parameters
    ----------
    model : VolumeModel
        A fitted model, or a view of one.
    stack : Stack or path, optional
        The stack that it was fitted to; by default it is looked for where it was.

    Raises
    ------
    ConfigError
        Slices were moved, or their brightness was changed and is not changed back, so that they do not fit between
        what is rendered. The model has labels instead of grey values. Nobody knows where the stack is.
    StackError
        The stack cannot be read, or is another one, or has changed since the fit.
    """
    known = Provenance.from_json(model.provenance)
    if traits_of(model).holds_labels:
        raise ConfigError("Labels have no look: only grey values are kept as they are in the source.")
    try:
        _refuse_corrections(model, known)
        name, slices = _found(model, known, stack)
        damage = _damage(model, known, stack)
    except EmgaussError:
        raise
    except (TypeError, ValueError, AttributeError) as error:  # a file of somebody else's may say anything
        raise ConfigError("The model's record of its slices makes no sense", remedy=remedy("smooth look")) from error
    return ExactModel(
        model,
        slices,
        damage=damage,
        digests=known.own_slices.digests,
        name=name,
        channel=known.channel if len(slices.shape) == 4 and model.channels == 1 else None,
    )


def _refuse_corrections(model: VolumeModel, known: Provenance) -> None:
    """Refuse what leaves no place for the source's pixels between those that are rendered."""
    moved = [*known.stack.jitter_removed_px, *(known.slice_shifts_px or ())]
    if np.any(np.asarray(moved, dtype=np.float64)):
        raise ConfigError(
            "The slices were moved into place, so none lies in the volume as it is in the source",
            remedy=remedy("smooth look"),
        )
    each = known.stack.by_channel
    evened = next((one.intensity_correction for one in each if one.intensity_correction), None)
    if evened is None or traits_of(model).in_original_intensity:
        return
    can_be_undone = all(one.intensity_lines is not None for one in each)
    raise ConfigError(
        "The slices were evened out, so those in the source differ in brightness from what is rendered between them"
        + ("" if can_be_undone else f", and a correction of the kind {evened} cannot be undone"),
        remedy=remedy("undo intensity" if can_be_undone else "smooth look"),
    )


def _found(model: VolumeModel, known: Provenance, stack: Stack | str | Path | None) -> tuple[str, SliceSource]:
    """What to call the source, and its slices that were fitted."""
    if isinstance(stack, Stack):
        name, slices = f"The stack '{stack.name}'", stack.own_slices
        try:
            return name, slices if stack.shape == model.shape else slices_as_fitted(slices, known.stack, model.shape)
        except StackError as error:
            raise StackError(f"{name} is not the stack that the model was fitted to: {error}.") from error
    if stack is None and not known.source:
        raise ConfigError("The model does not know which file its slices are from", remedy=remedy("give stack"))
    if stack is None and not known.own_slices.digests:
        raise ConfigError(
            "The model is older than this version and cannot tell whether its stack has changed since",
            remedy=remedy("give stack"),
        )
    path = str(known.source if stack is None else stack)
    try:
        return f"'{path}'", open_own_slices(path, known.stack, model.shape)
    except EmgaussError as error:
        if stack is not None:
            raise StackError(f"The slices of the model cannot be taken from '{path}': {_clause(error)}.") from error
        raise StackError(
            f"The stack '{path}' that the model was fitted to cannot be read any more: {_clause(error)}",
            remedy=remedy("give stack"),
        ) from error


def _clause(error: EmgaussError) -> str:
    return str(error).rstrip(".")


def _damage(
    model: VolumeModel, known: Provenance, stack: Stack | str | Path | None
) -> dict[int, NDArray[np.bool_] | None]:
    """Damaged pixels of the slices that have any, as far as they are known."""
    count, height, width = model.shape
    found: dict[int, NDArray[np.bool_] | None] = {}
    if isinstance(stack, Stack) and stack.damage is not None and stack.shape == model.shape:
        masks = {k: np.asarray(stack.damage[k]) != 0 for k in range(count)}
        return {k: mask for k, mask in masks.items() if mask.any()}
    numbers = known.stack.selected_slices or range(count)
    for k, number in enumerate(numbers):
        if str(number) in known.stack.masked_fraction or str(k) in known.own_slices.damage:
            found[k] = known.own_slices.damaged_pixels(k, (height, width))
    return found
