"""How far long work is: one message, and one way to divide a whole among its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias


@dataclass(frozen=True)
class ProgressUpdate:
    """What long work says while it runs.

    Parameters
    ----------
    fraction : float or None
        Work done, in [0, 1]; an estimate. None while nobody can tell.
    text : str
        What is being done.
    loss : float or None
        Where something is trained.
    method : str
        In an evaluation the method at work; empty between methods.
    """

    fraction: float | None
    text: str = ""
    loss: float | None = None
    method: str = ""


OnProgress: TypeAlias = Callable[[ProgressUpdate], None]
"""What callers hand over as ``on_progress``. It may raise to stop the work: the exception passes through."""


class Progress:
    """Tells a caller how far a piece of work is, as a part of the whole that the caller waits for.

    It can be handed on as somebody else's ``on_progress``.

    Parameters
    ----------
    on_progress : callable or None
        Called with each :class:`ProgressUpdate`; None reports to nobody.
    start, stop : float
        Where in the caller's [0, 1] this work begins and ends.
    prefix : str
        Put in front of every text.
    method : str
        See :class:`ProgressUpdate`.

    Examples
    --------
    >>> told = []
    >>> progress = Progress(told.append)
    >>> training = progress.part(0.0, 0.8, "training")
    >>> training.tell(0.5, "step 50")
    >>> told
    [ProgressUpdate(fraction=0.4, text='training: step 50', loss=None, method='')]
    """

    def __init__(
        self,
        on_progress: OnProgress | None = None,
        start: float = 0.0,
        stop: float = 1.0,
        *,
        prefix: str = "",
        method: str = "",
    ) -> None:
        self._on_progress = on_progress
        self._start, self._stop = start, stop
        self._prefix, self._method = prefix, method

    def __call__(self, update: ProgressUpdate) -> None:
        """Pass on what a part says of itself."""
        if self._on_progress is None:
            return
        fraction = update.fraction
        if fraction is not None:
            fraction = self._start + (self._stop - self._start) * min(max(fraction, 0.0), 1.0)
        text = ": ".join(filter(None, (self._prefix, update.text)))
        method = update.method or self._method
        self._on_progress(replace(update, fraction=fraction, text=text, method=method))

    def tell(self, fraction: float | None, text: str = "", loss: float | None = None) -> None:
        """``fraction`` of this work is done."""
        self(ProgressUpdate(fraction, text, loss))

    def part(self, start: float, stop: float, prefix: str = "", *, method: str = "") -> Progress:
        """The progress of a part of this work, which takes it from ``start`` to ``stop``."""
        return Progress(self if self._on_progress is not None else None, start, stop, prefix=prefix, method=method)

    def shares(self, work: Mapping[str, float]) -> dict[str, Progress]:
        """One part for each method, one after the other, as long as its expected ``work`` in any unit."""
        total = sum(work.values()) or 1.0
        parts: dict[str, Progress] = {}
        done = 0.0
        for name, amount in work.items():
            parts[name] = self.part(done / total, (done + amount) / total, name, method=name)
            done += amount
        return parts
