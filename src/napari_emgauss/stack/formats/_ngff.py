"""Images as OME-Zarr describes them (NGFF 0.3 to 0.6): levels, axes, and the size of a voxel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from napari_emgauss.stack._size_rules import without_unit
from napari_emgauss.stack._voxel_size import VoxelSize, nm_per_unit

_SOURCE = "OME-Zarr metadata"
# What programs call axes, where it does not begin with the letter.
_AXIS_LETTERS = {"depth": "Z", "slice": "Z", "plane": "Z", "height": "Y", "row": "Y", "width": "X", "column": "X"}
_LETTER_OF_TYPE = {"channel": "C", "time": "T"}


def ome_attributes(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """NGFF metadata of a group: under ``ome`` since 0.5, at the top before."""
    inner = attributes.get("ome")
    return inner if isinstance(inner, Mapping) else attributes


def multiscale_of(attributes: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first image that the attributes of a group describe; None where they describe none."""
    multiscales = ome_attributes(attributes).get("multiscales")
    if isinstance(multiscales, list) and multiscales and isinstance(multiscales[0], Mapping):
        found: Mapping[str, Any] = multiscales[0]
        return found
    return None


def level_names(multiscale: Mapping[str, Any]) -> list[str]:
    """Paths of an image's levels within its group, the finest first."""
    levels = multiscale.get("datasets")
    return [str(one["path"]) for one in levels if isinstance(one, Mapping) and "path" in one] if levels else []


def axis_letter(name: Any, kind: Any = None) -> str:
    """The letter of an axis by its name, or by its type where that says more."""
    text = str(name).strip().lower()
    return _LETTER_OF_TYPE.get(str(kind), _AXIS_LETTERS.get(text.removesuffix("s"), text[:1].upper() or "?"))


def letters_of(names: Sequence[Any]) -> str | None:
    """Letters of named axes; None where rows and columns are not among them."""
    letters = "".join(axis_letter(name) for name in names)
    return letters if letters.count("Y") == 1 and letters.count("X") == 1 else None


def describe_level(multiscale: Mapping[str, Any], level: str, dimensions: int) -> tuple[str | None, VoxelSize]:
    """Axis letters (None where there are none) and voxel size of one level of an image.

    Scales of the level and of the whole image follow each other, as the specification has them.
    """
    axes = _axes(multiscale)
    datasets = multiscale.get("datasets") or []
    dataset = next((one for one in datasets if isinstance(one, Mapping) and str(one.get("path")) == level), {})
    if len(axes) != dimensions:
        return None, VoxelSize()
    # Since 0.4 axes are mappings, in 0.3 plain letters.
    described = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in axes]
    letters = "".join(axis_letter(axis.get("name"), axis.get("type")) for axis in described)
    scales = [*_scales(dataset, dimensions), *_scales(multiscale, dimensions)]
    # Some write the scale into an attribute "transform" of the level, with axes of its own.
    if not scales and isinstance(dataset.get("transform"), Mapping):
        return letters, size_of_transform(dataset["transform"], _SOURCE)
    if not scales:
        return letters, VoxelSize()
    total = [1.0] * dimensions
    for scale in scales:
        total = [a * b for a, b in zip(total, scale, strict=True)]
    sizes = dict(zip(letters, total, strict=True))
    units = {letter: axis.get("unit") for letter, axis in zip(letters, described, strict=True)}
    return letters, sized(sizes, units, _SOURCE)


def _axes(multiscale: Mapping[str, Any]) -> list[Any]:
    """Axes of an image; since 0.6 those of its first coordinate system."""
    axes = multiscale.get("axes")
    systems = multiscale.get("coordinateSystems")
    if not isinstance(axes, list) and isinstance(systems, list) and systems and isinstance(systems[0], Mapping):
        axes = systems[0].get("axes")
    return axes if isinstance(axes, list) else []


def _scales(described: Mapping[str, Any], dimensions: int) -> Iterator[list[float]]:
    """Every scale among the transformations of a level or an image, those within sequences, too."""
    yield from _scales_among(described.get("coordinateTransformations") or [], dimensions)


def _scales_among(transformations: Iterable[Any], dimensions: int) -> Iterator[list[float]]:
    for one in transformations:
        if not isinstance(one, Mapping):
            continue
        if one.get("type") == "sequence":
            yield from _scales_among(one.get("transformations") or [], dimensions)
        scale = one.get("scale")
        if one.get("type") == "scale" and isinstance(scale, list) and len(scale) == dimensions:
            yield [float(size) for size in scale]


def size_of_transform(transform: Mapping[str, Any], source: str) -> VoxelSize:
    """The voxel size of a transformation as cell atlases write it: lists ``axes``, ``scale`` and ``units``."""
    axes, scale, units = (transform.get(key) for key in ("axes", "scale", "units"))
    if not isinstance(axes, list) or not isinstance(scale, list) or len(axes) != len(scale):
        return VoxelSize()
    units = units if isinstance(units, list) and len(units) == len(axes) else [None] * len(axes)
    letters = [axis_letter(axis) for axis in axes]
    return sized(
        {letter: float(size) for letter, size in zip(letters, scale, strict=True)},
        dict(zip(letters, units, strict=True)),
        source,
    )


def sized(sizes: Mapping[str, float], units: Mapping[str, Any], source: str) -> VoxelSize:
    """A voxel size from numbers and units by axis letter.

    Where no axis has a unit, the rules for numbers without one hold; a unit that is no length makes its size unknown.
    """
    if not any(units.get(axis) for axis in "ZYX"):
        return without_unit([sizes.get(axis) for axis in "ZYX"], source)
    found: list[float | None] = []
    for axis in "ZYX":
        factor = nm_per_unit(str(units.get(axis))) if units.get(axis) else None
        found.append(sizes[axis] * factor if axis in sizes and factor is not None else None)
    z, y, x = found
    return VoxelSize(z, y, x, source=source) if any(found) else VoxelSize()
