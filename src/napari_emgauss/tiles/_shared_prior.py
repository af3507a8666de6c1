"""One prior for all tiles of a volume: chosen and trained once, on a sample, instead of in every tile.

Choosing and training take the same time whether a tile is large or small; done once they hardly count, and all tiles
restore their gaps in the same way. What was learned is kept in the run's folder, so that a run that goes on uses the
same.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ModelFileError
from napari_emgauss._progress import OnProgress
from napari_emgauss.fitting import FitConfig
from napari_emgauss.model import read_tensors, write_tensors
from napari_emgauss.priors import (
    ErrorLaw,
    LearnedPart,
    LearningPrior,
    Observation,
    Prior,
    PriorState,
    ResumablePrior,
    WeightedPrior,
    hidden_law,
    prior_info,
    prior_of_fit,
    state_from_tensors,
    state_to_tensors,
)
from napari_emgauss.stack import Stack

from ._plan import TilePlan

PRIOR_NAME = "prior.safetensors"
UNFINISHED_NAME = "prior.unfinished.safetensors"
_UNFINISHED_FORMAT = "napari-emgauss-prior-state"
_FORMAT = "napari-emgauss-prior"
_FORMAT_VERSION = 1


_PIECES = 2
_PIECE_PIXELS = 256


def learns(config: FitConfig) -> bool:
    """Whether the settings name a prior that chooses or trains, so that sharing it is of use."""
    return config.teacher_student and prior_info(config.prior).learns


def learn_shared_prior(
    stack: Stack,
    plan: TilePlan,
    config: FitConfig,
    on_progress: OnProgress | None = None,
    state: PriorState | None = None,
) -> WeightedPrior:
    """Choose and train on a sample of the volume.

    Parameters
    ----------
    stack : Stack
        The volume.
    plan : TilePlan
        Its tiles; the sample has the slices of the middle depth window.
    config : FitConfig
        Names the prior; its seed is used.
    on_progress : callable, optional
        Told how far it is; may raise to stop.
    state : PriorState, optional
        Gone on from, and left what was learned so far.

    Raises
    ------
    PriorError
        The sample cannot be learned from.
    ModelFileError
        ``state`` is damaged.
    """
    prior = named = prior_of_fit(config.prior, str(config.device))
    if isinstance(prior, ResumablePrior):
        kept = PriorState() if state is None else state
        prior = prior.learn_from(kept, sample(stack, plan), seed=config.seed, on_progress=on_progress)
    elif isinstance(prior, LearningPrior):
        prior = prior.learn(sample(stack, plan), seed=config.seed, on_progress=on_progress)
    if isinstance(prior, WeightedPrior):
        return replace(prior, name=config.prior)
    law = hidden_law(named, sample(stack, plan), seed=config.seed)
    return WeightedPrior(config.prior, ((config.prior.partition(":")[0], 1.0, prior),), error_law=law)


def sample(stack: Stack, plan: TilePlan) -> Observation:
    """Pieces spread over the plane, side by side as one image, of the middle depth window.

    A piece's border makes a step that is in no tissue, but it is seen in one patch of many.
    """
    window = plan.slices[len(plan.slices) // 2]
    part = stack.select(range(window.start, window.stop))
    _, height, width = part.shape
    rows, columns = _starts(height), _starts(width)
    high, wide = min(_PIECE_PIXELS, height), min(_PIECE_PIXELS, width)

    def piece(y: int, x: int) -> NDArray[np.float32]:
        return part.crop((y, y + high, x, x + wide)).unit_slices()

    images = np.concatenate([np.concatenate([piece(y, x) for x in columns], axis=2) for y in rows], axis=1)
    return Observation(np.ascontiguousarray(images), part.z_nm, part.pixel_size_nm)


def sample_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Slices, rows and columns of the sample of a window of ``shape``."""
    slices, height, width = shape
    rows, columns = (len(_starts(length)) * min(_PIECE_PIXELS, length) for length in (height, width))
    return slices, rows, columns


def _starts(length: int) -> list[int]:
    """Where pieces begin along an axis: evenly spread, apart from each other, one where there is no room for more."""
    if length < _PIECES * _PIECE_PIXELS:
        return [(length - min(_PIECE_PIXELS, length)) // 2]
    room = length / _PIECES
    return [round((k + 0.5) * room - _PIECE_PIXELS / 2) for k in range(_PIECES)]


def write_shared_prior(folder: Path, prior: WeightedPrior) -> None:
    """Keep a prior in the run's folder, whole or not at all."""
    tensors: dict[str, Any] = {}
    parts: list[dict[str, Any]] = []
    for name, weight, part in prior.parts:
        entry: dict[str, Any] = {"name": name, "weight": weight}
        if isinstance(part, LearnedPart):
            weights, entry["learned"] = part.saved()
            tensors.update({f"{name}/{key}": value for key, value in weights.items()})
        parts.append(entry)
    header = {"format": _FORMAT, "format_version": _FORMAT_VERSION, "name": prior.name, "parts": parts}
    if prior.error_law is not None:
        header["error_law"] = prior.error_law.to_json()
    write_tensors(folder / PRIOR_NAME, tensors, header)


def write_prior_state(folder: Path, state: PriorState) -> None:
    """Keep how far the learning has come in the run's folder, whole or not at all; nothing where there is nothing."""
    tensors, entries = state_to_tensors(state.entries())
    if entries:
        header = {"format": _UNFINISHED_FORMAT, "format_version": _FORMAT_VERSION, "entries": entries}
        write_tensors(folder / UNFINISHED_NAME, tensors, header)


def read_prior_state(folder: Path) -> PriorState:
    """How far an earlier run has come with learning; an empty state where there was none.

    Raises
    ------
    ModelFileError
        The file is damaged or of a newer version.
    """
    path = folder / UNFINISHED_NAME
    if not path.exists():
        return PriorState()
    tensors, header = read_tensors(
        path, expected_format=_UNFINISHED_FORMAT, newest_version=_FORMAT_VERSION, kind="prior"
    )
    try:
        return PriorState(state_from_tensors(tensors, header["entries"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"'{path}' is damaged: delete it and run the fit again.") from error


def read_shared_prior(folder: Path, device: str = "auto") -> WeightedPrior | None:
    """The prior of a run's folder, for fits on ``device``; None where there is none.

    Raises
    ------
    ModelFileError
        It is damaged or of a newer version.
    """
    path = folder / PRIOR_NAME
    if not path.exists():
        return None
    tensors, header = read_tensors(path, expected_format=_FORMAT, newest_version=_FORMAT_VERSION, kind="prior")
    try:
        parts = tuple(
            (str(entry["name"]), float(entry["weight"]), _part(entry, tensors, device)) for entry in header["parts"]
        )
        law = ErrorLaw.from_json(header["error_law"]) if "error_law" in header else None
        return WeightedPrior(str(header["name"]), parts, error_law=law)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"'{path}' is damaged: delete the folder and run the fit again.") from error


def _part(entry: dict[str, Any], tensors: dict[str, Any], device: str) -> Prior:
    """A part of the mean: as it was learned, or made anew where there was nothing to learn."""
    name = str(entry["name"])
    if "learned" not in entry:
        return prior_of_fit(name, device)
    own = {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}
    return prior_info(name).restored(own, entry["learned"], device)
