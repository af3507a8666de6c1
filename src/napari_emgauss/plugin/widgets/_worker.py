"""The worker behind a fit or a job: whatever its generator raises reaches the window, in order with all else it says.

superqt's own worker drops RuntimeErrors: it takes them for signs of a deleted window, and neither ``errored`` nor
``finished`` follows. Most of our errors are RuntimeErrors, so none may get that far.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from napari.qt.threading import GeneratorWorker
from napari.utils import progress

from napari_emgauss.plugin.process._problem import Problem, problem_of

LOGGER = logging.getLogger("napari_emgauss.plugin")


@dataclass(frozen=True)
class Said:
    """One thing that the work has said."""

    message: Any


@dataclass(frozen=True)
class Ended:
    """The last word: the work has come to its end, by itself or with an error."""

    error: BaseException | None = None


def _guarded(messages: Callable[[], Iterator[Any]]) -> Iterator[Said | Ended | None]:
    try:
        for message in messages():
            yield None if message is None else Said(message)
    except GeneratorExit:
        raise
    except BaseException as error:
        failure = error  # the name of an except clause ends with it
        yield Ended(failure)
    else:
        yield Ended()


class _Worker(GeneratorWorker):
    """``quit()`` also ends what runs behind the generator.

    The plain worker drops its generator without closing it, so the generator's ``finally`` would not run; and when the
    window closes, its signals come after the end of the event loop, to nobody.
    """

    def __init__(self, messages: Callable[[], Iterator[Any]], on_quit: Callable[[], Any]) -> None:
        super().__init__(_guarded, messages)
        self._on_quit = on_quit

    def quit(self) -> None:
        self._on_quit()
        super().quit()


class Pump:
    """Passes what a generator says in a worker thread on to the window's thread.

    Exactly one of ``on_end`` and ``on_problem`` is called at the end, also where a handler of ours fails: then the
    work is ended, and the failure is told as if it were the work's. Nothing is called after :meth:`abandon`.

    Parameters
    ----------
    messages : callable
        Makes the generator. It should yield every 0.1 s, None where there is nothing to say: requests are looked at
        between yields.
    work : str
        What it is, for advice; see :func:`~napari_emgauss.plugin.process._problem.problem_of`.
    on_message : callable
        Called with each message.
    on_end : callable
        Called when the generator has ended by itself.
    on_problem : callable
        Called with the :class:`~napari_emgauss.plugin.process._problem.Problem` and the exception.
    abandon_work : callable
        Ends what runs behind the generator; returns at once.
    bar_title : str
        Of a bar in napari's activity dock; empty for none.
    """

    def __init__(
        self,
        messages: Callable[[], Iterator[Any]],
        work: str,
        *,
        on_message: Callable[[Any], Any],
        on_end: Callable[[], Any],
        on_problem: Callable[[Problem, BaseException], Any],
        abandon_work: Callable[[], Any],
        bar_title: str = "",
    ) -> None:
        self._work, self._abandon_work = work, abandon_work
        self._on_message, self._on_end, self._on_problem = on_message, on_end, on_problem
        self._over = False
        # Not napari's create_worker: its question at the window's end would name a Python object.
        self._worker = _Worker(messages, abandon_work)
        self.bar: Any = progress(total=0, desc=bar_title) if bar_title else None
        self._worker.yielded.connect(self._deliver)
        self._worker.aborted.connect(self._aborted)
        self._worker.finished.connect(self._finished)

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    @property
    def over(self) -> bool:
        """Whether the last word was spoken."""
        return self._over

    def abandon(self) -> None:
        """End the work; nobody listens any more."""
        self._close()
        self._worker.quit()

    def _deliver(self, said: Said | Ended | None) -> None:
        if self._over or said is None:
            return
        try:
            if isinstance(said, Said):
                self._on_message(said.message)
                return
            self._close()
            if said.error is None:
                self._on_end()
                return
        except Exception as error:  # a handler of ours: the window must not go on as if the work still ran
            self._close()
            self._abandon_work()
            self._tell(error)
            return
        self._tell(said.error)

    def _tell(self, error: BaseException) -> None:
        try:
            self._on_problem(problem_of(error, self._work), error)
        except Exception:
            LOGGER.exception("Reporting a failure failed")

    def _aborted(self) -> None:
        """Napari asked for an end."""
        if not self._over:
            self._close()
            self._on_end()

    def _finished(self) -> None:
        """The worker has gone; where nothing was said of an end, that is one."""
        self._aborted()

    def _close(self) -> None:
        self._over = True
        if self.bar is not None:
            self.bar.close()
            self.bar = None
