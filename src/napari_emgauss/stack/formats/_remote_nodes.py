"""Groups and arrays of Zarr and N5 containers on servers, which can be asked for and not listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack._address import Address

from ._containers import checked_name
from ._places import Place, place_of

# So far above an address its container may begin.
_MOST_UP = 4


@dataclass(frozen=True)
class Node:
    """A group or an array.

    Parameters
    ----------
    driver : str
        Of tensorstore, for an array; empty for a group.
    attributes : mapping
    """

    driver: str
    attributes: Mapping[str, Any]

    @property
    def is_array(self) -> bool:
        """Whether it has values."""
        return bool(self.driver)


Reader = Callable[[Place], Node | None]


class Nodes:
    """Nodes by their paths, each asked for once; those above the address, too, for what they say of it.

    Parameters
    ----------
    address : Address
    read : callable
        Reads one node; None where there is none.
    """

    def __init__(self, address: Address, read: Reader) -> None:
        self.address, self._read = address, read
        base, names = place_of(address), list[str]()
        for _ in range(_MOST_UP):
            above = base.parent
            if above is None:
                break
            names.insert(0, base.path.rpartition("/")[2])
            base = above
        self._base, self.here = base, "/".join(names)
        self._known: dict[str, Node | None] = {}

    def place(self, name: str) -> Place:
        """The folder of a node."""
        return self._base.within(name)

    def get(self, name: str) -> Node | None:
        """A node; None where there is none."""
        if name not in self._known:
            try:
                self._known[name] = self._read(self.place(name))
            except StackFileError:
                if name.startswith(self.here):
                    raise
                self._known[name] = None  # above what was named, a server may show nothing
        return self._known[name]

    def wanted(self, dataset: str | int | None) -> str:
        """Path of what the user names: the address itself, or a dataset within.

        Raises
        ------
        StackError
            There is nothing of that name.
        StackFileError
            There is nothing at the address.
        """
        if self.get(self.here) is None and dataset is None:
            raise StackFileError(f"There is nothing that can be read at {self.address}.")
        if dataset is None:
            return self.here
        name = joined(self.here, checked_name(dataset, self.address.name))
        if self.get(name) is None:
            raise StackError(f"There is no array {dataset} in {self.address}.")
        return name

    def above(self, name: str) -> list[tuple[str, Node, str]]:
        """Groups above a node, the nearest first: path, node, and the path from there."""
        parts, found = name.split("/"), list[tuple[str, Node, str]]()
        for depth in range(len(parts) - 1, -1, -1):
            group = "/".join(parts[:depth])
            node = self.get(group)
            if node is None and len(group) < len(self.here):
                break  # beyond the container
            if node is not None:
                found.append((group, node, "/".join(parts[depth:])))
        return found


def joined(*names: str) -> str:
    """A path of parts that may be empty."""
    return "/".join(name.strip("/") for name in names if name.strip("/"))
