"""The package as users install it: wheel, source archive and editable install, each with a manifest napari finds."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

import napari_emgauss

ROOT = Path(__file__).resolve().parents[1]

DISCOVER = """
import json, npe2, napari_emgauss
from importlib.metadata import distributions
manager = npe2.PluginManager()
manager.discover()
manifest = manager.get_manifest("napari-emgauss")
print(json.dumps({"name": manifest.name, "module": napari_emgauss.__file__, "version": napari_emgauss.__version__,
                  "path": str(manifest.package_metadata and manifest.package_metadata.name)}))
"""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive, and the wheel built from it as ``python -m build`` does."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out)
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A fresh environment that sees the installed libraries, but not the installed napari-emgauss' source."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    # A path in a .pth file comes after the environment's own packages, and .pth files in it are not followed.
    (site / "libraries.pth").write_text("\n".join(sorted(libraries)), encoding="utf-8")
    return python


def test_the_wheel_holds_code_manifest_and_types(archives: tuple[Path, Path]) -> None:
    names = zipfile.ZipFile(archives[1]).namelist()
    for name in ("napari_emgauss/__init__.py", "napari_emgauss/napari.yaml", "napari_emgauss/py.typed"):
        assert name in names
    assert not [name for name in names if name.split("/")[0] not in {"napari_emgauss"} and ".dist-info" not in name]
    sources = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src").rglob("*.py")}
    assert sources <= set(names)


def test_the_wheel_declares_plugin_command_and_no_qt(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[1]) as wheel:
        folder = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")).rpartition("/")[0]
        entry_points = wheel.read(f"{folder}/entry_points.txt").decode()
        metadata = wheel.read(f"{folder}/METADATA").decode()
    assert "napari-emgauss = napari_emgauss:napari.yaml" in entry_points
    assert "emgauss = napari_emgauss.cli:main" in entry_points
    assert "Classifier: Framework :: napari" in metadata
    # On PyPI nothing lies beside the text.
    targets = re.findall(r"\]\(([^)\s]+)\)", metadata)
    assert [target for target in targets if "/docs/images/" in target]
    assert not [target for target in targets if "://" not in target and not target.startswith("#")]
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert required
    for line in required:
        name = line.removeprefix("Requires-Dist: ").lower()
        assert not name.startswith(("napari", "pyqt5", "pyqt6", "pyside", "opencv-python"))


def test_the_source_archive_holds_a_readable_manifest_at_its_top(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[0]) as archive:
        top = archive.getnames()[0].split("/")[0]
        manifest = archive.extractfile(f"{top}/napari.yaml")
        assert manifest is not None
        if sys.platform != "win32":  # there the link in the checkout is a text file
            assert manifest.read() == (ROOT / "src" / "napari_emgauss" / "napari.yaml").read_bytes()
        for name in ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "tests/test_packaging.py"):
            assert f"{top}/{name}" in archive.getnames()


@pytest.mark.slow
def test_napari_finds_the_plugin_in_a_wheel(archives: tuple[Path, Path], environment: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "--python", environment, "install", "--no-deps", "--no-index", archives[1])
    found = json.loads(run(environment, "-c", DISCOVER, cwd=tmp_path).splitlines()[-1])
    assert found["name"] == "napari-emgauss"
    assert Path(found["module"]).is_relative_to(tmp_path / "venv")
    assert found["version"] == archives[1].name.split("-")[1]
    run(environment, "-m", "npe2", "validate", "napari-emgauss", cwd=tmp_path)


@pytest.mark.slow
def test_napari_finds_the_plugin_in_an_editable_install(environment: Path, tmp_path: Path) -> None:
    run(
        *(sys.executable, "-m", "pip", "--python", environment, "install", "--no-deps", "--no-index"),
        *("--no-build-isolation", "--editable", ROOT),
    )
    found = json.loads(run(environment, "-c", DISCOVER, cwd=tmp_path).splitlines()[-1])
    assert found["name"] == "napari-emgauss"
    assert Path(found["module"]).is_relative_to(ROOT / "src")


def test_the_manifest_at_the_top_is_the_package_s_own() -> None:
    package = Path(napari_emgauss.__file__).parent
    top = ROOT / "napari.yaml"
    if sys.platform == "win32" and not top.is_symlink():  # git writes a link's target as text there
        assert top.read_text(encoding="utf-8").strip() == "src/napari_emgauss/napari.yaml"
    else:
        assert top.resolve() == (package / "napari.yaml").resolve()


def test_the_manifest_is_valid() -> None:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(ROOT / "src" / "napari_emgauss" / "napari.yaml")
    manifest.validate_imports()
    assert manifest.name == "napari-emgauss"


# Used where the user has them, never required: the code says what to install, or does without.
OPTIONAL = {"cv2", "gsplat", "sam2", "triton", "napari", "vispy"}  # vispy is what napari draws with


def imported_libraries(folder: Path) -> set[str]:
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"napari_emgauss"}


def test_every_imported_library_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    users = ("formats", "n5", "evaluate", "distributed")
    texts = project["dependencies"] + [text for extra in users for text in project["optional-dependencies"][extra]]
    declared = {re.match(r"[A-Za-z0-9._-]+", text)[0].lower() for text in texts}
    distributions = packages_distributions()
    for library in sorted(imported_libraries(ROOT / "src") - OPTIONAL):
        names = {name.lower() for name in distributions.get(library, [library])}
        # llvmlite comes with numba, in the one version that fits it.
        assert names & declared or library == "llvmlite", f"{library} is imported, but pyproject.toml does not name it"


def test_the_conda_recipe_names_the_same_requirements() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    run_part = recipe.partition("  run:\n")[2].partition("\n\n")[0]
    in_conda = {" ".join(line.strip(" -").split()) for line in run_part.splitlines()} - {"python >=3.11"}
    other_names = {"torch": "pytorch", "dask": "dask-core", "lazy-loader": "lazy_loader"}
    expected = set()
    for text in project["dependencies"]:
        name, bound = re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[\w+\])?(>=.*)", text).groups()
        expected.add(f"{other_names.get(name, name)} {bound}")
    assert in_conda == expected


def test_the_conda_recipe_renders() -> None:
    jinja2 = pytest.importorskip("jinja2")
    text = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    recipe = yaml.safe_load(environment.from_string(text).render(environ={"EMGAUSS_VERSION": "1.2.3"}, PYTHON="python"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert recipe["package"] == {"name": project["name"], "version": "1.2.3"}
    assert recipe["build"]["entry_points"] == [f"emgauss = {project['scripts']['emgauss']}"]
    assert f"python {project['requires-python']}" in recipe["requirements"]["run"]
    built_with = {" ".join(re.split(r"(?=>=)", text)) for text in build_requirements()}
    assert built_with <= set(recipe["requirements"]["host"])
    assert recipe["about"]["license"] == project["license"]
    assert (ROOT / recipe["about"]["license_file"]).is_file()


def build_requirements() -> list[str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]


def test_continuous_integration_runs_what_there_is() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    jobs = workflow["jobs"]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for name, job in jobs.items():
        needed = job.get("needs", [])
        assert set([needed] if isinstance(needed, str) else needed) <= set(jobs), name
        commands = "\n".join(step.get("run", "") for step in job["steps"])
        assert set(re.findall(r"\bmake ([a-z][a-z-]*)", commands)) <= targets, name
        for path in re.findall(r"\b(?:scripts|examples|tests)/[\w./-]*", commands):
            assert (ROOT / path).exists(), f"{name}: {path}"
        for named in re.findall(r'"\.\[([a-z,]+)\]"', commands):
            assert set(named.split(",")) <= set(extras), name
    systems = jobs["platforms"]["strategy"]["matrix"]
    assert {entry.split("-")[0] for entry in systems["os"]} == {"ubuntu", "macos", "windows"}
    assert set(jobs["release"]["needs"]) >= set(jobs) - {"docs", "release"}


@pytest.mark.skipif(sys.platform == "win32", reason="no sh")
@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_well_formed(script: Path) -> None:
    run("sh", "-n", script)
