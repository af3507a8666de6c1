"""The priors: one row each, from which everything that lists priors derives.

Settings, the command line's help, the window's lists, ``emgauss evaluate`` and ``score``, estimates of time and memory,
colours of figures and the table in the documentation all ask this list. A new prior is a module with a factory and a
row in ``_rows``; other packages add theirs by :func:`register_prior`, or by an entry point of the group
``napari_emgauss.priors``.

Kept light: the command line's help asks for it, so nothing here imports NumPy or torch.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_emgauss._entry_points import EntryPointGroup
from napari_emgauss._errors import ConfigError

from ._info import PriorCost, PriorInfo
from ._rows import FIT_ONLY, ROWS

if TYPE_CHECKING:
    from napari_emgauss.priors._protocol import Prior

_PRIORS: dict[str, PriorInfo] = {row.name: row for row in ROWS}
_entry_points = EntryPointGroup("napari_emgauss.priors", "prior")


def priors_known(*, entry_points: bool = True) -> tuple[PriorInfo, ...]:
    """The rows of all priors, those that learn nothing first.

    Parameters
    ----------
    entry_points : bool
        Also look for those of other packages, which takes a fifth of a second the first time.
    """
    if entry_points:
        _entry_points.load()
    return tuple(_PRIORS.values())


def prior_names() -> tuple[str, ...]:
    """Names `get_prior` knows, classical ones first."""
    return tuple(row.name for row in priors_known() if row.name != FIT_ONLY)


def prior_choices() -> tuple[str, ...]:
    """What the setting ``prior`` of a fit may be: ``auto`` first, ``ema`` last."""
    return tuple(dict.fromkeys(("auto", *prior_names(), FIT_ONLY)))


def prior_info(name: str) -> PriorInfo:
    """The row of a prior; an effort after a colon is looked at, too.

    Raises
    ------
    ConfigError
        There is no such prior, or no such effort of it.
    """
    base, colon, effort = name.partition(":")
    if base not in _PRIORS:
        _entry_points.load()
    if base not in _PRIORS:
        raise ConfigError(f"Unknown prior '{name}': choose one of {', '.join(prior_names())}.")
    row = _PRIORS[base]
    if colon and not row.efforts:
        raise ConfigError(f"Prior '{base}' has no efforts: write '{base}' instead of '{name}'.")
    if colon and effort not in row.efforts:
        raise ConfigError(f"Unknown effort '{effort}' of the prior '{base}': choose one of {', '.join(row.efforts)}.")
    return row


def get_prior(name: str, **options: object) -> Prior:
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
        If the name is unknown, the prior has no such option, or a package that it needs is not installed.
    """
    row, effort = prior_info(name), name.partition(":")[2]
    return row.make(**({"effort": effort, **options} if effort else options))


def register_prior(row: PriorInfo, *, replace: bool = False) -> None:
    """Add a prior.

    It can then be chosen in settings, on the command line and in the window, and is a method of evaluation. What runs
    in another process (a fit started from napari's window, tiles on workers) finds it if it is an entry point: a
    callable without parameters that calls this, in the group ``napari_emgauss.priors``.

    Parameters
    ----------
    row : PriorInfo
        The new prior.
    replace : bool
        Take the place of the prior of this name.

    Raises
    ------
    ConfigError
        Its name is taken or not valid, its colour is not valid, or it learns and has no ``restore``.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_emgauss.priors import PriorInfo, PseudoLabel, locate_gap, register_prior, unregister_prior
    >>> class Eased:
    ...     name = "eased"
    ...
    ...     def __init__(self, device="auto"): ...
    ...     def prepare(self, observation, *, seed=0, on_progress=None):
    ...         return EasedSlices(observation)
    >>> class EasedSlices:
    ...     def __init__(self, observation):
    ...         self.images, self.z_nm = observation.images, observation.z_nm
    ...
    ...     def at(self, z_nm):
    ...         gap, u = locate_gap(self.z_nm, z_nm)
    ...         u = np.float32(u * u * (3 - 2 * u))
    ...         return PseudoLabel((1 - u) * self.images[gap] + u * self.images[gap + 1])
    >>> register_prior(PriorInfo("eased", Eased, summary="mixes the two neighbours, slowly near them"))
    >>> unregister_prior("eased")
    """
    if not re.fullmatch(r"[^\s:,]+", row.name) or row.name == "emgauss":
        raise ConfigError(
            f"'{row.name}' cannot be the name of a prior: use no spaces, commas or colons, and not 'emgauss'."
        )
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", row.colour):
        raise ConfigError(f"'{row.colour}' is not a colour: write it as #rrggbb.")
    if row.learns and row.restore is None:
        raise ConfigError(f"The prior '{row.name}' learns, so its row needs restore, which reads what it learned.")
    if row.name in _PRIORS and not replace:
        raise ConfigError(f"There is already a prior '{row.name}': choose another name, or pass replace=True.")
    _PRIORS[row.name] = row


def unregister_prior(name: str) -> None:
    """Take a prior out again that `register_prior` added; one that is not there is none to take out."""
    _PRIORS.pop(name, None)
    own = {row.name: row for row in ROWS}
    if name in own:
        others = dict(_PRIORS)
        _PRIORS.clear()
        _PRIORS.update({key: others.pop(key, row) for key, row in own.items()} | others)


def cost_of_prior(name: str) -> PriorCost:
    """What the prior called ``name`` takes.

    Raises
    ------
    ConfigError
        As `get_prior`.
    """
    row = prior_info(name)
    return row.cost if isinstance(row.cost, PriorCost) else row.cost_of(get_prior(name))


def prior_of_fit(name: str, device: str) -> Prior:
    """The prior called ``name`` as a fit on ``device`` uses it."""
    return get_prior(name, device=device_of_prior(device))


def device_of_prior(device: str) -> str:
    """Where priors calculate for a fit on ``device``: on the CPU where that is asked for, else on the fastest."""
    return "cpu" if device == "cpu" else "auto"


def prior_help() -> str:
    """The help of ``--prior`` on the command line."""
    names = [row.name for row in priors_known(entry_points=False)]
    learned = next(row for row in ROWS if row.efforts)
    return (
        f"what makes the pseudo-labels: {', '.join(names)}; those that learn may be followed by an effort, as in "
        f"{learned.name}:{learned.efforts[0]}"
    )
