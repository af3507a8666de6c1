"""What a prior is: something that guesses the slice at any depth from the observed slices.

A prior makes the pseudo-labels of the teacher-student stage. It is also an interpolation method of its own, and
``evaluate`` scores it as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._progress import OnProgress
from napari_emgauss.priors._state import PriorState

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Observation:
    """The kept slices of a stack as priors see them.

    Parameters
    ----------
    images : ndarray
        ``(K, H, W)`` float32 in the unit range.
    z_nm : ndarray
        ``(K,)`` float64, strictly increasing, nm.
    pixel_size_nm : tuple of float
        ``(y, x)`` in nm.
    """

    images: NDArray[np.float32]
    z_nm: NDArray[np.float64]
    pixel_size_nm: tuple[float, float]


@dataclass(frozen=True)
class PseudoLabel:
    """A guessed slice.

    Parameters
    ----------
    image : ndarray
        ``(H, W)`` float32, unit range.
    confidence : ndarray or None
        ``(H, W)`` float32 in [0, 1]; None where the prior has no opinion of itself.
    """

    image: NDArray[np.float32]
    confidence: NDArray[np.float32] | None = None


class Interpolator(Protocol):
    """A prior made ready for one stack."""

    def at(self, z_nm: float) -> PseudoLabel:
        """Guess the slice at depth ``z_nm`` (nm, between the first and the last observed slice)."""
        ...


@runtime_checkable
class Prior(Protocol):
    """A way to guess slices."""

    @property
    def name(self) -> str:
        """How settings and the command line call it."""
        ...

    def prepare(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> Interpolator:
        """Learn or compute what is needed, once per stack.

        ``on_progress`` may raise to stop a long preparation; the exception passes through.
        """
        ...


@runtime_checkable
class LearningPrior(Prior, Protocol):
    """A prior that trains or chooses: what it learned on a sample serves other parts of the same volume."""

    def learn(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> Prior:
        """Learn what there is to learn; the prior that is returned learns nothing more when it is prepared.

        ``on_progress`` may raise to stop; the exception passes through.
        """
        ...


@runtime_checkable
class LearnedPart(Prior, Protocol):
    """What a prior learned, in a form that can be kept in a file."""

    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and everything else as JSON can hold it."""
        ...


class Restore(Protocol):
    """Reads what `LearnedPart.saved` gave."""

    def __call__(self, tensors: dict[str, Tensor], values: dict[str, Any], device: str) -> Prior:
        """The prior again, for a fit on ``device``."""
        ...


@runtime_checkable
class ResumablePrior(LearningPrior, Protocol):
    """A prior whose preparation takes long and can be stopped, kept and gone on with."""

    def prepare_from(
        self, state: PriorState, observation: Observation, *, seed: int = 0, on_progress: OnProgress | None = None
    ) -> Interpolator:
        """Prepare as `Prior.prepare` does, from what an earlier preparation of the same observation left in ``state``.

        What was learned, and where a training stands, is left in ``state`` meanwhile; also when ``on_progress`` raises.
        On the same CPU the result is that of a preparation that nobody stopped.

        Raises
        ------
        ModelFileError
            ``state`` is damaged, or of another observation or other settings.
        """
        ...

    def learn_from(
        self, state: PriorState, observation: Observation, *, seed: int = 0, on_progress: OnProgress | None = None
    ) -> Prior:
        """Learn as `LearningPrior.learn` does, in the same way from and into ``state``."""
        ...


def prepare_from(
    prior: Prior, state: PriorState, observation: Observation, seed: int, on_progress: OnProgress | None
) -> Interpolator:
    """Prepare any prior, from and into ``state`` where it can be."""
    if isinstance(prior, ResumablePrior):
        return prior.prepare_from(state, observation, seed=seed, on_progress=on_progress)
    return prior.prepare(observation, seed=seed, on_progress=on_progress)
