"""Zarr and OME-Zarr (NGFF 0.4 and 0.5), through zarr."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._array_slices import ArraySlices, guess_axes
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize, nm_per_unit

from ._tree import Candidate, choose_array, voxel_size_of_attributes


def open_zarr(path: Path, selection: Selection) -> OpenedFile:
    """Open a Zarr array, or an OME-Zarr image at its finest level (or the level asked for).

    Raises
    ------
    StackFileError
        Not a Zarr that can be read.
    StackError
        No stack in it, or several and none chosen.
    """
    import zarr

    try:
        root = zarr.open(str(path), mode="r")
        if isinstance(root, zarr.Array):
            return _opened(path, "", root, selection, _array_axes(root), _attribute_size(root), "Zarr")
        prefix, group = _image_group(root, selection)
        multiscale = _multiscale(group)
        if multiscale is not None:
            return _open_level(path, prefix, group, multiscale, selection)
        found = [
            Candidate(name, tuple(item.shape), item.dtype)
            for name, item in root.members(max_depth=None)
            if isinstance(item, zarr.Array)
        ]
        chosen = choose_array(found, selection.dataset, path.name)
        array = root[chosen]
        size = _attribute_size(array)
        if not size.complete:
            size = voxel_size_of_attributes(dict(root.attrs), "Zarr attributes")
        return _opened(path, chosen, array, selection, _array_axes(array), size, "Zarr")
    except (StackError, KeyboardInterrupt):
        raise
    except Exception as error:  # stores and metadata fail in many ways
        raise StackFileError(f"{path.name} cannot be read as Zarr: it is damaged, or of another format.") from error


def _image_group(root: Any, selection: Selection) -> tuple[str, Any]:
    """The group of an image within a collection that bioformats2raw wrote: ``0``, or the one asked for."""
    attributes = _ome(root)
    if "bioformats2raw.layout" not in attributes:
        return "", root
    wanted = "0" if selection.dataset is None else str(selection.dataset).split("/")[0]
    if wanted not in root:
        raise StackError(f"There is no image {wanted} in this OME-Zarr.")
    return f"{wanted}/", root[wanted]


def _ome(group: Any) -> Mapping[str, Any]:
    """NGFF metadata: under ``ome`` since 0.5, at the top before."""
    attributes = dict(group.attrs)
    inner = attributes.get("ome")
    return inner if isinstance(inner, Mapping) else attributes


def _multiscale(group: Any) -> Mapping[str, Any] | None:
    multiscales = _ome(group).get("multiscales")
    if isinstance(multiscales, list) and multiscales and isinstance(multiscales[0], Mapping):
        return multiscales[0]
    return None


def _open_level(path: Path, prefix: str, group: Any, multiscale: Mapping[str, Any], selection: Selection) -> OpenedFile:
    datasets = [dataset for dataset in multiscale.get("datasets", []) if "path" in dataset]
    names = [str(dataset["path"]) for dataset in datasets]
    if not names:
        raise StackFileError(f"{path.name} is an OME-Zarr without a level.")
    wanted = None if selection.dataset is None else str(selection.dataset).removeprefix(prefix).strip("/")
    if wanted in (None, "", prefix.strip("/")):
        wanted = names[0]
    if wanted not in names:
        raise StackError(f"There is no level {wanted} in {path.name}: it has {', '.join(names)}.")
    dataset = datasets[names.index(wanted)]
    array = group[wanted]
    axes = multiscale.get("axes")
    if isinstance(axes, list) and len(axes) == array.ndim:
        # Since 0.4 axes are mappings, in 0.3 plain letters.
        letters = "".join(str(a["name"] if isinstance(a, Mapping) else a)[0] for a in axes).upper()
        units = [a.get("unit") if isinstance(a, Mapping) else None for a in axes]
    else:
        letters, units = guess_axes(array.shape), [None] * array.ndim
    scale = [1.0] * array.ndim
    told = False
    for transforms in (dataset.get("coordinateTransformations"), multiscale.get("coordinateTransformations")):
        for transform in transforms or []:
            if transform.get("type") == "scale" and len(transform.get("scale", [])) == array.ndim:
                scale = [a * float(b) for a, b in zip(scale, transform["scale"], strict=True)]
                told = True
    sizes: dict[str, float | None] = {}
    for letter, size, unit in zip(letters, scale, units, strict=True):
        factor = nm_per_unit(unit)
        sizes[letter] = size * factor if told and factor is not None else None
    voxel_size = VoxelSize(sizes.get("Z"), sizes.get("Y"), sizes.get("X"), source="OME-Zarr metadata")
    if not any((voxel_size.z_nm, voxel_size.y_nm, voxel_size.x_nm)):
        voxel_size = VoxelSize()
    return _opened(path, prefix + wanted, array, selection, letters, voxel_size, "OME-Zarr")


def _array_axes(array: Any) -> str:
    """Axis letters from the names some writers give (Zarr 3, xarray), else guessed."""
    names = getattr(array.metadata, "dimension_names", None) or dict(array.attrs).get("_ARRAY_DIMENSIONS")
    if names and len(names) == array.ndim and all(names):
        letters = "".join(str(name)[0] for name in names).upper()
        if letters.endswith("YX"):
            return letters
    return guess_axes(array.shape)


def _attribute_size(array: Any) -> VoxelSize:
    return voxel_size_of_attributes(dict(array.attrs), "Zarr attributes")


def _opened(
    path: Path, name: str, array: Any, selection: Selection, axes: str, voxel_size: VoxelSize, kind: str
) -> OpenedFile:
    slices = ArraySlices(_array, (path, name), selection, axes, path.name)
    notes = (slices.note,) if slices.note else ()
    return OpenedFile(
        slices, voxel_size, kind, notes, metadata={"dataset": name} if name else {}, channels=slices.channels
    )


def _array(path: Path, name: str) -> Any:
    import zarr

    return zarr.open_array(str(path / name) if name else str(path), mode="r")
