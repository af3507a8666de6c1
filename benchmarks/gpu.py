"""The GPU in one command, in under nine minutes: parity, renderers side by side, fits to quality, export, memory.

    python benchmarks/gpu.py                        # all of it
    python benchmarks/gpu.py --sections parity render
    python benchmarks/gpu.py --sweep                # tile sides and warps of the Triton kernels, too
    python benchmarks/gpu.py --sections floors      # what must be moved and calculated: counted, on any machine
    python benchmarks/gpu.py --cpu --quick          # every section at toy sizes on the CPU: tests the script

Needs torch, triton, numpy, numba, scipy, scikit-image and tifffile; no installation of this project, no network. gsplat
is measured beside Triton where it is installed. The block has the size of EPFL's: 768 x 1024 pixels, 16 kept slices,
every tenth; it is the shared EPFL crop, mirrored to that size, where the crop is at hand, else a generated phantom.

Every section runs in a process of its own: one that fails, hangs or loses the card is told in one line, and the others
still run. Beside every time stands its floor: what the bytes and the arithmetic would take at the speeds that the card
shows for a copy and a matrix product.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _machine import plain, print_table, write_result

BUDGET_S = 510.0
Row = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A part of the benchmark: what it is called, what it may take, and what it is for."""

    name: str
    seconds: float
    about: str


SECTIONS = (
    Section("machine", 40, "renderers that work, and how fast the device copies and multiplies"),
    Section("floors", 60, "what a fit of the block moves and calculates at least, at an H200's speeds (needs no GPU)"),
    Section("parity", 70, "pictures and gradients of every renderer against the reference in float64"),
    Section("render", 120, "renderers side by side over size, Gaussians and depths at once"),
    Section("baselines", 90, "what needs no fit, on the same block"),
    Section("fit", 150, "the presets, prior included, to the end; then single slices and the isotropic volume"),
    Section("steps", 90, "one iteration of the fit and of the prior's training: time, floor, launches, waits"),
    Section("paper", 60, "the preset 'paper' for as long as there is time"),
)
SWEEP = Section("sweep", 90, "tile sides and warps of the Triton kernels")


