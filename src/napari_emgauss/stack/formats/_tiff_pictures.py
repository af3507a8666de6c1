"""The pictures in a TIFF file, and where each of their planes lies: what says which pages belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._array_slices import guess_axes

from ._tiff_directories import Directory
from ._tiff_grey import channels_of

# Programs whose own headers say which pages belong together, and that tifffile understands without other files.
_KINDS_OF_TIFFFILE = ("shaped", "lsm", "stk", "fluoview", "sis", "scanimage", "nih")


@dataclass(frozen=True)
class Picture:
    """One picture of a file: its axes, and where each plane of it lies.

    Parameters
    ----------
    axes : str
        One letter an axis; rows and columns last.
    shape : tuple of int
        Of all axes.
    places : ndarray
        ``(N, 3)`` of each plane, in the order of the axes: number of the file, offset of its page (or number of the
        page in tifffile's series), which plane of that page.
    files : tuple of Path
        The file itself, and those that it names.
    first : Directory
        Of its first page.
    kind : str
        For people.
    how : {"pages", "series", "run"}
        Planes lie in pages; in the pages of tifffile's series ``number``; or one after the other behind one page.
    number : int
        Of the picture within the file.
    notes : tuple of str
        What had to be assumed, and what is left out.
    """

    axes: str
    shape: tuple[int, ...]
    places: NDArray[np.int64]
    files: tuple[Path, ...]
    first: Directory
    kind: str = "TIFF"
    how: Literal["pages", "series", "run"] = "pages"
    number: int = 0
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Grey values in it."""
        return prod(self.shape)


def check_alike(directories: Sequence[Directory], numbers: Sequence[int], name: str) -> None:
    """Refuse pages of one stack that differ in size or type.

    Raises
    ------
    StackError
        Names the first page that differs.
    """
    first = directories[0]
    for number, one in zip(numbers, directories, strict=True):
        if (one.shape, one.kind) != (first.shape, first.kind):
            raise StackError(
                f"Page {number} of {name} is {one.described()}, but page {numbers[0]} is {first.described()}: slices "
                "of one stack must be of one size and type."
            )


def picture_of_pages(
    directories: Sequence[Directory], outer: str, counts: Sequence[int], path: Path, **more: Any
) -> Picture:
    """A picture whose pages follow each other, each with all samples and depths of its own.

    Parameters
    ----------
    directories : sequence of Directory
        Of its pages.
    outer : str
        Letters of the axes along which pages follow each other.
    counts : sequence of int
        Their lengths.
    path : Path
        Of the file.
    more
        Other parts of a :class:`Picture`.
    """
    places = [(0, one.offset) for one in directories]
    return picture_of_places(places, directories[0], outer, counts, path.name, files=(path,), **more)


def picture_of_places(
    places: Sequence[tuple[int, int]], first: Directory, outer: str, counts: Sequence[int], name: str, **more: Any
) -> Picture:
    """As :func:`picture_of_pages`, of pages in any files."""
    samples, depth = channels_of(first, name), first.value(32997)
    parts = np.arange(samples)[:, None] * depth + np.arange(depth)
    pages = np.asarray(places, dtype=np.int64).reshape(-1, 2)
    planes = np.concatenate([np.repeat(pages, parts.size, axis=0), np.tile(parts.ravel(), len(pages))[:, None]], axis=1)
    axes, shape = outer, tuple(int(n) for n in counts)
    if samples > 1:
        axes, shape = axes + "C", (*shape, samples)
    if depth > 1:
        axes, shape = axes + "Z", (*shape, depth)
    axes, shape = axes + "YX", (*shape, *first.shape)
    axes, shape, note = _named(axes, shape)
    notes = (*more.pop("notes", ()), *([note] if note else []))
    return Picture(axes, shape, planes, first=first, notes=notes, **more)


def _named(axes: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...], str]:
    """Names for axes that have none, as arrays of other formats are understood."""
    kept = [(a, n) for a, n in zip(axes[:-2], shape[:-2], strict=True) if n > 1]
    if sum(a in "IQ" for a, _ in kept) < 2:
        squeezed = "".join(a for a, _ in kept) + axes[-2:]
        return squeezed, (*(n for _, n in kept), *shape[-2:]), ""
    if any(a not in "IQ" for a, _ in kept):
        raise StackError(
            f"The axes of this file, {axes} of {shape}, do not say which one counts slices: save it as OME-TIFF."
        )
    lengths = (*(n for _, n in kept), *shape[-2:])
    letters = guess_axes(lengths)
    names = {"C": "channels", "Z": "slices", "T": "times", "Q": "images"}
    told = ", ".join(names.get(letter, letter) for letter in letters[:-2])
    return letters, lengths, f"the axes {lengths} have no names; they are read as ({told}, rows, columns)"


