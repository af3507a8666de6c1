"""A model with one of the looks: the one place where they are put together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_emgauss._errors import ConfigError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack import Normalisation, Stack

from ._exact import ExactModel, exact_model
from ._look import LOOKS, Look, look_row
from ._original_intensity import in_original_intensity
from ._protocol import VolumeModel
from ._provenance import Provenance
from ._texture import Texture
from ._texture_measure import measure_texture
from ._textured import TexturedModel
from ._traits import traits_of


def with_look(
    model: VolumeModel,
    look: Look,
    stack: Stack | str | os.PathLike[str] | None = None,
    *,
    original_intensity: bool = False,
    texture_seed: int | None = None,
) -> VolumeModel:
    """A model as one of the looks shows it.

    Parameters
    ----------
    model : VolumeModel
        A fitted model.
    look : {"smooth", "exact", "textured"}
        ``"smooth"``: as it renders. ``"exact"``: observed slices as they are in the source. ``"textured"``: the same,
        and what is rendered between them gets the contrast and the noise that it lacks beside them: as the fit
        measured them, or, for older models and those made of tiles, as they are measured now.
    stack : Stack or path, optional
        For all looks but smooth: the stack that the model was fitted to; by default the file it was read from.
    original_intensity : bool
        Also take off the correction of brightness and contrast that the model was fitted with.
    texture_seed : int, optional
        Of the noise of the textured look, 0 by default: the same seed, the same pixels.

    Raises
    ------
    ConfigError
        There is no such look, or see :func:`exact_model`; or there is no correction to take off; or a seed is no
        whole number from 0 on, or of another look.
    StackError
        The stack cannot be read, is another one, or has changed since the fit.
    """
    if look not in LOOKS:
        raise ConfigError(f"There is no look {look!r}: choose one of {', '.join(LOOKS)}.")
    row = look_row(look)
    seed = 0 if texture_seed is None else int(texture_seed)
    if texture_seed is not None and not row.adds_texture:
        raise ConfigError("A texture seed is needed only for the textured look", remedy=remedy("textured look"))
    if not 0 <= seed < 2**63:
        raise ConfigError(f"A texture seed is a whole number from 0 to {2**63 - 1}, not {seed}.")
    shown = in_original_intensity(model) if original_intensity else model
    if not row.keeps_own_slices:
        return shown
    exact = exact_model(shown, Path(stack) if isinstance(stack, (str, os.PathLike)) else stack)
    if not row.adds_texture:
        return exact
    textured = textured_model(model, exact, seed=seed)
    return exact.over(in_original_intensity(textured) if original_intensity else textured)


def textured_model(model: VolumeModel, exact: ExactModel, *, seed: int = 0) -> TexturedModel:
    """The model with texture, as it was measured in the fit, or else on the slices that ``exact`` has of the source."""
    known = Provenance.from_json(model.provenance)
    channel = known.channel if model.channels == 1 else None
    given = traits_of(model).normalisation
    normalisation = _assumed(model) if given is None else given
    if channel is not None:
        normalisation = normalisation.of_channel(channel)
    textures = None if given is None else stored_textures(known, model.channels, channel)
    if textures is None:
        textures = measure_texture(
            model,
            exact.slices,
            normalisation,
            channel=channel if len(exact.slices.shape) == 4 else None,
            lines=[one.intensity_lines for one in known.stack.by_channel],
            damage=exact.damaged,
        )
    return TexturedModel(model, textures, normalisation, seed=seed, channel=channel or 0)


def stored_textures(known: Provenance, channels: int, channel: int | None = None) -> list[Texture] | None:
    """The textures that a fit has left in the provenance; None where there are none, or none that make sense."""
    stored: Any = known.texture
    if not isinstance(stored, (list, tuple)):
        return None
    chosen = stored[channel : channel + 1] if channel is not None and len(stored) > 1 else stored
    textures = [Texture.from_json(one) for one in chosen]
    found = [one for one in textures if one is not None]
    return found if len(found) == len(textures) == channels else None


def texture_of_fit(model: VolumeModel, stack: Stack) -> Sequence[Mapping[str, Any]]:
    """What :func:`stored_textures` finds later: the texture of a stack beside what was just fitted to it.

    Empty where the source's grey values are no straight line away from those that were fitted: no look has both.
    """
    each = stack.record.by_channel
    if any(one.intensity_correction and one.intensity_lines is None for one in each):
        return []

    def damaged(index: int) -> Any:
        return None if stack.damage is None else np.asarray(stack.damage[index]) != 0

    textures = measure_texture(
        model,
        stack.own_slices,
        stack.normalisation,
        lines=[one.intensity_lines for one in each],
        damage=damaged,
    )
    return [texture.to_json() for texture in textures]


def _assumed(model: VolumeModel) -> Normalisation:
    """A unit range for models that do not say theirs."""
    dtype = np.dtype(model.dtype)
    if dtype.kind not in "iu":
        return Normalisation(0.0, 1.0, dtype.name)
    limits = np.iinfo(dtype)
    return Normalisation(float(limits.min), float(limits.max), dtype.name)
