"""Every code block of the documentation runs, and the site builds without a broken link.

A block that cannot run here says why, in a comment just before it: ``<!-- not run: reason -->``. Fits are made short
and the sample small; everything else is as the reader would do it, page by page, in an empty folder that holds a fresh
``stack.ome.tif``, ``model.safetensors`` and ``volume.ome.tif``.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from napari_emgauss.cli import main
from napari_emgauss.evaluation import _methods as methods
from napari_emgauss.priors import _registry as priors
from napari_emgauss.stack.formats import _registry as readers
from napari_emgauss.volume.formats import _registry as writers

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
KNOWN_LANGUAGES = {"python", "bash", "text", "toml", "yaml", "json", "bibtex"}


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    reason_not_run: str | None


def blocks_of(text: str) -> list[Block]:
    found: list[Block] = []
    reason: str | None = None
    lines = iter(text.splitlines())
    for line in lines:
        if skipped := re.match(r"\s*<!-- not run: (.+) -->", line):
            reason = skipped[1]
        elif fence := re.match(r"(\s*)```(\w*)", line):
            body = []
            for inner in lines:
                if inner.strip() == "```":
                    break
                body.append(inner.removeprefix(fence[1]))
            found.append(Block("bash" if fence[2] == "sh" else fence[2], "\n".join(body), reason))
            reason = None
        elif line.strip():
            reason = None
    return found


def commands_of(code: str) -> Iterator[list[str]]:
    for line in code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def test_blocks_are_found_with_their_reasons() -> None:
    text = (
        "a\n```python\nx = 1\n```\n<!-- not run: why -->\n    ```bash\n    b \\\n      c # d\n    ```\n```text\n```\n"
    )
    blocks = blocks_of(text)
    assert blocks == [Block("python", "x = 1", None), Block("bash", "b \\\n  c # d", "why"), Block("text", "", None)]
    assert list(commands_of(blocks[1].code)) == [["b", "c"]]


@pytest.fixture
def registries_as_they_were() -> Iterator[None]:
    """What a page registers ends with the page."""
    registries = (readers._FORMATS, writers._FORMATS, priors._PRIORS, methods._OWN)
    before = [dict(rows) for rows in registries]
    yield
    for rows, kept in zip(registries, before, strict=True):
        rows.clear()
        rows.update(kept)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_fits", "registries_as_they_were")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_blocks_run(page: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    for block in blocks:
        assert block.language in KNOWN_LANGUAGES, f"name the language of this block: {block.code[:80]}"
    to_run = [block for block in blocks if block.language in {"python", "bash"} and block.reason_not_run is None]
    if not to_run:
        return
    monkeypatch.chdir(tmp_path)
    for file in prepared.iterdir():
        shutil.copy(file, tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in to_run:
        if block.language == "python":
            exec(compile(block.code, str(page), "exec"), namespace)
            continue
        for words in commands_of(block.code):
            if words[0] == "python" and words[1].startswith(("benchmarks/", "examples/", "docs/")):
                assert (ROOT / words[1]).is_file()  # they take their time; examples have tests of their own
                continue
            assert words[0] == "emgauss", f"'{shlex.join(words)}' is not run: say why in a comment before the block"
            writes = {"-o", "--output", "--json", "--figure"} & set(words)
            for option in writes:
                Path(words[words.index(option) + 1]).unlink(missing_ok=True)
            assert main(words[1:]) == 0, shlex.join(words)


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    site = tmp_path / "site"
    assert "emgauss export" in (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert "voxel_size_nm" in python
    start = (site / "index.html").read_text(encoding="utf-8")
    assert '<div class="grid cards">' in start
    marks_left = re.findall(r"<p>: |^: ", start, flags=re.MULTILINE)
    assert not marks_left, "Markdown that no extension reads is shown as it is"


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    raw = "https://raw.githubusercontent.com/napari-emgauss/napari-emgauss/main/"
    local = [target.removeprefix(raw) for target in targets if target.startswith(raw) or "://" not in target]
    assert local
    for target in local:
        assert (ROOT / target).exists(), f"README.md links to {target}, which is not there"
