"""What can be written beside a volume, on its grid: how far the prior trusted it, and its error bars."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from napari_emgauss._errors import ExportError

if TYPE_CHECKING:
    from ._protocol import VolumeModel

Companion: TypeAlias = Literal["confidence", "error"]
"""What can be written beside a volume."""


@dataclass(frozen=True)
class CompanionRow:
    """One such volume, as the command line's help and the window tell of it.

    Parameters
    ----------
    name : Companion
        By which it is asked for; also the middle of its file's name.
    label : str
        In a sentence.
    summary : str
        What is in the file.
    missing : str
        Why a model may not have it.
    """

    name: Companion
    label: str
    summary: str
    missing: str

    def told_missing(self, called: str, remedy: str) -> str:
        """That a model has none, why, and what to do, in the words of whoever asks."""
        return f"{called} holds no {self.label}: {self.missing}; {remedy}."


COMPANION_ROWS = (
    CompanionRow(
        "confidence",
        "confidence",
        "how far the prior trusts what it inferred, from 0 to 255",
        "its prior has none, or it was fitted in tiles or by an older version",
    ),
    CompanionRow(
        "error",
        "error bars",
        "sigma of every voxel in grey values, as 32-bit floats",
        "it was fitted without a prior, to too few slices to try it on, or by an older version",
    ),
)


def companion_row(name: Companion) -> CompanionRow:
    """What is known of one."""
    return next(row for row in COMPANION_ROWS if row.name == name)


def companion_of(model: VolumeModel, name: Companion, called: str, remedy: str) -> VolumeModel:
    """What lies beside a model.

    Parameters
    ----------
    model : VolumeModel
        As it is shown.
    name : Companion
        Which of them.
    called, remedy : str
        Of the model, and what to do where it has none, in the words of whoever asks.

    Raises
    ------
    ExportError
        The model has none.
    """
    from ._traits import traits_of  # imports NumPy, which the command line's help, made from these rows, does without

    found = model.confidence if name == "confidence" else traits_of(model).error
    if found is None:
        raise ExportError(companion_row(name).told_missing(called, remedy))
    return found


def companion_path(target: str | os.PathLike[str], name: Companion) -> Path:
    """Where it lies beside a volume: ``volume.ome.tif`` gives ``volume.error.ome.tif``."""
    path = Path(target)
    stem, dot, ending = path.name.partition(".")
    return path.with_name(f"{stem}.{name}{dot}{ending}")
