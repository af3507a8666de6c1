"""Public names have types: what a type checker sees of each is read once, in one generated file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import napari_emgauss

PACKAGE = Path(napari_emgauss.__file__).parent
ROOT = Path(__file__).resolve().parents[1]


def public_names() -> list[str]:
    """Every public name with its package, as the stubs of all packages list them."""
    found = []
    for stub in sorted(PACKAGE.rglob("__init__.pyi")):
        package = ".".join(("napari_emgauss", *stub.relative_to(PACKAGE).parts[:-1]))
        imports = [
            node for node in ast.parse(stub.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)
        ]
        found += [f"{package}.{alias.asname or alias.name}" for node in imports for alias in node.names]
    return found


def untyped_parts(revealed: str) -> list[str]:
    """The name itself, what it returns and its parameters, where they may be anything.

    Parts of containers (``dict[str, Any]``, an array's ``dtype[Any]``) and what a callable takes may be.
    """
    without_callables = revealed.replace("def (*Any, **Any)", "")
    return re.findall(r"^Any$|\*{0,2}\w+: Any\b|-> Any\b", without_callables)


def test_untyped_parts_are_found() -> None:
    assert untyped_parts("Any") == ["Any"]
    assert untyped_parts("def (name: str, **options: Any) -> Any") == ["**options: Any", "-> Any"]
    assert untyped_parts("def (values: dict[str, Any], make: (def (*Any, **Any) -> Prior)) -> NDArray[Any]") == []


def test_no_public_name_may_be_anything(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    names = public_names()
    lines = [f"import {package}" for package in sorted({name.rpartition(".")[0] for name in names})]
    before = len(lines)
    asking = tmp_path / "asking.py"
    asking.write_text("\n".join([*lines, *(f"reveal_type({name})" for name in names)]), encoding="utf-8")
    answer, errors, _ = api.run(
        [f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={ROOT / '.mypy_cache'}", str(asking)]
    )
    revealed = re.findall(r'asking\.py:(\d+): note: Revealed type is "(.*)"', answer)
    assert len(revealed) == len(names), answer + errors
    told = {names[int(line) - before - 1]: untyped_parts(text) for line, text in revealed}
    assert {name: parts for name, parts in told.items() if parts} == {}
