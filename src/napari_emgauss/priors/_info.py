"""What the registry holds of a prior: names, words for people, how to make it, what it needs and what it takes.

Kept light, as the registry is: nothing here imports NumPy or torch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from napari_emgauss._entry_points import imported
from napari_emgauss._errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from napari_emgauss.priors._protocol import Prior, Restore

    Factory = Callable[..., Prior]
    CostOf = Callable[[Prior], "PriorCost"]


@dataclass(frozen=True)
class PriorCost:
    """What a prior takes on one core of the machine that all estimates are for (``benchmarks/calibrate.py``).

    Seconds of networks and of everything else are counted apart: processors differ far more in the former.

    Parameters
    ----------
    learning_s : float
        Seconds to train, once a stack, at most.
    spared_s : float
        Seconds less where more training would not pay.
    label_pixel_s : float
        Seconds for each pixel of each slice that it infers, but for what networks take.
    network_label_pixel_s : float
        What networks take for it.
    network_gap_pixel_s : float
        What networks take for each pixel of each gap between two slices, however many slices are inferred in it.
    trial_gap_pixel_s : float
        Where it tries itself on hidden slices first: seconds for each pixel of each gap of the piece it is tried on,
        but for what networks take.
    network_trial_gap_pixel_s : float
        What networks take for it, training apart.
    trial_slices, trial_pixels : int
        The piece has at most so many slices, and so many pixels along either axis.
    learning_bytes : float
        Memory that training takes.
    label_pixel_bytes : float
        Memory for each pixel of each slice that it infers, where it infers them all beforehand.
    """

    learning_s: float = 0.0
    spared_s: float = 0.0
    label_pixel_s: float = 0.0
    network_label_pixel_s: float = 0.0
    network_gap_pixel_s: float = 0.0
    trial_gap_pixel_s: float = 0.0
    network_trial_gap_pixel_s: float = 0.0
    trial_slices: int = 0
    trial_pixels: int = 0
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
