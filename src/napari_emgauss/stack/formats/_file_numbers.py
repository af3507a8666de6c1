"""What the names of image files say: which number in them counts slices, at which depth each is, and what is missing.

Names hold dates, versions, block numbers and depths beside the number of the slice. The number that counts slices is
one that is different in every file; where there is none, files of several series lie together, and nobody can guess
which is meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack._voxel_size import nm_per_unit

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?![.\d])|\d+")
_SIGNED = re.compile(r"-?(?:\d+(?:\.\d+)?(?![.\d])|\d+)")
_DEPTH_BEFORE = re.compile(r"(?:^|[^a-z])(?:z|depth)[ =_:]*$")
_UNIT_AFTER = re.compile(r"^[ _]?(nm|um|µm|μm|mm)(?![a-z])")
# Numbers further apart than this count something else than slices.
_MOST_NUMBERS_A_FILE = 10


@dataclass(frozen=True)
class FileOrder:
    """Image files in the order of depth.

    Parameters
    ----------
    order : list of int
        Which of the files is each slice.
    numbers : list of int or None
        Of each slice, counted in steps of the numbering; None where the names do not count evenly.
    missing : list of int
        Numbers that no file has, as they would stand in the names.
    z_nm : list of float or None
        Depth of each slice, where the names tell it.
    notes : tuple of str
        For people.
    """

    order: list[int]
    numbers: list[int] | None = None
    missing: tuple[int, ...] = ()
    z_nm: list[float] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Name:
    """A name cut into texts and the numbers between them."""

    texts: tuple[str, ...]
    numbers: tuple[str, ...]


def _cut(stem: str, *, signs: bool) -> _Name:
    texts, numbers, at = [], [], 0
    for found in (_SIGNED if signs else _NUMBER).finditer(stem):
        start = found.start()
        if not signs and stem[max(0, start - 2) : start] == "=-":
            start -= 1  # z=-0.05: a sign, whatever the other names have
        texts.append(stem[at:start].lower())
        numbers.append(stem[start : found.end()])
        at = found.end()
    return _Name((*texts, stem[at:].lower()), tuple(numbers))


def _cut_all(stems: Sequence[str]) -> list[_Name]:
    """Names cut alike: a minus is a sign where only some of them have it, and a dash elsewhere."""
    plain, signed = ([_cut(stem, signs=signs) for stem in stems] for signs in (False, True))
    return signed if len({one.texts for one in signed}) < len({one.texts for one in plain}) else plain


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts ``slice2`` before ``slice10``."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def order_of(names: Sequence[str], folder: str, *, chosen: bool = False) -> FileOrder:
    """Order of image files by the number that counts slices.

    Parameters
    ----------
    names : sequence of str
        Of the files, with their endings.
    folder : str
        For messages.
    chosen : bool
        Whether somebody has named the files by a pattern: then those with other names belong to them, too.

    Raises
    ------
    StackError
        Several series lie together; the message offers a pattern for each.
    """
    stems = [name.rpartition(".")[0] or name for name in names]
    cut = _cut_all(stems)
    kinds: dict[tuple[str, ...], list[int]] = {}
    for index, one in enumerate(cut):
        kinds.setdefault(one.texts, []).append(index)
    natural = sorted(range(len(names)), key=lambda k: natural_key(names[k]))
    if len(kinds) > 1:
        if chosen or max(len(members) for members in kinds.values()) == 1:
            note = () if not chosen else ("the file names differ in more than numbers; the files are sorted by name",)
            return FileOrder(natural, notes=note)
        patterns = {_pattern([names[k] for k in members]): len(members) for members in kinds.values()}
        raise _several(patterns, folder)
    if not cut[0].numbers:
        return FileOrder(natural)
    values = np.array([[float(number) for number in one.numbers] for one in cut])
    distinct = [len(np.unique(column)) for column in values.T]
    unique = [column for column, count in enumerate(distinct) if count == len(names)]
    if not unique and sum(count > 1 for count in distinct) < 2:
        raise _twice(names, values, folder)
    if not unique:
        raise _several(_series(names, cut, distinct), folder)
    best = min(unique, key=lambda column: (_unevenness(values[:, column]), -column))
    order = [int(k) for k in np.argsort(values[:, best], kind="stable")]
    z_nm = _depths(cut, values, order)
    whole = all("." not in one.numbers[best] for one in cut)
    counted, missing = _counted(values[order, best]) if whole else (None, ())
    notes: tuple[str, ...] = ()
    if missing:
        shown = ", ".join(str(n) for n in missing[:8]) + (", ..." if len(missing) > 8 else "")
        notes = (f"the file numbers skip {shown}: the missing slices keep their places in depth",)
    return FileOrder(order, counted, missing, z_nm, notes)


def _unevenness(column: NDArray[np.float64]) -> float:
    """0 for numbers that go up by one step throughout, more the less they do."""
    steps = np.diff(np.sort(column))
    return float(np.mean(steps != np.median(steps))) + (0.0 if float(np.median(steps)).is_integer() else 0.5)


def _counted(sorted_numbers: NDArray[np.float64]) -> tuple[list[int] | None, tuple[int, ...]]:
    """Numbers counted in steps of the numbering, and those that are left out."""
    steps = np.diff(sorted_numbers)
    values, counts = np.unique(steps, return_counts=True)
    step = int(values[counts.argmax()])
    count = len(sorted_numbers)
    far = sorted_numbers[-1] - sorted_numbers[0] > _MOST_NUMBERS_A_FILE * step * count
    if step < 1 or far or counts.max() * 2 < len(steps) or (steps % step != 0).any():
        return None, ()
    numbers = ((sorted_numbers - sorted_numbers[0]) / step).astype(int)
    left_out = sorted(set(range(int(numbers[-1]) + 1)) - set(numbers.tolist()))
    return [int(k) for k in numbers], tuple(int(sorted_numbers[0]) + step * k for k in left_out)


def _depths(cut: Sequence[_Name], values: NDArray[np.float64], order: list[int]) -> list[float] | None:
    """Depths where a number stands behind a z and before a unit of length, and goes one way with the slices."""
    texts = cut[0].texts
    for column in range(values.shape[1]):
        unit = _UNIT_AFTER.match(texts[column + 1])
        if unit is None or not _DEPTH_BEFORE.search(texts[column]):
            continue
        z_nm = values[order, column] * float(nm_per_unit(unit[1]) or 1.0)
        steps = np.diff(z_nm)
        if len(steps) and ((steps > 0).all() or (steps < 0).all()):
            return [float(z) for z in np.abs(z_nm - z_nm[0])]
    return None


def _series(names: Sequence[str], cut: Sequence[_Name], distinct: Sequence[int]) -> dict[str, int]:
    """A pattern for each series, told apart by the number that takes the fewest values."""
    varying = [column for column, count in enumerate(distinct) if count > 1]
    if not varying:
        return {_pattern(names): len(names)}
    apart = min(varying, key=lambda column: (distinct[column], column))
    groups: dict[str, list[int]] = {}
    for index, one in enumerate(cut):
        groups.setdefault(one.numbers[apart], []).append(index)
    return {
        _pattern([names[k] for k in members], keep=(cut[members[0]], apart)): len(members)
        for _, members in sorted(groups.items(), key=lambda one: natural_key(one[0]))
    }


def _pattern(names: Sequence[str], keep: tuple[_Name, int] | None = None) -> str:
    """A pattern that matches these names: what all share, and a star for what differs."""
    if keep is not None:
        cut, column = keep
        first = names[0]
        texts = [first[start:end] for start, end in _spans(first, cut)]
        parts = [texts[0]]
        for k, number in enumerate(cut.numbers):
            parts += [number if k == column else "*", texts[k + 1]]
        found = "".join(parts)
    else:
        found = names[0]
        for name in names[1:]:
            found = _common(found, name)
    ending = {name.rpartition(".")[2] for name in names}
    if len(ending) > 1:
        found = found.rpartition(".")[0] + ".*" if "." in found else found
    return re.sub(r"\*+", "*", found)


def _spans(first: str, name: _Name) -> list[tuple[int, int]]:
    spans, at = [], 0
    for text, number in zip(name.texts, name.numbers, strict=False):
        spans.append((at, at + len(text)))
        at += len(text) + len(number)
    return [*spans, (at, len(first))]


def _common(pattern: str, name: str) -> str:
    """The pattern, with a star for what the name has otherwise."""
    if fnmatch(name, pattern):
        return pattern
    ours, theirs = re.split(r"(\d+|\*)", pattern), re.split(r"(\d+)", name)
    if len(ours) == len(theirs):
        return "".join(a if a == b else "*" for a, b in zip(ours, theirs, strict=True))
    start = next((k for k, (a, b) in enumerate(zip(pattern, name, strict=False)) if a != b), 0)
    end = next((k for k, (a, b) in enumerate(zip(pattern[::-1], name[::-1], strict=False)) if a != b), 0)
    return pattern[:start] + "*" + (pattern[-end:] if end else "")


def _twice(names: Sequence[str], values: NDArray[np.float64], folder: str) -> StackError:
    """Two files have one number: ``s1.tif`` and ``s01.tif``, or ``s1.tif`` and ``s1.tiff``."""
    seen: dict[tuple[float, ...], str] = {}
    for name, row in zip(names, values.tolist(), strict=True):
        other = seen.setdefault(tuple(row), name)
        if other != name:
            return StackError(
                f"{folder} holds two images with the same number, {other} and {name}: move one of them elsewhere."
            )
    return StackError(f"{folder} holds images whose numbers do not give their order: number the files by slice.")


def _several(patterns: dict[str, int], folder: str) -> StackError:
    shown = list(patterns.items())[:4]
    listed = ", ".join(f"{count} like {pattern}" for pattern, count in shown)
    more = f" and {len(patterns) - len(shown)} more" if len(patterns) > len(shown) else ""
    return StackError(
        f"{folder} holds images of {len(patterns)} series (tiles, detectors, channels?), {listed}{more}",
        remedy=remedy("give pattern", patterns=f"'{folder}/{shown[0][0]}'"),
    )
