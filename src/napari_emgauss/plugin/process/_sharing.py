"""How a child shares the machine with the window: priority, cores, memory. Knows neither Qt nor napari."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _LARGEST_KEPT_BYTES = 128 << 20, 32 << 20


def lower_priority() -> None:
    """Let the window go first on a busy machine: it needs little, the child needs all that is left."""
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(5)


def share_cores() -> None:
    """Let threads of OpenMP wait asleep; before torch is loaded.

    libgomp's threads spin while they wait for each other. As soon as the window wants one of their cores, most of that
    time is lost; a short spin costs a fit nothing that could be measured.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def keep_freed_memory() -> None:
    """Let the process keep what it frees, up to 128 MB, for the next time; where the C library is glibc.

    Otherwise all of a picture's arrays go back to the system after each picture and come anew, zeroed page by page, for
    the next one: of a slice of 512 by 512 pixels that is 1,500 pages.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
