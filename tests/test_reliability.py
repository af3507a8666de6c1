"""The page about reliability promises nothing that is not tested, and knows every place that deletes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import napari_emgauss

PACKAGE = Path(napari_emgauss.__file__).parent
ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def rows_of(heading: str) -> list[list[str]]:
    """Cells of the table under a heading, without its head."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names_of_tests(path: Path) -> set[str]:
    """Names of the test functions of a file, those of classes as ``Class::name``."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
    return found


PROMISES = rows_of("Promised and tested")


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row[0][:60])
def test_every_promise_names_tests_that_exist(row: list[str]) -> None:
    promise, how, named = row
    assert promise and how
    references = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", named)
    assert references, f"no test is named for: {promise}"
    for file, name in references:
        assert (ROOT / file).is_file(), file
        assert name in names_of_tests(ROOT / file), f"{file} has no test {name}"


def takes_away(call: ast.Call) -> bool:
    """Whether a call deletes, renames or replaces a file or a folder."""
    function = call.func
    if not isinstance(function, ast.Attribute):
        return isinstance(function, ast.Name) and function.id in ("rmtree", "remove_files")
    if function.attr in (
        "unlink",
        "rmdir",
        "rename",
        "renames",
        "rmtree",
        "removedirs",
        "mkdtemp",
        "TemporaryDirectory",
    ):
        return True
    module = function.value.id if isinstance(function.value, ast.Name) else ""
    if (module, function.attr) in {("os", "replace"), ("os", "remove"), ("shutil", "move")}:
        return True
    # Path.replace has one argument, str.replace has two; a temporary file becomes another by it.
    return function.attr == "replace" and module != "dataclasses" and len(call.args) == 1 and not call.keywords


def modules_that_take_away() -> set[str]:
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
        if any(takes_away(call) for call in calls):
            found.add(path.relative_to(PACKAGE).as_posix())
    return found


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("path.unlink(missing_ok=True)", True),
        ("os.replace(a, b)", True),
        ("part.replace(target)", True),
        ("shutil.rmtree(folder)", True),
        ("'a'.replace('b', 'c')", False),
        ("replace(config, seed=1)", False),
        ("dataclasses.replace(config)", False),
        ("list.remove(1)", False),
    ],
)
def test_what_takes_away_is_told_from_what_does_not(code: str, expected: bool) -> None:
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call) and takes_away(call) is expected


def test_every_place_that_deletes_or_replaces_is_on_the_page() -> None:
    listed = {re.sub(r"`", "", row[0]) for row in rows_of("What may be deleted, renamed or replaced")}
    assert modules_that_take_away() - listed == set(), "say on the page what these may touch"
    assert listed - modules_that_take_away() == set(), "these delete nothing any more"
