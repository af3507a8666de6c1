"""Methods that bring back slices, one row each: every prior is one by itself, and EMGauss with each of its presets.

What is scored by default, the names that can be asked for, labels and colours of figures and the shares of a progress
bar derive from the rows. Another method is a function as `Reconstruct` says and a row, see :func:`register_method`.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from napari_emgauss._entry_points import imported
from napari_emgauss._errors import ConfigError
from napari_emgauss.priors import FIT_ONLY, PriorInfo, prior_info, priors_known

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_emgauss._progress import Progress
    from napari_emgauss.fitting import FitConfig
    from napari_emgauss.stack import Stack

EMGAUSS = "emgauss"
BASELINE = "linear"
"""What every gain is over."""
SCORED = (BASELINE, "linear+blur", "flow+blur", "ensemble", EMGAUSS)
"""What a stack's own score compares unless methods are named."""

_HERE = "napari_emgauss.evaluation._reconstruct"
# Pixels of the slices in between of a stack of 250² x 32 slices, kept every eighth: what work is reckoned for.
_USUAL_PIXELS = 250 * 250 * 217


@dataclass(frozen=True)
class MethodBars:
    """A method's error bars.

    Parameters
    ----------
    sigma : callable
        From a depth (nm) to ``(H, W)`` σ there, unit range.
    half_widths : mapping
        Share of the truth, and how many σ on either side hold it.
    """

    sigma: Callable[[float], NDArray[np.float32]]
    half_widths: Mapping[float, float]


@dataclass(frozen=True)
class Reconstructed:
    """What a method gives.

    Parameters
    ----------
    images : ndarray
        ``(D, H, W)`` float32, unit range.
    about : dict
        What the method says of itself, such as the prior that a fit chose.
    bars : callable, optional
        Makes the method's error bars, which may take a while; gives None where it has none.
    """

    images: NDArray[np.float32]
    about: dict[str, Any]
    bars: Callable[[], MethodBars | None] | None = None


class Reconstruct(Protocol):
    """How a method gets slices."""

    def __call__(
        self, method: str, stack: Stack, z_nm: NDArray[np.float64], config: FitConfig | None, progress: Progress
    ) -> tuple[NDArray[np.float32], dict[str, Any]] | Reconstructed:
        """Slices ``(D, H, W)`` float32 in the unit range at depths ``z_nm``, and what the method says of itself.

        ``method`` is the name asked for, with what follows a colon; ``config`` the settings of the fit, if any. A
        method with error bars gives :class:`Reconstructed`.
        """
        ...


@dataclass(frozen=True)
class Method:
    """A method's row in the registry.

    Parameters
    ----------
    name : str
        Short and unique, without a colon.
    reconstruct : str or callable
        As `Reconstruct` says, or where to import that from when needed: ``"package.module:function"``.
    label : str
        For people; the name where it is empty.
    colour : str
        Of its lines and bars in figures, ``#rrggbb``.
    work : float
        Roughly the seconds that it takes for 32 slices of 250² pixels, to move a progress bar evenly.
    in_tables : bool
        Whether ``emgauss evaluate`` scores it unless methods are named.
    learns : bool
        Whether it learns from the stack.
    variants : callable, optional
        What may follow the name after a colon, and the colour of each.
    """

    name: str
    reconstruct: str | Reconstruct
    label: str = ""
    colour: str = "#888888"
    work: float = 1.0
    in_tables: bool = False
    learns: bool = False
    variants: Callable[[], Mapping[str, str]] | None = None


def _preset_colours() -> dict[str, str]:
    from napari_emgauss.fitting import preset_info, preset_names

    return {name: preset_info(name).colour for name in preset_names()}


_OWN: dict[str, Method] = {
    EMGAUSS: Method(
        EMGAUSS,
        f"{_HERE}:by_fit",
        label="EMGauss",
        colour="#4f8ff7",
        work=500.0,
        in_tables=True,
        learns=True,
        variants=_preset_colours,
    )
}


def _of_prior(row: PriorInfo) -> Method:
    """A prior's row as that of a method."""
    return Method(
        row.name,
        f"{_HERE}:by_prior",
        label=row.label,
        colour=row.colour,
        in_tables=row.in_tables,
        learns=row.learns,
        variants=(lambda: dict.fromkeys(row.efforts, row.colour)) if row.efforts else None,
    )


def methods() -> dict[str, Method]:
    """Every method's row by its name: priors, in the order of their registry, then the others."""
    return {row.name: _of_prior(row) for row in priors_known() if row.name != FIT_ONLY} | _OWN


