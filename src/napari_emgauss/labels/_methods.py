"""Ways to carry labels, as data: whoever only lists them need not load what they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

CarryMethod: TypeAlias = Literal["model", "distances", "nearest"]
CARRY_METHODS: Mapping[CarryMethod, str] = {
    "model": "distances of each object, along the motion and to the membranes that the model shows",
    "distances": "mean of each object's signed distances",
    "nearest": "the nearest labelled slice",
}
"""What each method does, for help and tables; the best first."""

CarryChoice: TypeAlias = Literal["auto", "model", "distances", "nearest"]
CARRY_CHOICES: Mapping[CarryChoice, str] = {
    "auto": "model, or distances where that restores labelled slices better that are hidden for it",
    "model": CARRY_METHODS["model"],
    "distances": CARRY_METHODS["distances"],
    "nearest": CARRY_METHODS["nearest"],
}
"""What a user chooses among: a method, or the one that suits the stack."""
