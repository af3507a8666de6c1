"""The folder for the model states of this napari's fits. It goes when napari goes."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="napari-emgauss-", ignore_cleanup_errors=True)


def scratch_folder() -> Path:
    """A folder of our own, removed at exit; several napari never share one."""
    return Path(_folder().name)


def is_scratch(path: str | Path) -> bool:
    """Whether a file is in that folder, and goes with it."""
    return Path(path).is_relative_to(scratch_folder())
