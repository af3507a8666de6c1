"""OME-TIFF: which page of which file is each plane, as the OME-XML says (OME model 2016-06, TiffData).

The XML is somebody else's: it may name other files, and numbers of planes that no file has. Only files in the folder of
the one that the user named are read, and numbers are compared with what is there before anything is made of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path, PureWindowsPath
from xml.etree import ElementTree

import numpy as np

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._axes import MAX_SLICES

from ._tiff_directories import Directory, read_directories
from ._tiff_pictures import Picture, check_alike, picture_of_places

_LARGEST_XML = 256 << 20


class NoOmeError(StackFileError):
    """The OME-XML says nothing that can be used; the file may be read by its other headers."""


@dataclass
class _Files:
    """The files that an OME-XML names, opened as they are asked for."""

    path: Path
    own: tuple[Directory, ...]
    paths: list[Path] = field(default_factory=list)
    pages: list[tuple[Directory, ...]] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.paths, self.pages = [self.path], [self.own]
        self._numbers: dict[str, int] = {self.path.name: 0}

    def number_of(self, name: str) -> int | None:
        """Number of a file that is named; None when it is not there."""
        if name not in self._numbers:
            other = beside(self.path, name)
            if not other.is_file():
                self.missing.add(name)
                return None
            self._numbers[name] = len(self.paths)
            self.paths.append(other)
            self.pages.append(read_directories(other))
        return self._numbers[name]


def beside(path: Path, name: str) -> Path:
    """The file of this name in the folder of ``path``.

    Raises
    ------
    StackFileError
        The name leads out of that folder: what lies elsewhere is not this file's to show.
    """
    foreign = PureWindowsPath(name)  # knows both kinds of slashes, and drives
    outside = bool(foreign.anchor) or ".." in foreign.parts or not name.strip() or "\0" in name
    other = path.parent / Path(*foreign.parts) if not outside else path
    if not outside:
        # Links within the folder are fine; those that lead elsewhere only as far as the named file itself does.
        homes = {path.parent.resolve(), path.resolve().parent}
        outside = not any(other.resolve().is_relative_to(home) for home in homes)
    if outside:
        raise StackFileError(
            f"{path.name} names another file outside its own folder ({name[:60]!r}), which is not read: put the files "
            "of a multi-file OME-TIFF into one folder."
        )
    return other


def ome_pictures(xml: str, path: Path, directories: Sequence[Directory]) -> list[Picture]:
    """The pictures that an OME-XML describes.

    Raises
    ------
    NoOmeError
        The XML cannot be used.
    StackFileError
        Planes are missing, or it names files outside the folder.
    StackError
        Its planes differ in size or type.
    """
    root = _parsed(xml, path)
    files = _Files(path, tuple(directories))
    found = [
        _picture(pixels, root.get("UUID"), files, number)
        for number, pixels in enumerate(one for one in root.iter() if _tag(one) == "Pixels")
    ]
    pictures = [picture for picture in found if picture is not None]
    if not pictures:
        raise NoOmeError(f"{path.name} has OME metadata without images.")
    return pictures


def named_files(xml: str, path: Path) -> set[str]:
    """Names of all files that an OME-XML names; empty where it names none."""
    try:
        root = _parsed(xml, path)
    except StackFileError:
        return set()
    return {name for one in root.iter() if _tag(one) == "UUID" and (name := one.get("FileName"))}


def parsed_pixels(xml: str) -> list[ElementTree.Element]:
    """The ``Pixels`` elements of an OME-XML; none where it cannot be read."""
    try:
        root = ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError):
        return []
    return [one for one in root.iter() if _tag(one) == "Pixels"]


def full_xml(xml: str, path: Path) -> str:
    """The OME-XML itself, or of a file that only points at it, that of the metadata file beside it."""
    try:
        root = ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError):
        return xml
    pointer = next((one for one in root if _tag(one) == "BinaryOnly"), None)
    name = None if pointer is None else pointer.get("MetadataFile")
    if name is None:
        return xml
    other = beside(path, name)
    if not other.is_file() or other.stat().st_size > _LARGEST_XML:
        raise StackFileError(f"{path.name} is part of an OME-TIFF in several files: {name} is missing beside it.")
    if other.suffix.lower() in (".tif", ".tiff", ".btf"):
        import tifffile

        with tifffile.TiffFile(other) as file:
            return file.ome_metadata or xml
    return other.read_text(encoding="utf-8", errors="replace")


def _parsed(xml: str, path: Path) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(full_xml(xml, path))
    except (ElementTree.ParseError, ValueError) as error:
        raise NoOmeError(f"{path.name} has OME metadata that cannot be read.") from error


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _picture(pixels: ElementTree.Element, uuid: str | None, files: _Files, number: int) -> Picture | None:
    name = files.path.name
    try:
        order = pixels.attrib["DimensionOrder"].upper()
        sizes = {axis: int(pixels.attrib[f"Size{axis}"]) for axis in "XYZCT"}
    except (KeyError, ValueError) as error:
        raise NoOmeError(f"{name} has OME metadata without the sizes of its axes.") from error
    if sorted(order) != list("CTXYZ") or not order.startswith("XY") or min(sizes.values()) < 1:
        raise NoOmeError(f"{name} has OME metadata whose axes make no sense.")
    samples = _samples(pixels)
    if samples > 1 and sizes["C"] % samples == 0:
        sizes["C"] //= samples
    axes = order[:1:-1]
    counts = [sizes[axis] for axis in axes]
    if prod(counts) > MAX_SLICES:
        raise StackFileError(f"{name} claims {prod(counts)} planes: that is more than can be read, or it is damaged.")
    places = np.full((prod(counts), 2), -1, dtype=np.int64)
    for where, file, page in _planes(pixels, axes, counts, uuid, files):
        places[where] = file, page
    known = places[:, 0] >= 0
    if not known.any() and not files.missing:
        return None
    if not known.all():
        others = f", among them {sorted(files.missing)[0]}" if files.missing else ""
        raise StackFileError(
            f"{name} is incomplete: {int((~known).sum())} of {len(known)} planes are missing (a truncated copy, or "
            f"other files of a multi-file OME-TIFF are not beside it{others})."
        )
    found = [files.pages[file][page] for file, page in places]
    _check(found, places, files)
    offsets = [(int(file), one.offset) for (file, _), one in zip(places, found, strict=True)]
    notes = tuple(_notes(pixels, sizes, found[0], places, files))
    return picture_of_places(
        offsets, found[0], axes, counts, name, files=tuple(files.paths), kind="OME-TIFF", number=number, notes=notes
    )


def _samples(pixels: ElementTree.Element) -> int:
    for one in pixels:
        if _tag(one) == "Channel":
            try:
                return max(1, int(one.get("SamplesPerPixel", "1")))
            except ValueError:
                return 1
    return 1


def _planes(
    pixels: ElementTree.Element, axes: str, counts: Sequence[int], uuid: str | None, files: _Files
) -> Iterator[tuple[int, int, int]]:
    """Plane, file and page of each part that the metadata speak of, as far as they are there."""
    total = prod(counts)
    blocks = [one for one in pixels if _tag(one) == "TiffData"]
    if not blocks:
        yield from ((k, 0, k) for k in range(min(total, len(files.own))))
        return
    for block in blocks:
        try:
            ifd = int(block.get("IFD", "0"))
            firsts = [int(block.get(f"First{axis}", "0")) for axis in axes]
            asked = block.get("PlaneCount", block.get("NumPlanes"))
            count = int(asked) if asked is not None else (1 if "IFD" in block.attrib else total)
        except ValueError as error:
            raise NoOmeError(f"{files.path.name} has OME metadata whose pages make no sense.") from error
        if ifd < 0 or any(not 0 <= first < size for first, size in zip(firsts, counts, strict=True)):
            continue  # as ImageJ leaves them where it has cut a stack
        start = int(np.ravel_multi_index(firsts, counts)) if counts else 0
        file = _file_of(block, uuid, files)
        if file is None:
            continue
        for k in range(min(count, total - start, len(files.pages[file]) - ifd)):
            yield start + k, file, ifd + k


def _file_of(block: ElementTree.Element, uuid: str | None, files: _Files) -> int | None:
    named = next((one for one in block if _tag(one) == "UUID"), None)
    if named is None or (uuid is not None and (named.text or "").strip() == uuid):
        return 0
    name = named.get("FileName")
    if name is None:
        files.missing.add((named.text or "").strip())
        return None
    # A file that was given another name since is still itself.
    return files.number_of(name)


def _check(found: Sequence[Directory], places: np.ndarray, files: _Files) -> None:
    first = found[0]
    for one, (file, page) in zip(found, places, strict=True):
        if (one.shape, one.kind) == (first.shape, first.kind):
            continue
        if file == places[0, 0]:
            check_alike([first, one], [int(places[0, 1]), int(page)], files.paths[int(file)].name)
        raise StackError(
            f"{files.paths[int(file)].name} has {one.described()}, but {files.paths[int(places[0, 0])].name} has "
            f"{first.described()}: the slices of a stack must have one size and type."
        )


def _notes(
    pixels: ElementTree.Element, sizes: dict[str, int], first: Directory, places: np.ndarray, files: _Files
) -> Iterator[str]:
    if (sizes["Y"], sizes["X"]) != first.shape:
        yield (
            f"its OME metadata say {sizes['Y']} x {sizes['X']} pixels, but its pages have "
            f"{first.shape[0]} x {first.shape[1]}, which are read"
        )
    form, bits = {2: "int", 3: "float"}.get(first.value(339), "uint"), first.value(258)
    stored = f"{form}{bits}"
    said = {"float": "float32", "double": "float64"}.get(pixels.get("Type", stored), pixels.get("Type", stored))
    if said != stored and first.value(262) in (0, 1) and bits in (8, 16, 32, 64):
        yield f"its OME metadata say {said} values, but its pages hold {stored}, which are read"
    own = sum(not one.is_reduced for one in files.own)
    used = len({int(page) for file, page in places if file == 0})
    if used < own and len({id(one) for one in files.own}) == own:
        yield f"{own - used} of its {own} pages belong to no plane of this image and are left out"
