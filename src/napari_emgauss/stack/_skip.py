"""Lists of slices as people write them: ``12,57-59``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from napari_emgauss._errors import StackError

_PART = re.compile(r"^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$")


def parse_slices(text: str | Sequence[int], count: int) -> tuple[int, ...]:
    """Slice numbers from a list such as ``"12,57-59"`` (both ends belong to a range) or from numbers.

    Parameters
    ----------
    text : str or sequence of int
        Counted from 0, as the slider does. An empty text is no slice.
    count : int
        Slices in the stack.

    Returns
    -------
    tuple of int
        Increasing, each once.

    Raises
    ------
    StackError
        Not such a list, or a slice that is not there.
    """
    if isinstance(text, (int, np.integer)):
        text = (int(text),)
    if isinstance(text, str):
        numbers: set[int] = set()
        for part in filter(str.strip, re.split(r"[,;]", text)):
            match = _PART.match(part)
            if match is None:
                raise StackError(f"{part.strip()!r} is not a slice number or range: write for example 12,57-59.")
            first = int(match[1])
            last = first if match[2] is None else int(match[2])
            if last < first:
                raise StackError(f"The range {part.strip()!r} ends before it starts: write {last}-{first}.")
            if last >= count:
                raise StackError(f"Slice {last} is not there: the stack has slices 0 to {count - 1}.")
            numbers.update(range(first, last + 1))
    else:
        numbers = {int(k) for k in text}
    for number in numbers:
        if not 0 <= number < count:
            raise StackError(f"Slice {number} is not there: the stack has slices 0 to {count - 1}.")
    return tuple(sorted(numbers))
