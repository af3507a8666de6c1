"""How long, on what and how fast the network of the self-supervised prior is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrainingConfig:
    """How long and on what a `GapNetwork` is trained.

    Parameters
    ----------
    iterations : int
        Optimiser steps; the learning rate falls to nearly zero over them along a cosine.
    least_iterations : int or None
        All steps of a training that more of them would not pay for, see `look_after`; None: it always takes
        ``iterations``.
    least_gain : float
        What the second quarter of ``least_iterations`` must take off the error, as a share of it, for more to pay.
    batch, rows, columns : int
        Patches per step and their size in observed rows and in pixels.
    learning_rate : float
        Of Muon, which trains the inner convolutions.
    outer_learning_rate : float
        Of AdamW, which trains the first and the last layer and the biases.
    ema_decay : float
        Weights used afterwards are an exponential mean of those of the last steps.
    """

    iterations: int
    least_iterations: int | None = None
    least_gain: float = 0.025
    batch: int = 32
    rows: int = 12
    columns: int = 64
    learning_rate: float = 0.02
    outer_learning_rate: float = 2e-3
    ema_decay: float = 0.998

    @property
    def look_after(self) -> tuple[int, int] | None:
        """Steps after which the error is looked at, and looked at again; None where nothing is to be decided."""
        least = self.least_iterations
        return None if least is None or not 4 <= least < self.iterations else (least // 4, least // 2)


WARM_RATES: dict[str, Any] = {"learning_rate": 0.01, "outer_learning_rate": 1e-3}
"""Learning rates for a network that knows phantoms: higher ones make it forget them."""
