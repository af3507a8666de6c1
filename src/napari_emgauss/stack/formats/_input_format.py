"""One format that stacks are read from: its row in the registry."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from napari_emgauss._entry_points import imported
from napari_emgauss._errors import StackFileError
from napari_emgauss.stack._address import address_of

if TYPE_CHECKING:
    from napari_emgauss.stack._address import Address
    from napari_emgauss.stack._source import OpenedFile, Selection
    from napari_emgauss.stack._voxel_size import VoxelSize

    Opener = Callable[[Path, Selection], OpenedFile]
    RemoteOpener = Callable[[Address, Selection], OpenedFile]
    SizeReader = Callable[[Path, Selection], VoxelSize]


@dataclass(frozen=True)
class InputFormat:
    """A format that stacks are read from: its row in the registry.

    Parameters
    ----------
    name : str
        Short and unique, such as ``"mrc"``.
    label : str
        For people: ``"MRC"``.
    opener : str or callable
        ``(path, selection) -> OpenedFile``, or where to import it from when needed: ``"package.module:function"``.
    endings : tuple of str
        Of file names, lower case with their dot; the longest that fits decides. Empty for formats told by their folder.
    kind : {"file", "folder"}
        Whether a stack of this format is one file or a folder.
    marks : tuple of str
        Names of files that tell a folder to be of this format, whatever its own name.
    needs : tuple of str
        Packages to import, beyond those that every installation has.
    install : str
        What ``pip install`` brings them.
    otherwise : str
        What else can be done when they are missing: the end of a sentence.
    dataset : str
        What ``--dataset`` chooses; empty where a file holds one stack only.
    voxel_size : str
        Where the voxel size is from, for the documentation.
    reads, refuses, checked_with : str
        What is read and what is refused, and which programs wrote the files that the tests compare with.
    remote_opener : str or callable, optional
        ``(address, selection) -> OpenedFile`` where it can be read from a server; ``marks`` tell it there, too.
    size_reader : str or callable, optional
        ``(path, selection) -> VoxelSize`` where that can be told without opening the slices.
    """

    name: str
    label: str
    opener: str | Opener
    endings: tuple[str, ...] = ()
    kind: Literal["file", "folder"] = "file"
    marks: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    install: str = ""
    otherwise: str = ""
    dataset: str = ""
    voxel_size: str = ""
    reads: str = ""
    refuses: str = ""
    checked_with: str = ""
    remote_opener: str | RemoteOpener | None = None
    size_reader: str | SizeReader | None = None

    def missing(self) -> tuple[str, ...]:
        """Packages that it needs and that are not installed; looked for, not imported."""
        return tuple(package for package in self.needs if importlib.util.find_spec(package) is None)

    def open(self, path: Path, selection: Selection) -> OpenedFile:
        """Open a stack, without checks.

        Raises
        ------
        StackFileError
            A package is missing, or the file cannot be read.
        StackError
            It holds no stack, or several and none is chosen.
        """
        address = address_of(path)
        if address is not None:
            return self._open_remote(address, selection)
        self.check_installed(path)
        opener = cast("Opener", imported(self.opener)) if isinstance(self.opener, str) else self.opener
        return opener(path, selection)

    def _open_remote(self, address: Address, selection: Selection) -> OpenedFile:
        check_servers_can_be_read(address)
        place = self.remote_opener
        if place is None:
            raise StackFileError(f"{address} is {self.label}, which can be read from a disk only: download it first.")
        opener = cast("RemoteOpener", imported(place)) if isinstance(place, str) else place
        return opener(address, selection)

    def read_size(self, path: Path, selection: Selection) -> VoxelSize:
        """The voxel size as far as the file says, from its header alone where the format allows that."""
        if self.size_reader is None:
            return self.open(path, selection).voxel_size
        self.check_installed(path)
        place = self.size_reader
        reader = cast("SizeReader", imported(place)) if isinstance(place, str) else place
        return reader(path, selection)

    def check_installed(self, path: Path) -> None:
        """Refuse, with the command that helps, where a package is missing.

        Raises
        ------
        StackFileError
        """
        missing = self.missing()
        if missing:
            raise StackFileError(
                f"Reading {path.name} ({self.label}) needs {' and '.join(missing)}: {self.install_command}"
                f"{f', or {self.otherwise}' if self.otherwise else ''}."
            )

    @property
    def install_command(self) -> str:
        """The command that installs what it needs; empty where nothing is needed."""
        what = self.install or " ".join(self.needs)
        quoted = f"'{what}'" if "[" in what else what
        return f"pip install {quoted}" if what else ""


def check_servers_can_be_read(address: Address) -> None:
    """Refuse an address where the package that reads from servers is missing.

    Raises
    ------
    StackFileError
    """
    if importlib.util.find_spec("tensorstore") is None:
        raise StackFileError(
            f"Reading {address} from its server needs tensorstore: pip install 'napari-emgauss[remote]'."
        )
