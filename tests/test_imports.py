"""Who may import whom, and what an import may load."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Container, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import napari_emgauss

PACKAGE = Path(napari_emgauss.__file__).parent
ROOT = Path(__file__).resolve().parents[1]


def modules_of_public_names() -> dict[str, str]:
    """Each public name of the top level and the package that it comes from, as the stub says."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


MODULE_OF = modules_of_public_names()
GUI_LIBRARIES = ("napari", "magicgui", "superqt", "pyqtgraph", "vispy", "qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6")


def architecture_order() -> list[list[str]]:
    """Levels of packages as docs/architecture.md draws them, the foundation first."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if " ← " in line)
    return [level.split(" / ") for level in line.strip().split(" ← ")]


GROUND_FLOOR = {path.stem for path in PACKAGE.glob("_*.py")}


def source_files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def part_of(path: Path) -> str:
    """The package (or top-level module) of napari_emgauss that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(tree: ast.AST, path: Path) -> set[str]:
    """Parts of napari_emgauss that a file imports anywhere, inside functions too."""
    found: set[str] = set()
    own = ("napari_emgauss", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = (*own[: len(own) - node.level + 1], node.module or "") if node.level else (node.module or "",)
            prefix = ".".join(filter(None, base))
            dotted = [f"{prefix}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in dotted:
            parts = name.split(".")
            if parts[0] == "napari_emgauss" and len(parts) > 1:
                is_public_name = isinstance(node, ast.ImportFrom) and len(parts) == 2 and parts[1] in MODULE_OF
                found.add(MODULE_OF[parts[1]] if is_public_name else parts[1])
    return found - {"__version__"}


def test_imports_are_found_in_every_spelling() -> None:
    code = """
import napari_emgauss.stack
from napari_emgauss.model import ModelConfig
from napari_emgauss import read_stack, splat
from ..fitting._loop import run
from ._own import x
def later():
    from napari_emgauss.volume._grid import y
"""
    path = PACKAGE / "priors" / "_flow.py"
    assert imported_parts(ast.parse(code), path) == {"stack", "model", "render", "fitting", "priors", "volume"}


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_one_way(path: Path) -> None:
    levels = architecture_order()
    level_of = {part: level for level, parts in enumerate(levels) for part in parts}
    here = part_of(path)
    assert here in level_of, f"{here} is not in docs/architecture.md: draw it there first"
    for part in imported_parts(ast.parse(path.read_text(encoding="utf-8")), path) - {here}:
        assert part in level_of, f"{path} imports {part}, which docs/architecture.md does not draw"
        assert level_of[part] < level_of[here], f"{here} must not import {part}: it stands to its right"


def private_imports_across_packages(tree: ast.AST, path: Path) -> set[str]:
    """Private modules and names of other packages of the project that a file imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("napari_emgauss."):
            parts = (node.module or "").split(".")[1:]
            names = [alias.name for alias in node.names]
            is_foreign = parts[0] != part_of(path) and not (len(parts) == 1 and parts[0] in GROUND_FLOOR)
            if is_foreign and any(name.startswith("_") for name in [*parts[1:], *names]):
                found.add(".".join(parts))
    return found


def test_private_imports_are_found() -> None:
    code = """
from napari_emgauss._errors import StackError
from napari_emgauss.priors._flow import x
from napari_emgauss.stack.formats._tiff import y
from napari_emgauss.render import _backends
"""
    path = PACKAGE / "priors" / "_auto.py"
    assert private_imports_across_packages(ast.parse(code), path) == {"stack.formats._tiff", "render"}


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_packages_talk_through_public_names(path: Path) -> None:
    assert private_imports_across_packages(ast.parse(path.read_text(encoding="utf-8")), path) == set()


def dotted_name(path: Path) -> str:
    parts = ("napari_emgauss", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def absolute(node: ast.ImportFrom, path: Path) -> str:
    """The module that a ``from ... import`` names, spelled out."""
    own = ("napari_emgauss", *path.relative_to(PACKAGE).parts[:-1])
    base = own[: len(own) - node.level + 1] if node.level else ()
    return ".".join([*base, *filter(None, [node.module])])


def names_in_stubs() -> dict[tuple[str, str], str]:
    """Package and name to the module that a stub says the name is from."""
    found: dict[tuple[str, str], str] = {}
    for stub in PACKAGE.rglob("*.pyi"):
        for node in ast.parse(stub.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                package = dotted_name(stub)
                found |= {(package, alias.asname or alias.name): absolute(node, stub) for alias in node.names}
    return found


def run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node of a file, inside functions too, but for what only type checkers read."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other
                yield from run_time_nodes(other)
            continue
        yield child
        yield from run_time_nodes(child)


def imported_modules(tree: ast.AST, path: Path, modules: Container[str], stubs: dict[tuple[str, str], str]) -> set[str]:
    """Modules of the project that a file imports, lazy public names followed to where they are made."""
    found: set[str] = set()
    for node in run_time_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in modules}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module = absolute(node, path)
                while (module, alias.name) in stubs:
                    module = stubs[module, alias.name]
                found |= {name for name in (f"{module}.{alias.name}", module) if name in modules}
    return found - {dotted_name(path)}


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or by way of others: each a sorted list."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for name in imports.get(waiting.pop(), set()) - seen:
                seen.add(name)
                waiting.append(name)
        return seen

    reach = {name: reached(name) for name in imports}
    groups = {frozenset(other for other in reach[name] if name in reach.get(other, set())) for name in imports}
    return sorted(sorted(group) for group in groups if group)


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set()}) == [["a", "b", "c"]]
    code = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from napari_emgauss.fitting._fit import fit
def later():
    from . import _flow
    from napari_emgauss.priors import get_prior
"""
    path = PACKAGE / "priors" / "_auto.py"
    modules = {"napari_emgauss.priors._flow", "napari_emgauss.priors._registry", "napari_emgauss.fitting._fit"}
    stubs = {("napari_emgauss.priors", "get_prior"): "napari_emgauss.priors._registry"}
    assert imported_modules(ast.parse(code), path, modules, stubs) == {
        "napari_emgauss.priors._flow",
        "napari_emgauss.priors._registry",
    }


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not even inside functions: a circle there is a circle all the same, only found later."""
    files = {dotted_name(path): path for path in PACKAGE.rglob("*.py")}
    stubs = names_in_stubs()
    imports = {
        name: imported_modules(ast.parse(path.read_text(encoding="utf-8")), path, files, stubs)
        for name, path in files.items()
    }
    # Packages themselves only look up lazy names.
    packages = {dotted_name(path) for path in PACKAGE.rglob("__init__.py")}
    assert circles({name: found - packages for name, found in imports.items() if name not in packages}) == []


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_imports_light() -> None:
    loaded = json.loads(run_python("import json, sys, napari_emgauss; print(json.dumps(sorted(sys.modules)))"))
    heavy = {"torch", "numba", "scipy", "skimage", "dask", *GUI_LIBRARIES}
    assert heavy.isdisjoint(loaded)


def test_everything_but_the_plugin_imports_without_qt_and_napari() -> None:
    code = f"""
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {GUI_LIBRARIES!r}:
            raise ModuleNotFoundError(f"refused: {{name}}", name=name)

sys.meta_path.insert(0, Refuse())
import napari_emgauss
count = 0
for found in pkgutil.walk_packages(napari_emgauss.__path__, "napari_emgauss."):
    if not found.name.startswith("napari_emgauss.plugin") and not found.name.endswith("__main__"):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            # Kernels for graphics cards are looked into only where their compiler is installed.
            if error.name != "triton":
                raise
        count += 1
print(count)
"""
    everything_else = [
        path for path in source_files() if part_of(path) != "plugin" and path.name not in {"__init__.py", "__main__.py"}
    ]
    assert int(run_python(code)) >= len(everything_else)


def test_what_the_manifest_names_imports_without_torch() -> None:
    manifest = yaml.safe_load((PACKAGE / "napari.yaml").read_text(encoding="utf-8"))
    modules = {c["python_name"].partition(":")[0] for c in manifest["contributions"].get("commands", [])}
    code = f"""
import importlib, sys
for module in {sorted(modules)!r}:
    importlib.import_module(module)
print("torch" in sys.modules)
"""
    assert run_python(code).strip() == "False"


@pytest.mark.parametrize("name", napari_emgauss.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert not isinstance(getattr(napari_emgauss, name), ModuleType)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="does_not_exist"):
        _ = napari_emgauss.does_not_exist


def test_public_names_are_listed_once_and_completely() -> None:
    names = set(napari_emgauss.__all__)
    assert len(names) == len(napari_emgauss.__all__)
    assert names - {"__version__"} == set(MODULE_OF)
