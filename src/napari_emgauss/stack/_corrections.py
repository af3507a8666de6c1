"""The corrections of a stack as one list in order, for the library, the command line and the window alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from napari_emgauss._errors import StackError
from napari_emgauss._progress import OnProgress, Progress

from ._alignment import check_alignment, remove_jitter
from ._denoise import DenoiseMethod, denoise
from ._intensity import IntensityMethod, correct_intensity
from ._mask import DamagedRectangle, mask_damage, read_damage_mask
from ._skip import leave_out
from ._stack import SliceSource, Stack

Damage: TypeAlias = "str | os.PathLike[str] | ArrayLike | SliceSource | Sequence[DamagedRectangle]"
"""A file of a mask or of drawn damage, or what :func:`mask_damage` takes."""


@dataclass(frozen=True)
class Corrections:
    """What is done to a stack before anything else, always in this order.

    Depths come first, as everything along z is weighted by them. Slices that are left out teach nobody. Masked pixels
    are filled before anything looks at whole slices; slices are put in place before they are compared; noise goes
    last, so that its strength is told on what is fitted.

    Parameters
    ----------
    thickness_nm : mapping
        Distance from a slice, numbered as in the file, to the next, where it is not the usual one.
    skip : str or sequence of int
        Slices to leave out, numbered as in the file: ``"12,57-59"``.
    damage : path, array-like or sequence of DamagedRectangle, optional
        Pixels that must supervise nothing; see :func:`mask_damage` and, for files, :func:`read_damage_mask`.
    region : tuple of int, optional
        ``(y0, y1, x0, x1)``, the rectangle of every slice to keep, in pixels.
    straighten : bool
        Move misaligned slices back into place; see :func:`remove_jitter`.
    even_out : str, optional
        Even out brightness and contrast: a method of :func:`correct_intensity`.
    denoise : str, optional
        A method of :func:`denoise`.

    Examples
    --------
    >>> from napari_emgauss import sample_stack
    >>> stack = Corrections(skip="3", even_out="linear").apply(sample_stack())
    >>> stack.metadata["left_out_slices"], stack.metadata["intensity_correction"]
    ([3], 'linear')
    """

    thickness_nm: Mapping[int, float] | None = None
    skip: str | Sequence[int] = ()
    damage: Damage | None = None
    region: tuple[int, int, int, int] | None = None
    straighten: bool = False
    even_out: IntensityMethod | None = None
    denoise: DenoiseMethod | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Fields of those that are asked for, in order."""
        return tuple(name for name in _STEPS if _is_asked_for(getattr(self, name)))

    def apply(self, stack: Stack, *, on_progress: OnProgress | None = None) -> Stack:
        """The corrected stack, still read lazily.

        Raises
        ------
        StackError, ConfigError
            As the single corrections do.
        """
        progress, names = Progress(on_progress), self.names
        for done, name in enumerate(names):
            text, step = _STEPS[name]
            part = progress.part(done / len(names), (done + 1) / len(names), text)
            part.tell(0.0)
            stack = step(stack, getattr(self, name), part)
        if names:
            progress.tell(1.0)
        return stack


Step = Callable[[Stack, Any, Progress], Stack]


def _spaced(stack: Stack, thickness_nm: Mapping[int, float], _: Progress) -> Stack:
    numbers = stack.numbers_in_file
    steps = np.diff(stack.z_nm)
    for number, size_nm in thickness_nm.items():
        if number not in numbers[:-1]:
            raise StackError(f"Slice {number} is the last one: the distance of {size_nm:g} nm after it cannot be used.")
        steps[numbers.index(number)] = size_nm
    return replace(stack, z_nm=np.concatenate([stack.z_nm[:1], stack.z_nm[0] + np.cumsum(steps)]))


def _masked(stack: Stack, damage: Damage, _: Progress) -> Stack:
    if isinstance(damage, (str, os.PathLike)):
        record = stack.record
        count = stack.shape[0] + len(record.left_out_slices)
        slices, height, width = record.shape_in_file or (count, *stack.shape[1:])
        return mask_damage(stack, read_damage_mask(Path(damage), (slices, height, width)))
    return mask_damage(stack, damage)


# A correction is a row: the field of Corrections, what is said meanwhile, and what is done. The order is the order.
_STEPS: dict[str, tuple[str, Step]] = {
    "thickness_nm": ("spacing slices", _spaced),
    "skip": ("leaving out slices", lambda stack, skip, _: leave_out(stack, skip)),
    "damage": ("masking damage", _masked),
    "region": ("cutting the region", lambda stack, region, _: stack.crop(region)),
    "straighten": ("straightening", lambda s, _, part: remove_jitter(s, check_alignment(s, on_progress=part))),
    "even_out": ("evening out", lambda stack, method, part: correct_intensity(stack, method, on_progress=part)),
    "denoise": ("denoising", lambda stack, method, part: denoise(stack, method, on_progress=part)),
}


def _is_asked_for(value: Any) -> bool:
    return value is not None and value is not False and not (isinstance(value, (str, tuple, list, dict)) and not value)
