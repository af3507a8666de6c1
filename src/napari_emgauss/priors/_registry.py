"""Priors by name: the one list that settings, the command line and ``evaluate`` share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from napari_emgauss._errors import ConfigError
from napari_emgauss.priors._protocol import Prior
from napari_emgauss.priors.classical._pixelwise import BLUR_SIGMA_PIXELS
from napari_emgauss.priors.classical._priors import FlowPrior, PixelwisePrior

if TYPE_CHECKING:
    from napari_emgauss.priors.learned._self import SelfPrior

_FACTORIES: dict[str, Callable[..., Prior]] = {
    # They take a device as all priors do, and have no use for one.
    "nearest": lambda device="auto": PixelwisePrior("nearest", "nearest"),
    "linear": lambda device="auto": PixelwisePrior("linear", "linear"),
    "cubic": lambda device="auto": PixelwisePrior("cubic", "cubic"),
    "linear+blur": lambda blur_sigma_pixels=BLUR_SIGMA_PIXELS, device="auto": PixelwisePrior(
        "linear+blur", "linear", blur_sigma_pixels
    ),
    "flow": lambda method="tvl1", device="auto": FlowPrior("flow", 0.0, method=method, device=device),
    "flow+blur": lambda blur_sigma_pixels=BLUR_SIGMA_PIXELS, method="tvl1", device="auto": FlowPrior(
        "flow+blur", blur_sigma_pixels, method=method, device=device
    ),
    "ensemble": lambda blur_sigma_pixels=BLUR_SIGMA_PIXELS, method="tvl1", device="auto": FlowPrior(
        "ensemble", blur_sigma_pixels, with_linear=True, method=method, device=device
    ),
}

CLASSICAL_NAMES = tuple(_FACTORIES)
"""Priors that learn nothing, in the order tables show them."""


# Not in tables: what the ensemble is for stacks without noise, where its blur takes structure away.
_FACTORIES["flow+linear"] = lambda method="tvl1", device="auto": FlowPrior(
    "flow+linear", 0.0, with_linear=True, method=method, device=device
)


def _self_prior(effort: str = "default", **settings: Any) -> SelfPrior:
    from napari_emgauss.priors.learned._self import EFFORTS, SelfPrior, SelfPriorConfig

    if effort not in EFFORTS:
        raise ConfigError(f"Unknown effort '{effort}' of the prior 'self'; choose one of {', '.join(EFFORTS)}.")
    return SelfPrior(SelfPriorConfig(**{**EFFORTS[effort], **settings}))


def _auto_prior(effort: str = "default", **settings: Any) -> Prior:
    from napari_emgauss.priors._auto import AutoPrior, AutoPriorConfig

    own = {field.name for field in fields(AutoPriorConfig)} - {"learned"}
    learned = _self_prior(effort, **{key: value for key, value in settings.items() if key not in own})
    chosen = {key: value for key, value in settings.items() if key in own}
    return AutoPrior(AutoPriorConfig(learned=learned.config, **chosen))


_FACTORIES["self"] = _self_prior
_FACTORIES["auto"] = _auto_prior


def prior_names() -> tuple[str, ...]:
    """Names `get_prior` knows, classical ones first."""
    return tuple(_FACTORIES)


def get_prior(name: str, **options: Any) -> Prior:
    """The prior called ``name``.

    Parameters
    ----------
    name : str
        One of `prior_names`. An effort may follow the learned ones, as in ``auto:fast`` or ``self:best``.
    **options
        Settings of that prior: ``device`` (``auto``, ``cpu`` or ``cuda``), ``blur_sigma_pixels`` (blurred ones),
        ``method`` (``tvl1`` or ``dis``; those with flow), ``effort`` (``fast``, ``default`` or ``best``) and the
        fields of `SelfPriorConfig` (``self`` and ``auto``), and those of `AutoPriorConfig` (``auto``).

    Raises
    ------
    ConfigError
        If the name is unknown or the prior has no such option.
    """
    base, _, effort = name.partition(":")
    if base not in _FACTORIES:
        raise ConfigError(f"Unknown prior '{name}'; choose one of {', '.join(_FACTORIES)}.")
    if effort:
        options = {"effort": effort, **options}
    try:
        return _FACTORIES[base](**options)
    except TypeError as error:
        raise ConfigError(f"Prior '{name}' does not take these options ({', '.join(options)}): {error}.") from None


def prior_of_fit(name: str, device: str) -> Prior:
    """The prior called ``name`` as a fit on ``device`` uses it."""
    return get_prior(name, device=device_of_prior(device))


def device_of_prior(device: str) -> str:
    """Where priors calculate for a fit on ``device``: on the CPU where that is asked for, else on the fastest."""
    return "cpu" if device == "cpu" else "auto"
