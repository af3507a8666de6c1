"""How methods get slices at any depth from the slices that were kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss._progress import Progress
from napari_emgauss.fitting import FitConfig, fit, preset
from napari_emgauss.priors import (
    Observation,
    confidence_at,
    error_laws,
    get_prior,
    place_in_gap,
    prior_of_fit,
)
from napari_emgauss.stack import Stack
from napari_emgauss.tiles import tile_work
from napari_emgauss.volume import Provenance

from ._methods import MethodBars, Reconstructed


def by_prior(
    method: str, stack: Stack, z_nm: NDArray[np.float64], config: FitConfig | None, progress: Progress
) -> Reconstructed:
    """A prior by itself; see `Method.reconstruct`."""
    observation = Observation(stack.unit_slices(), stack.z_nm, stack.pixel_size_nm)
    named = get_prior(method) if config is None else prior_of_fit(method, str(config.device))
    seed = 0 if config is None else config.seed
    prior = named.prepare(observation, seed=seed, on_progress=progress.part(0.0, 0.9))
    images = np.empty((len(z_nm), *stack.shape[1:]), dtype=np.float32)
    for i, z in enumerate(z_nm):
        images[i] = prior.at(float(z)).image
        progress.tell(0.9 + 0.1 * (i + 1) / len(z_nm))
    report = getattr(prior, "report", None)  # what a prior that learned or chose says of it
    about = {"prior": report} if report else {}

    def bars() -> MethodBars | None:
        laws = error_laws(named, observation.images, stack.z_nm, stack.pixel_size_nm, prior, seed=seed)
        if laws is None:
            return None
        (law,) = laws

        def sigma(depth_nm: float) -> NDArray[np.float32]:
            confidence = confidence_at(prior.at(depth_nm), observation, depth_nm)
            return np.sqrt(law.squared_error(confidence, place_in_gap(stack.z_nm, depth_nm)))

        return MethodBars(sigma, dict(law.bands))

    return Reconstructed(images, about, bars)


def by_fit(
    method: str, stack: Stack, z_nm: NDArray[np.float64], config: FitConfig | None, progress: Progress
) -> Reconstructed:
    """A fit with the settings given, or those of a preset; see `Method.reconstruct`."""
    settings = _with_preset(config, method.partition(":")[2])
    last = None
    work = tile_work(stack.shape, stack.z_nm, stack.pixel_size_nm, settings, share_prior=False)
    learning, iterating = work.prior_s, work.iterations_s
    for update in fit(stack, settings, texture=False):
        last = update
        learned = (update.stage_fraction or 0.0) if update.stage == "prior" else 1.0
        iterated = update.iteration / max(update.total_iterations, 1)
        share = (learning * learned + iterating * iterated) / max(learning + iterating, 1e-9)
        loss = "" if update.loss is None else f", loss {update.loss:.4f}"
        text = f"the prior: {update.text}" if update.stage == "prior" else f"{update.stage}{loss}"
        progress.tell(0.95 * share, text)
    if last is None or last.model is None:
        raise ConfigError("The fit has no iterations: choose a larger iterations_scale.")
    model = last.model
    # In floats: rounding to 256 grey values is part of a file, not of the method, and the others are not rounded.
    images = np.empty((len(z_nm), *stack.shape[1:]), dtype=np.float32)
    for i, z in enumerate(z_nm):
        images[i] = stack.normalisation.to_unit(model.render(float(z)))
        progress.tell(0.95 + 0.05 * (i + 1) / len(z_nm), "rendering")
    about = {"gaussians": last.gaussians, "settings": settings.to_dict()}
    if chosen := Provenance.from_json(model.provenance).prior:
        about["prior"] = chosen
    known = model.error_bars
    if known is None:
        return Reconstructed(images, about)
    made = MethodBars(known.render, {share: known.half_width(share) for share in known.half_widths})
    return Reconstructed(images, about, lambda: made)


def _with_preset(config: FitConfig | None, name: str) -> FitConfig:
    """The settings of a fit: as given, or a preset's with the seed and device of those given."""
    if not name:
        return preset("default") if config is None else config
    return preset(name) if config is None else replace(preset(name), seed=config.seed, device=config.device)
