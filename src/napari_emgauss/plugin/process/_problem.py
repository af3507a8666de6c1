"""What went wrong, in one sentence for the user and a traceback for the log. Knows neither Qt nor napari.

Children, worker threads and the window's own slots all pass through :func:`problem_of`: what nobody expected becomes a
sentence there, and nowhere else.
"""

from __future__ import annotations

import errno
import traceback
from dataclasses import dataclass, replace
from typing import Literal

from napari_emgauss._errors import BackendError, EmgaussError, StackError

from ._wording import sentence as sentence_of

ProblemKind = Literal["", "memory", "device", "slices", "ended", "folder", "disk", "surprise"]

_FULL_DISK = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows knows no quota


@dataclass(frozen=True)
class Problem:
    """A failure as it travels through a pipe and up to the dock.

    Parameters
    ----------
    sentence : str
        For the user: what happened, and what to do.
    details : str
        For the log: the traceback.
    kind : str
        What a button may mend: ``memory``, ``device``, ``slices``, ``ended`` (the child was killed), ``folder`` (it is
        missing), ``disk`` (it is full). Empty for other errors that were raised on purpose, ``surprise`` for the rest.
    slices : tuple of int
        Slices of the layer that cannot be fitted, for ``slices``.
    """

    sentence: str
    details: str = ""
    kind: ProblemKind = ""
    slices: tuple[int, ...] = ()

    @property
    def expected(self) -> bool:
        """Whether somebody has thought of it."""
        return self.kind != "surprise"


class DamagedSlicesError(StackError):
    """Slices of a layer hold no picture; the rest can be fitted without them.

    Parameters
    ----------
    sentence : str
        For the user.
    slices : tuple of int
        Their numbers in the layer.
    """

    def __init__(self, sentence: str, slices: tuple[int, ...]) -> None:
        super().__init__(sentence)
        self.slices = slices


class MissingFolderError(EmgaussError, OSError):
    """The folder to write into is not there."""


class ChildFailedError(EmgaussError, RuntimeError):
    """The work in a child process failed; the message is for the user, ``details`` for the log."""

    def __init__(self, sentence: str, details: str = "", kind: ProblemKind = "", slices: tuple[int, ...] = ()) -> None:
        super().__init__(sentence)
        self.details, self.kind, self.slices = details, kind, slices

    @classmethod
    def of(cls, problem: Problem) -> ChildFailedError:
        """The error that stands for what a child told."""
        return cls(problem.sentence, problem.details, problem.kind, problem.slices)


_MORE_MEMORY = {
    "fit": "choose a smaller region, fewer slices or the preset 'fast'",
    "score": "choose a smaller region, fewer slices or the preset 'fast'",
    "repair": "close other programs, or repair the stack from the command line with a model that was fitted in tiles",
    "export": "close other programs, or write fewer depths at a time",
    "labels": "close other programs, or carry the labels of a smaller part",
    "render": "close other programs, or choose the device 'cpu' in the preferences",
}


def memory_advice(work: str) -> str:
    """What to do where memory ran out, by the name of the work."""
    return _MORE_MEMORY.get(work, "close other programs, then try again")


def problem_of(error: BaseException, work: str = "") -> Problem:
    """The sentence and the traceback of any exception.

    Parameters
    ----------
    error : BaseException
        Raised on purpose (an :class:`EmgaussError`, whose message is the sentence) or not.
    work : str
        What was being done, for advice: ``fit``, ``score``, ``export``, ``render``.
    """
    error = _cause(error)
    if isinstance(error, ChildFailedError):
        return Problem(str(error), error.details, error.kind, error.slices)
    details = "".join(traceback.format_exception(error))
    if isinstance(error, EmgaussError):
        return Problem(sentence_of(error), details, _kind_of(error), getattr(error, "slices", ()))
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Problem(f"There is not enough memory: {memory_advice(work)}.", details, "memory")
    if isinstance(error, OSError) and error.errno in _FULL_DISK:
        where = f" ({error.filename})" if error.filename else ""
        return Problem(f"The disk is full{where}: make room, then try again.", details, "disk")
    if isinstance(error, ImportError):
        sentence = f"A required package could not be loaded ({error}): reinstall napari-emgauss."
    else:
        first_line = str(error).partition("\n")[0] or "no message"
        sentence = f"Something went wrong ({type(error).__name__}: {first_line}); the log has the details."
    return Problem(sentence, details, "surprise")


def with_advice(problem: Problem, advice: str) -> Problem:
    """The same with one more sentence."""
    return replace(problem, sentence=f"{problem.sentence} {advice}")


def _cause(error: BaseException) -> BaseException:
    """What was raised inside an event's handler: psygnal wraps it, with the loop that it was raised in."""
    while type(error).__name__ == "EmitLoopError" and error.__cause__ is not None:
        error = error.__cause__
    return error


def _kind_of(error: EmgaussError) -> ProblemKind:
    if isinstance(error, BackendError):
        return "device"
    if isinstance(error, MissingFolderError):
        return "folder"
    return "slices" if isinstance(error, DamagedSlicesError) else ""
