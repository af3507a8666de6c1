"""An array in memory that the window and a child process both see. Knows neither Qt nor napari."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._process import SPAWN


@dataclass(frozen=True)
class SharedArray:
    """A block of shared memory read as an array.

    ``RawArray`` moves to a file where ``/dev/shm`` is too small (containers give 64 MB); handed to a process at its
    start it is not copied, where an array would be pickled and block the start until the child had read it all.

    Parameters
    ----------
    memory : multiprocessing.sharedctypes.RawArray
        The bytes.
    shape : tuple of int
        Shape.
    dtype : str
        NumPy name of the dtype, byte order included.
    """

    memory: Any
    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: Any) -> SharedArray:
        """Zeros; raises MemoryError or OSError where there is no room."""
        dtype = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return cls(SPAWN.RawArray("b", count), tuple(int(n) for n in shape), dtype.str)

    def array(self) -> NDArray[Any]:
        """The array itself, without a copy."""
        return np.frombuffer(self.memory, dtype=np.dtype(self.dtype)).reshape(self.shape)
