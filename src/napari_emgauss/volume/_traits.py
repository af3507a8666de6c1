"""What some models have beyond what every model has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from napari_emgauss.stack import Normalisation

from ._look import Look
from ._protocol import VolumeModel


@dataclass(frozen=True)
class ModelTraits:
    """What a model may have, and another may not; the defaults are those of a model that says nothing of itself.

    Parameters
    ----------
    holds_labels : bool
        Its values are numbers of objects: coarser levels of a file take one of them, never a mean.
    has_own_device : bool
        It renders on a device beside the processor, which may work ahead while slices are written.
    normalisation : Normalisation or None
        Between its grey values and the unit range.
    folder : Path or None
        What it reads from while it renders.
    in_original_intensity : bool
        A correction of brightness and contrast that it was fitted with is taken off again.
    look : {"smooth", "exact", "textured"}
        What it shows at the depths of observed slices, and between them.
    error : VolumeModel or None
        σ of its grey values at any depth, float32; None where nothing is known of their error.
    """

    holds_labels: bool = False
    has_own_device: bool = False
    normalisation: Normalisation | None = None
    folder: Path | None = None
    in_original_intensity: bool = False
    look: Look = "smooth"
    error: VolumeModel | None = None


class DescribedModel(VolumeModel, Protocol):
    """A model that says what it has."""

    @property
    def traits(self) -> ModelTraits:
        """As it is now."""
        ...


def traits_of(model: VolumeModel | DescribedModel) -> ModelTraits:
    """What a model says of itself, if it does: ``traits`` may be missing."""
    traits: ModelTraits = getattr(model, "traits", ModelTraits())
    return traits
