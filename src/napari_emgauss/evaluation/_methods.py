"""Methods by name, each a way from kept slices to slices at any depth: the priors, and EMGauss itself."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss._progress import Progress
from napari_emgauss.priors import Observation, get_prior, prior_names, prior_of_fit

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig
    from napari_emgauss.stack import Stack

CLASSICAL_METHODS = ("nearest", "linear", "cubic", "linear+blur", "flow", "flow+blur", "ensemble")
"""Methods that learn nothing, in the order tables show them."""

EMGAUSS = "emgauss"

# Share of the work among methods, to move a progress bar evenly; roughly seconds on a 250² × 32 stack.
_EXPECTED_WORK = {"flow": 20.0, "flow+blur": 20.0, "ensemble": 20.0, "self": 300.0, "auto": 400.0, EMGAUSS: 500.0}


def method_names() -> tuple[str, ...]:
    """Every method there is: priors that can stand alone, then ``emgauss``.

    ``emgauss:PRESET`` is a method, too: a fit with that preset, to compare several; and so is a learned prior with its
    effort, such as ``self:fast``.
    """
    return (*prior_names(), EMGAUSS)


def check_methods(methods: Sequence[str] | None) -> tuple[str, ...]:
    """The methods to run, in order and each once; all classical ones and ``emgauss`` by default.

    Raises
    ------
    ConfigError
        One of them does not exist.
    """
    if methods is None:
        return (*CLASSICAL_METHODS, EMGAUSS)
    known = method_names()
    for name in methods:
        base, _, variant = name.partition(":")
        if variant and base == EMGAUSS:
            from napari_emgauss.fitting import preset

            preset(variant)  # refuses what does not exist
        elif variant and base in known:
            get_prior(name)  # the same
        elif name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ConfigError(f"There is no method '{name}'{hint} Choose from {', '.join(known)}.")
    return tuple(dict.fromkeys(methods))


def expected_work(method: str) -> float:
    """Work of a method beside others, for a progress bar."""
    return _EXPECTED_WORK.get(method.partition(":")[0], 1.0)


def reconstruct(
    method: str,
    stack: Stack,
    z_nm: NDArray[np.float64],
    config: FitConfig | None,
    progress: Progress,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Slices at depths ``z_nm`` by ``method`` from the slices of ``stack``.

    Parameters
    ----------
    method : str
        A name of :func:`method_names`.
    stack : Stack
        Kept slices.
    z_nm : ndarray
        ``(D,)`` depths within the stack, nm.
    config : FitConfig or None
        Settings of ``emgauss``; its seed is also that of priors that learn.
    progress : Progress
        Told how far it is.

    Returns
    -------
    images : ndarray
        ``(D, H, W)`` float32, unit range.
    about : dict
        What the method says of itself, such as the prior that a fit chose.
    """
    name, _, preset_name = method.partition(":")
    if name == EMGAUSS:
        return _fitted(stack, z_nm, _with_preset(config, preset_name), progress)
    observation = Observation(stack.unit_slices(), stack.z_nm, stack.pixel_size_nm)
    named = get_prior(method) if config is None else prior_of_fit(method, str(config.device))
    prior = named.prepare(observation, seed=0 if config is None else config.seed, on_progress=progress.part(0.0, 0.9))
    images = np.empty((len(z_nm), *stack.shape[1:]), dtype=np.float32)
    for i, z in enumerate(z_nm):
        images[i] = prior.at(float(z)).image
        progress.tell(0.9 + 0.1 * (i + 1) / len(z_nm))
    report = getattr(prior, "report", None)  # what a prior that learned or chose says of it
    return images, {"prior": report} if report else {}


def _fitted(
    stack: Stack, z_nm: NDArray[np.float64], settings: FitConfig, progress: Progress
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    from napari_emgauss.fitting import fit

    last = None
    for update in fit(stack, settings):
        last = update
        share = update.iteration / max(update.total_iterations, 1)
        loss = "" if update.loss is None else f", loss {update.loss:.4f}"
        progress.tell(0.95 * share, update.text if update.stage == "prior" else f"{update.stage}{loss}")
    if last is None or last.model is None:
        raise ConfigError("The fit has no iterations: give it some with iterations_scale.")
    model = last.model
    # In floats: rounding to 256 grey values is part of a file, not of the method, and the others are not rounded.
    images = np.empty((len(z_nm), *stack.shape[1:]), dtype=np.float32)
    for i, z in enumerate(z_nm):
        images[i] = stack.normalisation.to_unit(model.render(float(z)))
        progress.tell(0.95 + 0.05 * (i + 1) / len(z_nm), "rendering")
    about = {"gaussians": last.gaussians, "settings": settings.to_dict()}
    if chosen := model.provenance.get("prior"):
        about["prior"] = chosen
    return images, about


def _with_preset(config: FitConfig | None, name: str) -> FitConfig:
    """The settings of a fit: as given, or a preset's with the seed and device of those given."""
    from napari_emgauss.fitting import preset

    if not name:
        return preset("default") if config is None else config
    return preset(name) if config is None else replace(preset(name), seed=config.seed, device=config.device)