def plain_pictures(directories: Sequence[Directory], path: Path) -> list[Picture]:
    """Pictures of a file that says nothing of its pages: those of one size and type are slices.

    Smaller copies and pictures of another kind beside the stack are left out, and it is said; a page among the slices
    that is a little different is a fault and not another picture.
    """
    groups: dict[Any, list[int]] = {}
    for number, one in enumerate(directories):
        if min(one.shape) > 0:
            groups.setdefault((one.is_reduced, one.shape, one.kind), []).append(number)
    if not groups:
        return []
    main = max(groups, key=lambda key: (not key[0], len(groups[key]) * prod(key[1])))
    main_pages = groups[main]
    left_out = [number for key, numbers in groups.items() if key != main for number in numbers]
    if len(main_pages) > 2:
        for number in sorted(left_out):
            if not _another_picture(directories[number], directories[main_pages[0]]):
                pair = sorted({main_pages[0], number})
                check_alike([directories[k] for k in pair], pair, path.name)
    pictures = []
    for number, (key, numbers) in enumerate(groups.items()):
        notes: tuple[str, ...] = ()
        if key == main and left_out:
            notes = (
                f"{len(left_out)} of its {len(directories)} pages are smaller copies or other images and are left out",
            )
        chosen = [directories[k] for k in numbers]
        if key != main and chosen[0].is_colour:
            continue
        pictures.append(picture_of_pages(chosen, "I", (len(chosen),), path, number=number, notes=notes))
    return pictures


def _another_picture(one: Directory, slice_: Directory) -> bool:
    """Whether a page is a thumbnail, a level of a pyramid, a label: not a slice with a fault."""
    if one.is_reduced or one.is_colour != slice_.is_colour:
        return True
    (height, width), (high, wide) = one.shape, slice_.shape
    return max(height / high, width / wide) <= 0.55 or min(height / high, width / wide) >= 1.8


def imagej_picture(file: Any, directories: Sequence[Directory], path: Path) -> Picture:
    """The hyperstack that ImageJ's header describes.

    Raises
    ------
    StackFileError
        The file ends before its last plane.
    StackError
        Header and pages speak of different stacks.
    """
    about = file.imagej_metadata or {}
    counts = {"T": "frames", "Z": "slices", "C": "channels"}
    sizes = {letter: max(1, int(about.get(name, 1))) for letter, name in counts.items()}
    order = str(about.get("order", "czt")).upper()
    axes = order[::-1] if sorted(order) == ["C", "T", "Z"] else "TZC"
    pages = [one for one in directories if not one.is_reduced]
    first = pages[0]
    if first.value(277) > 1 and sizes["C"] == first.value(277):
        sizes["C"] = 1  # channels are samples of a pixel
    shape, total = [sizes[letter] for letter in axes], prod(sizes.values())
    if total == 1:
        axes, shape = "Z", [max(len(pages), int(about.get("images", 1)))]
        total = shape[0]
    if len(pages) == 1 and total > 1:
        return _run(file, first, axes, shape, path, "ImageJ TIFF")
    check_alike(pages, [directories.index(one) for one in pages], path.name)
    notes: tuple[str, ...] = ()
    if len(pages) != total:
        if sizes["C"] > 1 or min(sizes["T"], sizes["Z"]) > 1:
            raise StackError(
                f"{path.name} has {len(pages)} pages, but its ImageJ header says {total}: save it from Fiji again."
            )
        notes = (f"its ImageJ header says {total} slices, but it has {len(pages)} pages, which are read",)
        axes, shape = "Z", [len(pages)]
    return picture_of_pages(pages, axes, shape, path, kind="ImageJ TIFF", notes=notes)


