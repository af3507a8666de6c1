"""Zarr and OME-Zarr on servers: metadata by their names, values through tensorstore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack._address import Address
from napari_emgauss.stack._array_slices import ArraySlices, guess_axes
from napari_emgauss.stack._source import OpenedFile, Selection
from napari_emgauss.stack._voxel_size import VoxelSize

from ._ngff import describe_level, letters_of, level_names, multiscale_of, ome_attributes
from ._places import Place, PlacedArray
from ._remote_nodes import Node, Nodes, joined
from ._tree import Candidate, choose_array, voxel_size_of_attributes


def open_remote_zarr(address: Address, selection: Selection) -> OpenedFile:
    """Open an array, or an OME-Zarr image at its finest level (or the level asked for).

    Raises
    ------
    StackFileError
        There is none, it is damaged, or the server fails.
    StackError
        No stack in it, or several and none chosen.
    """
    nodes = Nodes(address, _read)
    name = _array_name(nodes, nodes.wanted(selection.dataset))
    node = nodes.get(name)
    if node is None or not node.is_array:
        raise StackFileError(f"{address} is damaged: its array {name.removeprefix(nodes.here).strip('/')} is missing.")
    arguments: tuple[Place, str, dict[str, Any], bool] = (nodes.place(name), node.driver, {}, False)
    array = PlacedArray(*arguments)
    kind, letters, size = _described(nodes, name, node, len(array.shape))
    slices = ArraySlices(PlacedArray, arguments, selection, letters or guess_axes(array.shape), address.name)
    shown = name.removeprefix(nodes.here).strip("/")
    return OpenedFile(
        slices,
        size,
        kind,
        (slices.note,) if slices.note else (),
        metadata={"dataset": shown} if shown else {},
        channels=slices.channels,
    )


def _read(place: Place) -> Node | None:
    newer = place.read_json("zarr.json")
    if newer is not None:
        driver = "zarr3" if newer.get("node_type") == "array" else ""
        attributes = dict(_mapping(newer.get("attributes")))
        for key in ("dimension_names", "consolidated_metadata"):
            if newer.get(key):
                attributes[f"_{key}"] = newer[key]
        return Node(driver, attributes)
    found = place.read_json(".zattrs")
    array = place.read_json(".zarray")
    if array is not None:
        return Node("zarr", found or {})
    if found is None and place.read_json(".zgroup") is None:
        return None
    return Node("", found or {})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _array_name(nodes: Nodes, name: str) -> str:
    """The array that is meant by a node: of an image its finest level."""
    node = nodes.get(name)
    if node is None or node.is_array:
        return name
    multiscale = multiscale_of(node.attributes)
    if multiscale is not None:
        levels = level_names(multiscale)
        if not levels:
            raise StackFileError(f"{nodes.address} is an OME-Zarr without any levels.")
        return joined(name, levels[0])
    if "bioformats2raw.layout" in ome_attributes(node.attributes) and nodes.get(joined(name, "0")) is not None:
        return _array_name(nodes, joined(name, "0"))
    listed = _consolidated(nodes.place(name), node)
    if listed:
        return joined(name, choose_array(listed, None, nodes.address.name))
    raise StackError(
        f"{nodes.address} is a group whose arrays cannot be listed on a server",
        remedy=remedy("choose dataset", example="volumes/raw"),
    )


def _consolidated(place: Place, node: Node) -> list[Candidate]:
    """Arrays that a group lists, where its writer consolidated the metadata."""
    found = []
    newer = _mapping(_mapping(node.attributes.get("_consolidated_metadata")).get("metadata"))
    older = {} if newer else _mapping(_mapping(place.read_json(".zmetadata")).get("metadata"))
    for path, about in {**newer, **older}.items():
        inner = path.removesuffix("/.zarray") if path.endswith(".zarray") else path if path in newer else ""
        kind = _mapping(about).get("dtype", _mapping(about).get("data_type"))
        if inner and isinstance(kind, str) and isinstance(_mapping(about).get("shape"), list):
            found.append(Candidate(inner, tuple(int(n) for n in about["shape"]), kind))
    return found


def _described(nodes: Nodes, name: str, node: Node, dimensions: int) -> tuple[str, str | None, VoxelSize]:
    """Format, axis letters and voxel size: what the array says, or the nearest group above that says anything."""
    names = node.attributes.get("_dimension_names") or node.attributes.get("_ARRAY_DIMENSIONS")
    letters = letters_of(names) if isinstance(names, list) and len(names) == dimensions and all(names) else None
    size = voxel_size_of_attributes(node.attributes, "Zarr attributes")
    for _, group, level in nodes.above(name):
        multiscale = multiscale_of(group.attributes)
        if multiscale is not None and level in level_names(multiscale):
            named, found = describe_level(multiscale, level, dimensions)
            return "OME-Zarr", named or letters, found if found != VoxelSize() else size
        if size == VoxelSize():
            size = voxel_size_of_attributes(group.attributes, "Zarr attributes")
    return "Zarr", letters, size