def register_method(row: Method, *, replace: bool = False) -> None:
    """Add a method of evaluation that is no prior; see `register_prior` for those that are.

    Raises
    ------
    ConfigError
        Its name is taken or cannot be one.
    """
    if not re.fullmatch(r"[^\s:,]+", row.name):
        raise ConfigError(f"'{row.name}' cannot name a method: no spaces, commas or colons.")
    if row.name in methods() and not replace:
        raise ConfigError(f"There is already a method '{row.name}': choose another name, or pass replace=True.")
    _OWN[row.name] = row


def method_names() -> tuple[str, ...]:
    """Every method there is: priors that can stand alone, then ``emgauss``.

    ``emgauss:PRESET`` is a method, too: a fit with that preset, to compare several; and so is a learned prior with its
    effort, such as ``self:fast``.
    """
    return tuple(methods())


def classical_methods() -> tuple[str, ...]:
    """Methods that learn nothing, in the order tables show them."""
    return tuple(name for name, row in methods().items() if row.in_tables and not row.learns)


def method_row(name: str) -> Method:
    """The row of a method; what follows a colon is looked at, too.

    Raises
    ------
    ConfigError
        There is no such method.
    """
    base, colon, variant = name.partition(":")
    known = methods()
    if base not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ConfigError(f"There is no method '{name}'{hint} Choose from {', '.join(known)}.")
    row = known[base]
    if colon:
        variants = row.variants() if row.variants is not None else {}
        if not variants:
            raise ConfigError(f"Nothing may follow the method '{base}': write '{base}' instead of '{name}'.")
        if variant not in variants:
            raise ConfigError(f"There is no method '{name}': after '{base}:' comes {', '.join(variants)}.")
    return row


def method_label(name: str) -> str:
    """What a method is called in a table: its label and what follows the colon."""
    base, colon, variant = name.partition(":")
    row = methods().get(base)
    return name if row is None else f"{row.label or base}{colon}{variant}"


_OTHER_COLOURS = ("#8c510a", "#c51b7d", "#01665e", "#d9a400", "#542788")


def method_colours(names: Iterable[str]) -> dict[str, str]:
    """Colours in figures, ``#rrggbb``; what is no method, such as a reconstruction from a file, gets one that is free.

    Parameters
    ----------
    names : iterable of str
        Everything that is shown in the figure.
    """
    free = itertools.cycle(_OTHER_COLOURS)
    return {name: next(free) if (own := _own_colour(name)) is None else own for name in names}


def _own_colour(name: str) -> str | None:
    base, _, variant = name.partition(":")
    row = methods().get(base)
    if row is None:
        return None
    return row.variants().get(variant, row.colour) if variant and row.variants is not None else row.colour


def check_methods(names: Sequence[str] | None) -> tuple[str, ...]:
    """The methods to run, in order and each once; all classical ones and ``emgauss`` by default.

    Raises
    ------
    ConfigError
        One of them does not exist, or a package that it needs is not installed.
    """
    if names is None:
        return tuple(name for name, row in methods().items() if row.in_tables)
    for name in names:
        row = method_row(name)
        if row.name not in _OWN:
            prior_info(name).check_installed()
    return tuple(dict.fromkeys(names))


def methods_help(default: str) -> str:
    """The help of ``--methods`` on the command line; ``default`` is what is scored without it."""
    names = [row.name for row in priors_known(entry_points=False) if row.name != FIT_ONLY] + list(_OWN)
    return (
        f"comma-separated: {', '.join(names)}; a preset may follow {EMGAUSS}, as in {EMGAUSS}:fast (default: {default})"
    )


def expected_work(method: str) -> float:
    """Work of a method beside others, for a progress bar: roughly seconds."""
    base = method.partition(":")[0]
    if base in _OWN:
        return _OWN[base].work
    from napari_emgauss.priors import cost_of_prior

    cost = cost_of_prior(method)
    return max(1.0, cost.learning_s + cost.label_pixel_s * _USUAL_PIXELS)


def reconstruct(
    method: str, stack: Stack, z_nm: NDArray[np.float64], config: FitConfig | None, progress: Progress
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
    made = reconstruction(method, stack, z_nm, config, progress)
    return made.images, made.about


def reconstruction(
    method: str, stack: Stack, z_nm: NDArray[np.float64], config: FitConfig | None, progress: Progress
) -> Reconstructed:
    """The same with the method's error bars, where it has any; parameters are those of :func:`reconstruct`."""
    place = method_row(method).reconstruct
    run = cast("Reconstruct", imported(place)) if isinstance(place, str) else place
    made = run(method, stack, z_nm, config, progress)
    return made if isinstance(made, Reconstructed) else Reconstructed(*made)
