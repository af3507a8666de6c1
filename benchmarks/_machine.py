"""What every benchmark shares: the name of the machine, the place of the data, the form of a result.

Needs nothing but the standard library; whatever else is installed is only named. The form is described in README.md.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
NAMED_PACKAGES = ("napari-emgauss", "torch", "numpy", "numba", "scipy", "scikit-image", "triton", "gsplat", "napari")


def shared_data(name: str = "") -> Path | None:
    """Path of the benchmark volumes' folder, or of one file in it; None where it is absent.

    The volumes are public but not part of the project: they lie in ``../shared/data`` beside the checkout, or where
    the environment variable ``EMGAUSS_BENCHMARK_DATA`` says.
    """
    if chosen := os.environ.get("EMGAUSS_BENCHMARK_DATA"):
        folders = [Path(chosen)]
    else:
        folders = [HERE.parent.parent / "shared" / "data", HERE.parent / "shared" / "data"]
    for folder in folders:
        path = folder / name if name else folder
        if path.exists():
            return path
    return None


def describe() -> dict[str, Any]:
    """The machine a benchmark runs on: processor, cores, memory, GPU and versions. Unknown entries are None."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "gpu": _gpu_name(),
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": _versions(),
        "commit": _commit(),
    }


def result(name: str, rows: list[dict[str, Any]], *, notes: str = "", **extra: Any) -> dict[str, Any]:
    """A benchmark's result in the common form; ``extra`` is kept at the top level."""
    # Names without their folders: the file names a command, not a place on somebody's disk.
    options = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    command = ["python", f"benchmarks/{Path(sys.argv[0]).name}", *options]
    return {
        "benchmark": name,
        "machine": describe(),
        "command": shlex.join(command),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "notes": notes,
        **extra,
        "rows": rows,
    }


def write_result(
    name: str, rows: list[dict[str, Any]], *, notes: str = "", path: str | Path | None = None, **extra: Any
) -> Path:
    """Write ``results/NAME.json`` (or ``path``) in the common form, whole or not at all."""
    target = RESULTS / f"{name}.json" if path is None else Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    text = json.dumps(plain(result(name, rows, notes=notes, **extra)), indent=1, allow_nan=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(target)
    return target


def read_result(name: str, path: str | Path | None = None) -> dict[str, Any] | None:
    """A result written before, or None."""
    source = RESULTS / f"{name}.json" if path is None else Path(path)
    if not source.is_file():
        return None
    data: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return data


def plain(value: Any) -> Any:
    """The value with NumPy scalars as numbers, and what JSON cannot say (inf, nan) as text and null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return value.name
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float):
        if value != value:
            return None
        if value in (float("inf"), float("-inf")):
            return "inf" if value > 0 else "-inf"
    return value


def print_table(rows: list[dict[str, Any]], columns: list[str] | None = None) -> None:
    """Rows as an aligned table on standard output."""
    if not rows:
        print("(no rows)")
        return
    names = columns or list(dict.fromkeys(key for row in rows for key in row))
    cells = [names, *[[_cell(row.get(name)) for name in names] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    for i, row in enumerate(cells):
        print("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))
        if i == 0:
            print("  ".join("-" * width for width in widths))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def _cpu_name() -> str | None:
    if sys.platform == "linux":
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
            return match.group(1).strip()
    if sys.platform == "darwin" and (name := _output_of("sysctl", "-n", "machdep.cpu.brand_string")):
        return name
    return platform.processor() or platform.machine() or None


def _memory_gb() -> float | None:
    if sys.platform == "linux":
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        limit = Path("/sys/fs/cgroup/memory.max")  # a container's own limit, where there is one
        text = limit.read_text().strip() if limit.is_file() else "max"
        return round(min(pages, int(text) if text.isdigit() else pages) / 2**30, 1)
    if sys.platform == "darwin" and (size := _output_of("sysctl", "-n", "hw.memsize")):
        return round(int(size) / 2**30, 1)
    return None


def _gpu_name() -> str | None:
    text = _output_of("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return text.splitlines()[0].strip() if text else None


def _commit() -> str | None:
    """The commit measured; a plus says that files were changed since."""
    commit = _output_of("git", "-C", str(HERE), "rev-parse", "--short", "HEAD")
    changed = _output_of("git", "-C", str(HERE), "status", "--porcelain", "--untracked-files=no", "--", "../src")
    return f"{commit}+" if commit and changed else commit


def _output_of(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _versions() -> dict[str, str]:
    found = {}
    for package in NAMED_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
