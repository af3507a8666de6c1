"""docs/architecture.md is true: the rooms that its table names are there, in that order, with those names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import napari_emgauss

PACKAGE = Path(napari_emgauss.__file__).parent
PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
ROOMS_OF_THE_PLUGIN = ("process", "widgets", "view", "tabs")
GUI_LIBRARIES = ("napari", "magicgui", "superqt", "pyqtgraph", "vispy", "qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6")


def table() -> dict[str, list[str]]:
    """Each room of the page's table, without its closing slash or ending, and the public names beside it."""
    rows: dict[str, list[str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 3:
            room = cells[0].strip("`").removesuffix("/").removesuffix(".py")
            assert room not in rows, f"{room} has two rows"
            rows[room] = re.findall(r"`(\w+)`", cells[2])
    return rows


def drawn_order() -> list[str]:
    """Packages in the order of the drawing."""
    line = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if " ← " in line)
    return re.split(r" ← | / ", line.strip())


def names_of(room: str) -> set[str]:
    """Public names of a room: those of its stub, of a room within a package those that the package takes from it."""
    if (PACKAGE / f"{room}.py").is_file():
        tree = ast.parse((PACKAGE / f"{room}.py").read_text(encoding="utf-8"))
        return {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    package, _, inner = room.partition("/")
    stub = PACKAGE / package / "__init__.pyi"
    source = stub if stub.is_file() else PACKAGE / package / "__init__.py"
    imports = [node for node in ast.parse(source.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
    return {
        alias.asname or alias.name
        for node in imports
        for alias in node.names
        if not inner or (node.module or "").partition(".")[0] == inner
    }


def test_every_room_has_a_row_and_every_row_a_room() -> None:
    packages = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("*/**/__init__.py")}
    modules = {path.stem for path in PACKAGE.glob("_*.py")} - {"__init__"}
    assert set(table()) == packages | modules


def test_rows_stand_in_the_order_of_the_drawing() -> None:
    rooms = [room for room in table() if "/" not in room]
    assert rooms == drawn_order()
    packages = [room.partition("/")[0] for room in table()]
    assert packages == sorted(packages, key=rooms.index), "a room within a package stands below that package"


@pytest.mark.parametrize("room", [room for room, names in table().items() if names])
def test_public_names_come_from_that_room(room: str) -> None:
    assert set(table()[room]) <= names_of(room)


@pytest.mark.parametrize("room", ROOMS_OF_THE_PLUGIN)
def test_rooms_of_the_plugin_import_one_way(room: str) -> None:
    to_its_right = ROOMS_OF_THE_PLUGIN[ROOMS_OF_THE_PLUGIN.index(room) + 1 :]
    for path in (PACKAGE / "plugin" / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                dotted = f"{node.module}." + ".".join(alias.name for alias in node.names)
                found = re.match(r"napari_emgauss\.plugin\.(\w+)", dotted)
                assert found is None or found[1] not in to_its_right, f"{path.name} imports {found[1]}"


def test_the_room_of_processes_knows_neither_qt_nor_napari() -> None:
    code = f"""
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {GUI_LIBRARIES!r}:
            raise ModuleNotFoundError(f"refused: {{name}}", name=name)

sys.meta_path.insert(0, Refuse())
from napari_emgauss.plugin import process
found = [f"{{process.__name__}}.{{one.name}}" for one in pkgutil.iter_modules(process.__path__)]
for name in found:
    importlib.import_module(name)
print(len(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(list((PACKAGE / "plugin" / "process").glob("_[a-z]*.py")))
