"""Every error a user can meet: each is an :class:`EmgaussError` and the builtin a caller would expect.

The message is one sentence that says what is wrong and what to do. What to do depends on the door that the user came
through: a function has arguments, a command has options, the window has fields. So an error carries *which* remedy
helps, and each door words it (:mod:`napari_emgauss._remedies`). The command line prints the sentence on stderr and
exits with code 2; the plugin shows it as a notification.
"""

from __future__ import annotations

from typing import Self

from ._remedies import Door, Remedy


class EmgaussError(Exception):
    """Base of all errors raised on purpose by napari-emgauss.

    Parameters
    ----------
    problem : str
        What is wrong: a whole sentence, or with ``remedy`` its first half, without the full stop.
    remedy : Remedy, optional
        What to do. ``str(error)`` words it for callers of the library.
    """

    def __init__(self, problem: str = "", *, remedy: Remedy | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return self.worded(Door.LIBRARY)

    def worded(self, door: Door) -> str:
        """The sentence in the words of a door: arguments, options, or fields of the window."""
        if self.remedy is None:
            return self.problem
        return f"{self.problem}: {self.remedy.worded(door)}."


class StackError(EmgaussError, ValueError):
    """The input is not a stack that can be fitted (not 3D, too few slices, RGB, NaN, constant slice, ...)."""


class StackFileError(StackError, OSError):
    """A stack's file is missing, truncated, or not in a format that can be read."""

    def __new__(cls, *_args: object, **_words: object) -> Self:
        # Whoever makes one without its arguments (copy, pickle with tblib's hooks, which dask's workers install) is
        # handed ValueError's maker by the order of the bases, and that one refuses to make an OSError.
        return OSError.__new__(cls)


class VoxelSizeError(StackError):
    """The voxel size is unknown, not positive, or says that the stack is isotropic already."""


class UnknownVoxelSizeError(VoxelSizeError):
    """The voxel size, or a part of it, is unknown; everything else about the stack may be fine.

    Parameters
    ----------
    doubt : str
        What the file says, if that is not to be trusted.
    """

    def __init__(self, problem: str = "", *, remedy: Remedy | None = None, doubt: str = "") -> None:
        super().__init__(problem, remedy=remedy)
        self.doubt = doubt


class ConfigError(EmgaussError, ValueError):
    """A setting has a value that cannot work, or settings contradict each other."""


class ModelFileError(EmgaussError, ValueError):
    """A model file is missing, truncated, foreign, or written by a newer version."""


class DepthError(EmgaussError, ValueError):
    """A depth, depth range or region outside the fitted volume was asked for."""


class BackendError(EmgaussError, RuntimeError):
    """A renderer or device that was asked for by name cannot be used here."""


class PriorError(EmgaussError, RuntimeError):
    """A prior cannot be prepared on this stack."""


class FitError(EmgaussError, RuntimeError):
    """The fit failed or diverged."""


class ExportError(EmgaussError, OSError):
    """The output already exists, or could not be written whole."""
