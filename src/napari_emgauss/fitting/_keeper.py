"""Keeps the state of a fit on disk while the fit goes on: from a copy, in a thread of its own, one file at a time."""

from __future__ import annotations

import os
import pathlib
import threading
import time

from napari_emgauss._errors import ModelFileError
from napari_emgauss._parts import sweep
from napari_emgauss.fitting._checkpoint import Checkpoint, write_checkpoint

INTERVAL_S = 120.0
"""A machine that goes down costs no more than this much of a fit, and the time that writing takes."""
WRITING_SHARE = 0.05
"""States are kept less often where writing one takes more than this share of the time."""


class CheckpointKeeper:
    """The one writer of a fit's checkpoint. What a killed one left half-written goes as soon as there is another.

    Parameters
    ----------
    path : path or None
        Where to keep it; with None nothing is kept.

    Attributes
    ----------
    path : Path or None
    wrote : bool
        Whether a file was written on the way.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.path = None if path is None else pathlib.Path(path)
        if self.path is not None:
            sweep(self.path)  # a short fit may never write one
        self._thread: threading.Thread | None = None
        self._last, self._cost_s = time.monotonic(), 0.0
        self._problem: ModelFileError | None = None
        self.wrote = False

    @property
    def wanted(self) -> bool:
        """Whether there is a place to keep states in."""
        return self.path is not None

    @property
    def due(self) -> bool:
        """Whether it is time for another state, and the last one is written."""
        if self.path is None or (self._thread is not None and self._thread.is_alive()):
            return False
        return time.monotonic() - self._last >= max(INTERVAL_S, self._cost_s / WRITING_SHARE)

    def keep(self, state: Checkpoint) -> None:
        """Write a state aside: it is copied now and written while the fit goes on.

        Where memory does not suffice for a copy it is written at once. An error is told by :meth:`problem`.
        """
        import psutil

        self._join()
        self._last = time.monotonic()
        if state.nbytes > psutil.virtual_memory().available // 2:
            self._write(state)
            return
        copy = state.copied()
        # Not a daemon: a program that ends waits for it rather than to leave half a file.
        self._thread = threading.Thread(target=self._write, args=(copy,), name="emgauss-checkpoint")
        self._thread.start()

    def keep_last(self, state: Checkpoint, path: str | os.PathLike[str] | None = None) -> None:
        """Write the last state of a fit that ends early, after whatever is being written; to ``path`` if given.

        Raises
        ------
        ModelFileError
            It cannot be written.
        """
        self._join()
        place = self.path if path is None else path
        if place is not None:
            write_checkpoint(place, state)

    def problem(self) -> str | None:
        """Why the last state could not be written, once for each; None where it could."""
        problem, self._problem = self._problem, None
        return None if problem is None else str(problem)

    def close(self) -> None:
        """Wait for what is being written."""
        self._join()

    def remove(self) -> None:
        """Take away what was written on the way: the fit has ended, and its result is safe."""
        self._join()
        if self.path is not None and self.wrote:
            self.path.unlink(missing_ok=True)

    def _write(self, state: Checkpoint) -> None:
        if self.path is None:
            return
        began = time.monotonic()
        try:
            write_checkpoint(self.path, state)
            self.wrote = True
        except ModelFileError as error:
            self._problem = error
        self._cost_s = time.monotonic() - began

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
