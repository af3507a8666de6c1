"""What a report tells: a model, what it was fitted to as far as that is at hand, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_emgauss._errors import ConfigError, EmgaussError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack import Stack
from napari_emgauss.volume import ExactModel, Provenance, VolumeModel, exact_model


@dataclass(frozen=True)
class Facts:
    """What a report is made of.

    Parameters
    ----------
    title : str
        Of the page.
    model : VolumeModel
        The result.
    known : Provenance
        Where it comes from.
    own : ExactModel or None
        The same with the observed slices as they are in the source; None where that is not at hand.
    why_not_own : str
        Why it is not, in one sentence.
    score : mapping
        ``ScoreResult.as_dict()``; empty where there is none.
    evaluation : mapping
        ``EvaluationResult.as_dict()``; empty where there is none.
    """

    title: str
    model: VolumeModel
    known: Provenance
    own: ExactModel | None = None
    why_not_own: str = ""
    score: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)


def gather_facts(
    model: VolumeModel,
    *,
    title: str = "",
    stack: Stack | str | Path | None = None,
    results: tuple[Mapping[str, Any], ...] = (),
) -> Facts:
    """What a report of a model can tell.

    Parameters
    ----------
    model : VolumeModel
        The result.
    title : str
        Of the page; the stack's name by default.
    stack : Stack or path, optional
        What the model was fitted to; by default it is looked for where it was.
    results : tuple of mapping
        Scores and evaluations as their JSON holds them; see :func:`read_result`.

    Raises
    ------
    ConfigError
        A result is neither a score nor an evaluation.
    StackError, ConfigError
        A stack that was named cannot be used.
    """
    known = Provenance.from_json(model.provenance)
    own, why = None, ""
    try:
        own = exact_model(model, stack)
    except EmgaussError as error:
        if stack is not None:
            raise
        why = str(error)
    found: dict[str, Mapping[str, Any]] = {}
    for one in results:
        found[kind_of_result(one)] = one
    name = title or known.name or Path(str(known.source or "the stack")).name
    return Facts(name, model, known, own, why, found.get("score", {}), found.get("evaluation", {}))


def kind_of_result(values: Mapping[str, Any]) -> str:
    """``score`` or ``evaluation``.

    Raises
    ------
    ConfigError
        It is neither.
    """
    methods = values.get("methods")
    if isinstance(methods, Mapping) and all(isinstance(one, Mapping) for one in methods.values()):
        if "hidden" in values:
            return "score"
        if "factor" in values and "kept" in values:
            return "evaluation"
    raise ConfigError("It is neither a score nor an evaluation.")


def read_result(path: str | Path) -> dict[str, Any]:
    """A score or an evaluation that was written as JSON.

    Raises
    ------
    ConfigError
        The file cannot be read, or holds something else.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        kind_of_result(values)
    except (OSError, ValueError, AttributeError, ConfigError) as error:
        raise ConfigError(f"'{path}' is not a result to report", remedy=remedy("give result")) from error
    return dict(values)