def main() -> int:
    """Run the sections one after the other, print and write what they found; 1 if any failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [section.name for section in (*SECTIONS, SWEEP)]
    parser.add_argument("--sections", nargs="+", choices=names, metavar="NAME", help=f"some of {', '.join(names)}")
    parser.add_argument("--presets", nargs="+", default=["default"], help="fits to run, in this order")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds for everything")
    parser.add_argument("--sweep", action="store_true", help="also try tile sides and warps")
    parser.add_argument("--cpu", action="store_true", help="on the CPU, at toy sizes: tests this script")
    parser.add_argument("--quick", action="store_true", help="toy sizes, wherever it runs")
    parser.add_argument("--together", action="store_true", help="all sections in this process: for a debugger")
    parser.add_argument("--output", type=Path, help="file to write in place of results/gpu.json")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.quick = arguments.quick or arguments.cpu
    if arguments.child is not None:
        return _child(arguments)

    wanted = arguments.sections or [section.name for section in SECTIONS]
    if arguments.sweep and "sweep" not in wanted:
        wanted.append("sweep")
    end = time.monotonic() + arguments.budget
    rows: list[Row] = []
    failed: list[str] = []
    about: Row = {}
    for section in (*SECTIONS, SWEEP):
        if section.name not in wanted:
            continue
        left = end - time.monotonic()
        print(f"== {section.name}: {section.about}", flush=True)
        if left < 15:
            failed.append(f"{section.name}: no time left")
            print(f"{failed[-1]}\n")
            continue
        run = _run_here if arguments.together else _run
        found, error = run(section, min(section.seconds, left - 5), arguments)
        if section.name == "machine":
            about = dict(next((row for row in found if row["what"] == "machine"), {}))
        if error is not None:
            failed.append(f"{section.name}: {error}")
        rows += found
        _show(found)
        print(f"{error or ''}\n({end - time.monotonic():.0f} s left)\n", flush=True)
        no_card = not str(about.get("device", "")).startswith("cuda")
        if section.name == "machine" and not arguments.cpu and no_card:
            print("There is no GPU renderer to measure here; --cpu tests the script.", file=sys.stderr)
            return 1
        _write(arguments, rows, about, failed)
    summary = _against_the_target(rows)
    if summary:
        rows += summary
        print("== target" + (": of toy sizes, which say nothing" if arguments.quick else ""))
        _show(summary)
        _write(arguments, rows, about, failed)
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def _run(section: Section, seconds: float, arguments: argparse.Namespace) -> tuple[list[Row], str | None]:
    """Rows of a section, run in a process of its own, and in one line why it did not end well."""
    with tempfile.TemporaryDirectory(prefix="emgauss-gpu-") as folder:
        file = Path(folder) / "rows.json"
        options = ["--cpu"] * arguments.cpu + ["--quick"] * arguments.quick
        command = [sys.executable, __file__, "--child", str(file), "--sections", section.name, *options]
        command += ["--seconds", f"{seconds:.0f}", "--presets", *arguments.presets]
        error = None
        try:
            # A section minds its clock itself; the limit is for one that hangs.
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 20, check=False)
        except subprocess.TimeoutExpired:
            error = f"stopped after {seconds + 20:.0f} s"
        else:
            if done.returncode != 0:
                error = _last_line(done.stderr) or f"ended with {done.returncode}"
        rows: list[Row] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return rows, error


def _child(arguments: argparse.Namespace) -> int:
    """Run one section here; its rows are in the file after each of them."""
    rows: list[Row] = []
    for row in _rows_of(arguments.sections[0], arguments.seconds, arguments):
        rows.append(row)
        temporary = arguments.child.with_suffix(".tmp")
        temporary.write_text(json.dumps(rows, allow_nan=False), encoding="utf-8")
        temporary.replace(arguments.child)
    return 0


def _run_here(section: Section, seconds: float, arguments: argparse.Namespace) -> tuple[list[Row], str | None]:
    """As :func:`_run`, in this process."""
    rows: list[Row] = []
    try:
        rows.extend(_rows_of(section.name, seconds, arguments))
    except Exception as error:  # the others still run
        return rows, _last_line(str(error)) or type(error).__name__
    return rows, None


def _rows_of(name: str, seconds: float, arguments: argparse.Namespace) -> Iterator[Row]:
    try:
        import napari_emgauss  # noqa: F401
    except ImportError:  # a bare checkout
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    from _gpu_bench import Bench, Clock
    from _safetensors import stand_in

    stand_in()
    bench = Bench.here(cpu=arguments.cpu, toy=arguments.quick)
    for row in _function(name)(bench, Clock(seconds), arguments.presets):
        yield plain(row)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""


def _function(name: str) -> Any:
    if name in ("machine", "parity", "render", "sweep"):
        import _gpu_render

        return getattr(_gpu_render, name)
    if name == "floors":
        import _gpu_floors

        return _gpu_floors.floors
    import _gpu_fit

    return getattr(_gpu_fit, "fits" if name == "fit" else name)


def _show(rows: list[Row]) -> None:
    """Tables of the rows, one for each kind."""
    for kind in dict.fromkeys(row["what"] for row in rows):
        chosen = [row for row in rows if row["what"] == kind]
        columns = list(dict.fromkeys(key for row in chosen for key in row))
        print_table(chosen, [key for key in columns if not any(isinstance(row.get(key), list) for row in chosen)])
        print()


def _write(arguments: argparse.Namespace, rows: list[Row], about: Row, failed: list[str]) -> None:
    """After every section: what was measured is kept if the next one takes the machine down."""
    if arguments.quick and arguments.output is None:
        return
    notes = (
        f"{about.get('reason', '')}. Medians, the GPU's work included. Quality on a central window of the block: "
        f"{next((row['block'] for row in rows if row.get('block')), 'not made')}."
    )
    write_result("gpu", rows, path=arguments.output, notes=notes, failed=failed)


def _against_the_target(rows: list[Row]) -> list[Row]:
    """What the project asks of one H200-class GPU, beside what was measured."""
    ensemble = next((row["psnr"] for row in rows if row.get("method") == "ensemble" and row.get("psnr")), None)
    fit = next((row for row in rows if row["what"] == "fit" and row.get("method") == "default"), {})
    export = next((row for row in rows if row["what"] == "export"), {})
    peaks = [row["peak_gpu_mb"] for row in rows if row["what"] in ("fit", "export") and row.get("peak_gpu_mb")]
    gain = fit["psnr"] - ensemble if ensemble is not None and fit.get("psnr") else None
    checks: list[tuple[str, float | None, float, bool]] = [
        ("default, prior included, seconds", fit.get("seconds"), 60.0, False),
        ("its PSNR over the ensemble's, dB", gain, 0.3, True),
        ("slices of 1024 x 1024 a second", export.get("slices_per_second_1024"), 200.0, True),
        ("isotropic volume to memory, Mvoxel/s", export.get("volume_mvoxel_per_second"), 100.0, True),
        ("peak GPU memory, MB", max(peaks) if peaks else None, 8192.0, False),
    ]
    if not fit and not export:
        return []
    return [
        {
            "what": "target",
            "of": name,
            "measured": value,
            "wanted": f"{'at least' if more else 'below'} {limit:g}",
            "met": None if value is None else (value >= limit if more else value < limit),
        }
        for name, value, limit, more in checks
    ]


if __name__ == "__main__":
    raise SystemExit(main())
