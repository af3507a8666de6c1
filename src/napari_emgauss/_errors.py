"""Every error a user can meet: each is an :class:`EmgaussError` and the builtin a caller would expect.

The message is one sentence that says what is wrong and what to do. The command line prints it on stderr and exits
with code 2; the plugin shows it as a notification.
"""

from __future__ import annotations


class EmgaussError(Exception):
    """Base of all errors raised on purpose by napari-emgauss."""


class StackError(EmgaussError, ValueError):
    """The input is not a stack that can be fitted (not 3D, too few slices, RGB, NaN, constant slice, ...)."""


class StackFileError(StackError, OSError):
    """A stack's file is missing, truncated, or not of a format that can be read."""


class VoxelSizeError(StackError):
    """The voxel size is unknown, not positive, or says that the stack is isotropic already."""


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
    """The output exists already, or could not be written whole."""
