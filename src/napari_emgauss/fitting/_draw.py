"""Drawing without repetition, in a way that can be stopped and resumed."""

from __future__ import annotations

from typing import Any

import numpy as np


class ShuffleBag:
    """Numbers 0 … n-1 in random order, every one once before any comes again."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self._rng = rng
        self._left: list[int] = []
        self.last = 0

    def draw(self) -> int:
        """The next number."""
        if not self._left:
            self._left = [int(v) for v in self._rng.permutation(self.size)]
        self.last = self._left.pop()
        return self.last

    def state(self) -> dict[str, Any]:
        """What is left, JSON-compatible; the generator's own state is the caller's."""
        return {"size": self.size, "left": list(self._left)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        self._left = [int(v) for v in state["left"]]
