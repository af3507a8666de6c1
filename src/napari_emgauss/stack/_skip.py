"""Lists of slices as people write them: ``12,57-59``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from napari_emgauss._errors import StackError

from ._stack import Stack

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
                raise StackError(f"There is no slice {last}: the stack has slices 0 to {count - 1}.")
            numbers.update(range(first, last + 1))
    else:
        numbers = {int(k) for k in text}
    for number in numbers:
        if not 0 <= number < count:
            raise StackError(f"There is no slice {number}: the stack has slices 0 to {count - 1}.")
    return tuple(sorted(numbers))


def slices_text(numbers: Iterable[int]) -> str:
    """Slice numbers as :func:`parse_slices` reads them: ``"12,57-59"``."""
    runs: list[list[int]] = []
    for number in sorted({int(k) for k in numbers}):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def leave_out(stack: Stack, skip: str | Sequence[int]) -> Stack:
    """A stack without some of its slices, which remembers them.

    Parameters
    ----------
    stack : Stack
    skip : str or sequence of int
        As of :func:`parse_slices`, numbered as in the stack's file.

    Returns
    -------
    Stack
        ``metadata["left_out_slices"]`` has their numbers, ``metadata["left_out_z_nm"]`` their depths.

    Raises
    ------
    StackError
        Not such a list, or a slice that is not there.
    """
    numbers = stack.numbers_in_file
    before = stack.record.left_out
    wanted = set(parse_slices(skip, max((*numbers, *before)) + 1)) - before.keys()
    if not wanted:
        return stack
    missing = sorted(wanted - set(numbers))
    if missing:
        raise StackError(f"There is no slice {missing[0]}: the stack has slices {numbers[0]} to {numbers[-1]}.")
    z_nm = dict(zip(numbers, stack.z_nm.tolist(), strict=True))
    left_out = dict(sorted({**before, **{number: z_nm[number] for number in wanted}}.items()))
    kept = [index for index, number in enumerate(numbers) if number not in wanted]
    return stack.noting(left_out_slices=list(left_out), left_out_z_nm=list(left_out.values())).select(kept)
