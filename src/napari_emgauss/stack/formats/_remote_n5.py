"""N5 containers on servers: attributes by their names, values through tensorstore."""

from __future__ import annotations

from napari_emgauss._errors import StackError
from napari_emgauss._remedies import remedy
from napari_emgauss.stack._address import Address
from napari_emgauss.stack._array_slices import ArraySlices, guess_axes
from napari_emgauss.stack._source import OpenedFile, Selection

from ._n5 import axis_letters, size_by_attributes
from ._ngff import level_names, multiscale_of
from ._places import Place, PlacedArray
from ._remote_nodes import Node, Nodes, joined


def open_remote_n5(address: Address, selection: Selection) -> OpenedFile:
    """Open the array at an address, the finest level of a pyramid there, or the dataset asked for.

    Raises
    ------
    StackFileError
        There is none, it is damaged, or the server fails.
    StackError
        None is chosen of arrays that cannot be listed.
    """
    nodes = Nodes(address, _read)
    name = _array_name(nodes, nodes.wanted(selection.dataset))
    node = nodes.get(name)
    arguments: tuple[Place, str, dict[str, object], bool] = (nodes.place(name), "n5", {}, True)
    array = PlacedArray(*arguments)
    letters = axis_letters(node.attributes if node is not None else {}, len(array.shape))
    slices = ArraySlices(PlacedArray, arguments, selection, letters or guess_axes(array.shape), address.name)

    def attributes_of(place: str) -> dict[str, object]:
        found = nodes.get(place)
        return dict(found.attributes) if found is not None else {}

    shown = name.removeprefix(nodes.here).strip("/")
    return OpenedFile(
        slices,
        size_by_attributes(attributes_of, name),
        "N5",
        (slices.note,) if slices.note else (),
        metadata={"dataset": shown} if shown else {},
        channels=slices.channels,
    )


def _read(place: Place) -> Node | None:
    attributes = place.read_json("attributes.json")
    if attributes is None:
        return None
    return Node("n5" if "dimensions" in attributes and "dataType" in attributes else "", attributes)


def _array_name(nodes: Nodes, name: str) -> str:
    node = nodes.get(name)
    if node is not None and node.is_array:
        return name
    multiscale = multiscale_of(node.attributes) if node is not None else None
    for level in [*(level_names(multiscale) if multiscale is not None else []), "s0"]:
        found = nodes.get(joined(name, level))
        if found is not None and found.is_array:
            return joined(name, level)
    raise StackError(
        f"{nodes.address} is a group whose arrays cannot be listed on a server",
        remedy=remedy("choose dataset", example="em/s0"),
    )
