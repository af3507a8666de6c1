"""Pictures of the hidden slices that came out worst, to be kept with a score."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

WORST_SLICES = 2
SHOWN_PIXELS = 256
"""Side of the part that is shown: where the slice differs most. A whole slice would make the file of a score large."""
TRUTH = "truth"


@dataclass(frozen=True)
class WorstSlice:
    """A part of a hidden slice, as it is and as methods have it.

    Parameters
    ----------
    index : int
        Which slice of the stack.
    z_nm : float
        Its depth.
    method : str
        Whose worst it is.
    psnr : float
        Of that method, of the whole slice, dB.
    region : tuple of int
        ``(y0, y1, x0, x1)``, the part that is shown.
    images : mapping
        ``truth`` and methods -> ``(h, w)`` uint8.
    """

    index: int
    z_nm: float
    method: str
    psnr: float
    region: tuple[int, int, int, int]
    images: Mapping[str, NDArray[np.uint8]]

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it: pictures as PNG in base64."""
        return {
            "slice": self.index,
            "z_nm": self.z_nm,
            "method": self.method,
            "psnr": self.psnr,
            "region": list(self.region),
            "png": {name: base64.b64encode(png_bytes(image)).decode() for name, image in self.images.items()},
        }


def worst_of(decibels: Sequence[float | None]) -> list[int]:
    """Positions of the slices with the lowest PSNR, the worst first; those that are the truth are none."""
    known = [(value, k) for k, value in enumerate(decibels) if value is not None and np.isfinite(value)]
    return [k for _, k in sorted(known)[:WORST_SLICES]]


def most_different(image: NDArray[np.float32], truth: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """The part ``(y0, y1, x0, x1)`` of at most 256 x 256 pixels in which two ``(H, W)`` images differ most."""
    height, width = (min(SHOWN_PIXELS, side) for side in truth.shape)
    error = uniform_filter(np.square(image - truth, dtype=np.float64), (height, width), mode="constant")
    # A filter's value stands at the middle of its window; windows that reach out of the image are no choice.
    top, left = height // 2, width // 2
    inside = error[top : top + truth.shape[0] - height + 1, left : left + truth.shape[1] - width + 1]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(y), int(y) + height, int(x), int(x) + width


def as_grey(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Unit range to 0 to 255."""
    return np.asarray(np.clip(np.rint(np.asarray(image) * 255), 0, 255), dtype=np.uint8)


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """A ``(h, w)`` picture as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