def _run(file: Any, first: Directory, axes: str, counts: Sequence[int], path: Path, kind: str) -> Picture:
    """Planes one after the other behind one page: how ImageJ writes stacks of more than 4 GB."""
    page, total = file.pages[0], prod(counts)
    plane = prod(first.shape) * page.dtype.itemsize
    end = page.dataoffsets[0] + total * plane
    plain = first.value(259) == 1 and first.value(258) == 8 * page.dtype.itemsize and first.value(277) == 1
    if not plain or end > path.stat().st_size:
        raise StackFileError(
            f"{path.name} is incomplete: its header says {total} planes, and the file holds one page that ends "
            "before them."
        )
    places = np.stack([np.zeros(total), np.full(total, first.offset), np.arange(total)], axis=1).astype(np.int64)
    axes, shape, note = _named(axes + "YX", (*counts, *first.shape))
    return Picture(axes, shape, places, (path,), first, kind, "run", notes=(note,) if note else ())


def pictures_of_tifffile(file: Any, directories: Sequence[Directory], path: Path) -> list[Picture] | None:
    """Pictures as tifffile finds them for formats whose headers it knows; None where there is none of these."""
    if not any(getattr(file, f"is_{kind}", False) for kind in _KINDS_OF_TIFFFILE):
        return None
    if file.is_mmstack or file.is_ndtiff:  # these would be looked for in other files
        return None
    by_offset = {one.offset: one for one in directories}
    pictures = []
    for number, series in enumerate(file.series):
        if series.kind not in _KINDS_OF_TIFFFILE:
            return None
        level = series.levels[0]
        page = level.keyframe
        first = by_offset.get(int(page.offset))
        if first is None or (first.is_colour and number):
            continue
        pictures.append(_picture_of_series(file, level, first, by_offset, number, path))
    return _written_one_by_one(pictures, path) if pictures else None


def _picture_of_series(
    file: Any, series: Any, first: Directory, by_offset: dict[int, Directory], number: int, path: Path
) -> Picture:
    kind = {"lsm": "LSM", "stk": "MetaMorph STK"}.get(series.kind, "TIFF")
    shape, axes = tuple(int(n) for n in series.shape), series.axes.upper()
    inner = prod(n for n in first.shape) * first.value(277) * first.value(32997)
    count = prod(shape) // max(1, inner)
    # As many leading axes as pages are told apart by; the others are those of a page.
    outer = next((k for k in range(len(shape), -1, -1) if prod(shape[:k]) == count), None)
    if outer is None or count * inner != prod(shape):
        raise StackError(f"The shape {shape} that {path.name} claims does not fit its pages of {first.described()}.")
    trailing = [n for n in shape[outer:] if n > 1]
    if len(trailing) > 0 and axes[outer:].strip("SCZQIYX"):
        raise StackError(f"The file's axes are {axes}: rows and columns must come last (YX).")
    named = [letter for letter in axes[outer:] if letter in "YXZ"]
    if [letter for letter in named if letter in "YX"] not in (["Y", "X"], []):
        raise StackError(f"The file's axes are {axes}: rows and columns must come last (YX).")
    letters, counts = axes[:outer].replace("S", "C"), shape[:outer]
    if any(letter in "YX" for letter in letters):
        raise StackError(f"The file's axes are {axes}: rows and columns must come last (YX).")
    pages = [series.pages[k] for k in range(min(count, len(series.pages)))]
    offsets = [int(page.offset) if page is not None else -1 for page in pages]
    if len(pages) < count or (count > 1 and not all(offset in by_offset for offset in offsets)):
        return _run(file, first, letters, counts, path, kind)
    alike = [by_offset[offset] for offset in offsets]
    numbers = {one.offset: k for k, one in enumerate(by_offset.values())}
    check_alike(alike, [numbers[one.offset] for one in alike], path.name)
    if series.kind == "lsm":  # tifffile mends the offsets of its pages
        places = [(0, k) for k in range(count)]
        return picture_of_places(
            places, first, letters, counts, path.name, files=(path,), kind=kind, how="series", number=number
        )
    return picture_of_pages(alike, letters, counts, path, kind=kind, number=number)


def _written_one_by_one(pictures: list[Picture], path: Path) -> list[Picture]:
    """Single pictures of one size that a program appended one by one are the slices of a stack."""
    first = pictures[0]
    single = all(len(one.places) == 1 and one.how == "pages" for one in pictures)
    alike = all((one.first.shape, one.first.kind) == (first.first.shape, first.first.kind) for one in pictures)
    if len(pictures) < 3 or not single:
        return pictures
    if not alike:
        return plain_pictures([one.first for one in pictures], path)
    places = np.concatenate([one.places for one in pictures])
    note = f"{len(pictures)} images of the same size, written one after the other, are read as slices"
    return [
        Picture("ZYX", (len(pictures), *first.first.shape), places, (path,), first.first, first.kind, notes=(note,))
    ]
