"""From pictures in the unit range, wherever they were rendered, to the source's grey values on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss._torch import has_float64, uploaded
from napari_emgauss.stack import Normalisation

_SMALL_INTEGERS = tuple(np.dtype(name) for name in ("uint8", "int8", "uint16", "int16"))


class Delivery:
    """Pictures on their way to the host.

    From a CUDA device they travel by page-locked memory while the next ones are rendered; :meth:`into` waits for them.

    Parameters
    ----------
    images : Tensor
        ``(B, C, H, W)`` in the unit range.
    normalisation : Normalisation
        To the source's grey values.
    """

    def __init__(self, images: Tensor, normalisation: Normalisation) -> None:
        self._normalisation = normalisation
        self._rounded = (
            images.device.type != "cpu" and np.dtype(normalisation.dtype) in _SMALL_INTEGERS
        ) and has_float64(images.device)
        values = rounded(images, normalisation) if self._rounded else images
        self._there: torch.cuda.Event | None = None
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._there = torch.cuda.Event()
            self._there.record(torch.cuda.current_stream(values.device))
        else:
            self._values = values

    def into(self, out: NDArray[Any]) -> None:
        """Write the pictures into ``out`` ``(B, C, H, W)``, of the source's dtype."""
        if self._there is not None:
            self._there.synchronize()
        values = self._values.cpu().numpy()
        out[...] = values if self._rounded else self._normalisation.from_unit(values)


def rounded(images: Tensor, normalisation: Normalisation) -> Tensor:
    """What ``from_unit`` gives for integers of up to 16 bits, computed where the images are.

    A GPU renders faster than one core of the host could round, and whole numbers are fewer bytes to bring back.
    """
    dtype = np.dtype(normalisation.dtype)
    limits = np.iinfo(dtype)
    low, span = (uploaded(np.asarray(end), images.device) for end in normalisation.line(np.dtype(np.float64)))
    grey = (images.double() * span + low).round_().clamp_(limits.min, limits.max)
    # torch calculates little in 16 bits without a sign, so that those travel in 32.
    return grey.to({"uint8": torch.uint8, "int8": torch.int8, "int16": torch.int16}.get(dtype.name, torch.int32))
