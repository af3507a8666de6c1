"""The score of a report that was given none: slices of the model's own stack hidden, and the fit's own settings."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_emgauss._errors import ConfigError
from napari_emgauss._progress import OnProgress
from napari_emgauss.evaluation import BASELINE, EMGAUSS, score
from napari_emgauss.fitting import FitConfig
from napari_emgauss.stack import stack_from_array

from ._facts import Facts

METHODS = (BASELINE, "ensemble", EMGAUSS)


def how_long(facts: Facts) -> str:
    """What is known of how long the score takes, in words."""
    known = [facts.known.prior_s, facts.known.fit_s]
    seconds = sum(float(one) for one in known if one is not None)
    return "about as long as a fit" if seconds <= 0 else f"about as long as the fit did ({_duration(seconds)})"


def check_can_score(facts: Facts) -> None:
    """Refuse what cannot be scored, before anything is written or said.

    Raises
    ------
    ConfigError
        The slices are not at hand, or have several channels.
    """
    if facts.own is None:
        raise ConfigError(f"Nothing can be scored without the slices themselves. {facts.why_not_own}")
    if facts.model.channels > 1:
        raise ConfigError(f"The model has {facts.model.channels} channels, but a score is of one.")


def score_for_report(facts: Facts, *, device: str = "auto", on_progress: OnProgress | None = None) -> dict[str, Any]:
    """Hide every second slice of the model's stack and score linear, the ensemble and EMGauss as it was fitted.

    Slices are scored as they are in the source.

    Raises
    ------
    ConfigError
        See :func:`check_can_score`; there are too few slices.
    """
    check_can_score(facts)
    own, model = facts.own, facts.model
    if own is None:  # has been refused
        raise ConfigError(facts.why_not_own)
    values = np.stack([own.render(float(z)) for z in model.z_nm])
    stack = stack_from_array(values, z_nm=model.z_nm, pixel_size_nm=model.pixel_size_nm, name=facts.title)
    try:
        config = FitConfig.from_dict({**facts.known.fit, "device": device})
    except (ConfigError, TypeError):  # of another version: its presets are near
        config = FitConfig(device=device)
    return score(stack, methods=METHODS, config=config, on_progress=on_progress).as_dict()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
