"""The priors: one row each, from which everything that lists priors derives.

Settings, the command line's help, the window's lists, ``emgauss evaluate`` and ``score``, estimates of time and memory,
colours of figures and the table in the documentation all ask this list. A new prior is a module with a factory and a
row here; other packages add theirs by :func:`register_prior`, or by an entry point of the group
``napari_emgauss.priors``.

Kept light: the command line's help asks for it, so nothing here imports NumPy or torch.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from napari_emgauss._entry_points import EntryPointGroup, imported
from napari_emgauss._errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from napari_emgauss.priors._protocol import Prior, Restore

    Factory = Callable[..., Prior]
    CostOf = Callable[[Prior], "PriorCost"]

FIT_ONLY = "ema"
"""The paper's prior: the fit's own teacher. It has a row as all have, but exists within a fit only."""

_CLASSICAL = "napari_emgauss.priors.classical._priors"
_FLOW_PRIORS = "napari_emgauss.priors.classical._flow_prior"
_LEARNED = "napari_emgauss.priors.learned._self"
_AUTO = "napari_emgauss.priors._auto"


@dataclass(frozen=True)
class PriorCost:
    """What a prior takes on one core of the machine that all estimates are for (``benchmarks/tiles.py calibrate``).

    Parameters
    ----------
    learning_s : float
        Seconds to choose and train, once a stack.
    label_pixel_s : float
        Seconds for each pixel of each slice that it infers.
    learning_bytes : float
        Memory that training takes.
    label_pixel_bytes : float
        Memory for each pixel of each slice that it infers, where it infers them all beforehand.
    """

    learning_s: float = 0.0
    label_pixel_s: float = 0.0
    learning_bytes: float = 0.0
    label_pixel_bytes: float = 0.0


@dataclass(frozen=True)
class PriorInfo:
    """A prior's row in the registry.

    Parameters
    ----------
    name : str
        Short and unique, without a colon, such as ``"flow"``.
    factory : str or callable
        Makes the prior from its options, or where to import that from when needed: ``"package.module:function"``. One
        option every factory takes: ``device``, which is ``auto``, ``cpu`` or ``cuda``.
    label : str
        For people; the name where it is empty.
    summary : str
        What it does, in a few words.
    suits : str
        When to choose it.
    learns : bool
        Whether it can learn once for a whole volume: it has ``learn``, see `LearningPrior`.
    restore : str or callable, optional
        Reads what `LearnedPart.saved` of this prior gave; needed where it learns.
    efforts : tuple of str
        What may follow the name after a colon, as in ``self:fast``; the factory takes it as ``effort``.
    needs : tuple of str
        Packages to import, beyond those that every installation has.
    install : str
        What ``pip install`` brings them; the packages themselves where it is empty.
    colour : str
        Of its lines and bars in figures, ``#rrggbb``; seen on black and on white.
    cost : PriorCost, or str or callable
        What it takes: fixed, or a function of the prior, or where to import that from.
    in_tables : bool
        Whether ``emgauss evaluate`` scores it unless methods are named.
    """

    name: str
    factory: str | Factory
    label: str = ""
    summary: str = ""
    suits: str = ""
    learns: bool = False
    restore: str | Restore | None = None
    efforts: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    install: str = ""
    colour: str = "#888888"
    cost: PriorCost | str | CostOf = PriorCost()
    in_tables: bool = False

    @property
    def title(self) -> str:
        """The label, or the name where it has none."""
        return self.label or self.name

    def missing(self) -> tuple[str, ...]:
        """Packages that it needs and that are not installed; looked for, not imported."""
        return tuple(package for package in self.needs if importlib.util.find_spec(package) is None)

    def check_installed(self) -> None:
        """Refuse, with the command that helps, where a package is missing.

        Raises
        ------
        ConfigError
        """
        if missing := self.missing():
            what = self.install or " ".join(missing)
            quoted = f"'{what}'" if "[" in what else what
            raise ConfigError(f"The prior '{self.name}' needs {' and '.join(missing)}: pip install {quoted}.")

    def make(self, **options: object) -> Prior:
        """The prior with some options.

        Raises
        ------
        ConfigError
            It has no such option, or a package is missing.
        """
        self.check_installed()
        make = cast("Factory", imported(self.factory)) if isinstance(self.factory, str) else self.factory
        try:
            return make(**options)
        except TypeError as error:
            given = ", ".join(options)
            raise ConfigError(f"Prior '{self.name}' does not take these options ({given}): {error}.") from None

    def restored(self, tensors: dict[str, Tensor], values: dict[str, Any], device: str) -> Prior:
        """What a prior of this row learned, read again; see `LearnedPart.saved`.

        Raises
        ------
        ConfigError
            It learns nothing.
        """
        if self.restore is None:
            raise ConfigError(f"The prior '{self.name}' learns nothing that could be read again.")
        restore = cast("Restore", imported(self.restore)) if isinstance(self.restore, str) else self.restore
        return restore(tensors, values, device)

    def cost_of(self, prior: Prior) -> PriorCost:
        """What a prior of this row takes."""
        if isinstance(self.cost, PriorCost):
            return self.cost
        cost = cast("CostOf", imported(self.cost)) if isinstance(self.cost, str) else self.cost
        return cost(prior)


_EFFORTS = ("fast", "default", "best")
# Pixel by pixel it is a fraction of what flow takes; which fraction, hardly matters.
_PIXELWISE = PriorCost(label_pixel_s=2e-8)
# A third of what scikit-image's flow took there (2.1e-6), rounded up.
_FLOW = PriorCost(label_pixel_s=0.7e-6)

_ROWS = (
    PriorInfo(
        "nearest",
        f"{_CLASSICAL}:nearest_prior",
        summary="repeats the nearest slice",
        suits="to see what a stack shows without any interpolation",
        colour="#b4b9c0",
        cost=_PIXELWISE,
        in_tables=True,
    ),
    PriorInfo(
        "linear",
        f"{_CLASSICAL}:linear_prior",
        summary="mixes the two neighbours",
        suits="nothing else works",
        colour="#868d96",
        cost=_PIXELWISE,
        in_tables=True,
    ),
    PriorInfo(
        "cubic",
        f"{_CLASSICAL}:cubic_prior",
        summary="a cubic spline through all slices, pixel by pixel",
        suits="slices that differ little and have little noise",
        colour="#b08968",
        cost=_PIXELWISE,
        in_tables=True,
    ),
    PriorInfo(
        "linear+blur",
        f"{_CLASSICAL}:blurred_linear_prior",
        summary="mixes the two neighbours after a light blur",
        suits="noisy slices, in a hurry",
        colour="#b28bd8",
        cost=_PIXELWISE,
        in_tables=True,
    ),
    PriorInfo(
        "flow",
        f"{_FLOW_PRIORS}:flow_prior",
        summary="moves structures along optical flow, from both sides",
        suits="structures run obliquely, gaps are small",
        colour="#7cc4be",
        cost=_FLOW,
        in_tables=True,
    ),
    PriorInfo(
        "flow+blur",
        f"{_FLOW_PRIORS}:blurred_flow_prior",
        summary="the same with lightly blurred slices",
        suits="the same, with noise",
        colour="#35a7a0",
        cost=_FLOW,
        in_tables=True,
    ),
    PriorInfo(
        "ensemble",
        f"{_FLOW_PRIORS}:ensemble_prior",
        summary="mean of blurred linear and blurred flow",
        suits="a good choice without training",
        colour="#e0a030",
        cost=_FLOW,
        in_tables=True,
    ),
    PriorInfo(
        "flow+linear",
        f"{_FLOW_PRIORS}:flow_and_linear_prior",
        summary="mean of linear and flow, neither blurred",
        suits="as the ensemble, where there is hardly any noise that a blur could take off",
        colour="#d97742",
        cost=_FLOW,
    ),
    PriorInfo(
        "self",
        f"{_LEARNED}:self_prior",
        summary="a small network trained on this stack: it learns from xy slices how rows between rows look, and "
        "applies that along z in several directions; a network that knows generated phantoms fuses what these say",
        suits="tissue looks alike in xy and xz",
        learns=True,
        restore=f"{_LEARNED}:restore_learned_prior",
        efforts=_EFFORTS,
        colour="#d0608f",
        cost="napari_emgauss.priors.learned._cost:self_cost",
    ),
    PriorInfo(
        "auto",
        f"{_AUTO}:auto_prior",
        summary="hides every second slice, keeps the prior that restores it best, and as much of the correction by "
        "phantoms as helps",
        suits="not sure",
        learns=True,
        restore=f"{_LEARNED}:restore_learned_prior",
        efforts=_EFFORTS,
        colour="#a8527f",
        cost=f"{_AUTO}:auto_cost",
    ),
    PriorInfo(
        FIT_ONLY,
        "napari_emgauss.priors._registry:_refuse_alone",
        summary="the paper's: the model's own running average",
        suits="preset `paper`",
        colour="#31a354",
    ),
)
_PRIORS: dict[str, PriorInfo] = {row.name: row for row in _ROWS}
_entry_points = EntryPointGroup("napari_emgauss.priors", "prior")


def _refuse_alone(**_: object) -> Prior:
    raise ConfigError(
        f"The prior '{FIT_ONLY}' is the running average of a model while it is fitted; it cannot be used by itself."
    )


def priors_known(*, entry_points: bool = True) -> tuple[PriorInfo, ...]:
    """The rows of all priors, those that learn nothing first.

    Parameters
    ----------
    entry_points : bool
        Look for those of other packages, too, which takes a fifth of a second the first time.
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
        raise ConfigError(f"Unknown prior '{name}'; choose one of {', '.join(prior_names())}.")
    row = _PRIORS[base]
    if colon and not row.efforts:
        raise ConfigError(f"Prior '{base}' has no efforts: write '{base}' instead of '{name}'.")
    if colon and effort not in row.efforts:
        raise ConfigError(f"Unknown effort '{effort}' of the prior '{base}'; choose one of {', '.join(row.efforts)}.")
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
        Its name is taken or cannot be one, its colour is none, or it learns and cannot be read again.

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
        raise ConfigError(f"'{row.name}' cannot name a prior: no spaces, commas or colons, and not 'emgauss'.")
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", row.colour):
        raise ConfigError(f"'{row.colour}' is not a colour: write it as #rrggbb.")
    if row.learns and row.restore is None:
        raise ConfigError(f"The prior '{row.name}' learns, so its row must say how what it learned is read: restore.")
    if row.name in _PRIORS and not replace:
        raise ConfigError(f"There is a prior '{row.name}' already: choose another name, or replace=True.")
    _PRIORS[row.name] = row


def unregister_prior(name: str) -> None:
    """Take a prior out again that `register_prior` added; one that is not there is none to take out."""
    _PRIORS.pop(name, None)
    own = {row.name: row for row in _ROWS}
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
    learned = next(row for row in _ROWS if row.efforts)
    return (
        f"what makes the pseudo-labels: {', '.join(names)}; an effort may follow those that learn, as in "
        f"{learned.name}:{learned.efforts[0]}"
    )
