"""A running fit seen from the window: one process, one pump of messages. Knows neither Qt nor napari."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from napari_emgauss.plugin.process._request import FitRequest, copy_slices

from ._demand import moved_lately, note_fit
from ._fit_child import FitMessage, fit_in_child
from ._problem import ChildFailedError
from ._process import ChildProcess
from ._reckoning import Fingerprints
from ._scratch import scratch_folder

_NUMBERS = itertools.count(1)

LONG_STEP_S = 60.0
"""How long a step of a large fit may take: only after it can the fit look at a request to end."""

Target = Callable[..., None]


class FitProcess:
    """One fit in its own process. The switches may be called from the window's thread at any time.

    Parameters
    ----------
    request : FitRequest
        What to fit.
    values : array-like
        The layer's data, possibly lazy; read in :meth:`messages`, not here.
    damage : array-like, optional
        Not zero where a pixel is damaged.
    target : callable
        What runs in the child; tests put their own there.
    """

    def __init__(self, request: FitRequest, values: Any, *, damage: Any = None, target: Target = fit_in_child) -> None:
        self.request, self._values, self._damage, self._target = request, values, damage, target
        self._child: ChildProcess | None = None
        self._stopping, self._paused, self._cut_short = threading.Event(), False, False

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return None if self._child is None else self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._child is not None and self._child.alive

    def pause(self) -> None:
        """Let the fit wait."""
        self._paused = True
        if self._child is not None:
            self._child.pause()

    def resume(self) -> None:
        """Let the fit go on."""
        self._paused = False
        if self._child is not None:
            self._child.resume()

    def stop(self) -> None:
        """End the fit soon; what is there arrives as the message ``stopped``."""
        self._stopping.set()
        if self._child is not None:
            self._child.stop()

    def end_now(self) -> None:
        """End a fit that was asked to stop without waiting for what it writes; returns immediately."""
        self._stopping.set()
        self._cut_short = True
        if self._child is not None:
            self._child.kill()

    def preview_shown(self) -> None:
        """The window has shown the last preview and wants the next one."""
        if self._child is not None:
            self._child.ask_attention()

    def abandon(self) -> None:
        """End the fit, nobody waits for its result any more; returns immediately.

        The child goes on until its state is written down: :attr:`alive` tells.
        """
        self._stopping.set()
        if self._child is not None:
            self._child.close_soon()

    def messages(self) -> Iterator[FitMessage | None]:
        """Start the fit and pass its messages on, in a worker thread.

        Yields at least every 0.1 s (None where there is nothing to tell): a worker looks at requests only between
        yields.

        Raises
        ------
        StackError
            The slices cannot be read.
        ChildFailedError
            The fit failed.
        """
        data = copy_slices(self._values, self.request, self._stopping.is_set, self._damage)
        data = replace(data, stack_id=Fingerprints().of(self._values))
        self._values = self._damage = None
        if self._stopping.is_set():
            yield FitMessage("stopped")
            return
        folder = scratch_folder() / f"fit-{next(_NUMBERS)}"
        folder.mkdir(parents=True, exist_ok=True)  # who tidies up may have removed all of it
        child = ChildProcess(self._target, (self.request, data, str(folder)), name="fit", patience_s=LONG_STEP_S)
        note_fit(child)
        self._child = child
        if self._paused:
            child.pause()
        child.ask_attention()
        try:
            if not child.start():
                yield FitMessage("stopped")
                return
            del data
            while True:
                try:
                    message = child.poll()
                except ChildFailedError:
                    if not self._cut_short:
                        raise
                    yield FitMessage("stopped", note="The fit was ended before it could save its state.")
                    return
                child.tell_crowded(moved_lately())
                yield message
                if message is not None and message.kind in ("finished", "stopped"):
                    return
        finally:
            child.close()
