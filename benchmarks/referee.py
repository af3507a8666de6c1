"""What referees ask for: resolution in nm, perceptual indices and parted cells, each with its 95 % interval.

    python benchmarks/referee.py
    python benchmarks/referee.py --volumes fib25 --factors 8 --crop 65 160 160

Isotropic volumes are thinned out as ``emgauss evaluate`` does; cells are those of ``emgauss evaluate --labels`` on the
neurites of FIB-25, thinned along their longest run of isotropic slices. What the result has already is not measured
again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from _machine import plain, print_table, read_result, shared_data, write_result

from napari_emgauss.evaluation import METRICS, Estimate, Resolution, evaluate, evaluate_labels, read_volume

VOLUMES = ("fib25", "epfl")
CELLS = ("fib25_neurites", "fib25_neurites_labels", 2)  # grey values, labels, axis thinned out
METHODS = ("linear", "ensemble", "emgauss:fast")
COLUMNS = [
    "volume",
    "factor",
    "method",
    "what",
    *[row.name for row in METRICS if row.needs != "`--lpips-weights FILE`" and row.of != "volume"],
    "psnr_3d_dropped",
    "middle_nm",
    "along_z_nm",
    "in_plane_nm",
]
NOTES = (
    "Mean ± half of the 95 % interval over slices. middle_nm: resolution (Fourier ring correlation, 1/7) of the slices "
    "in the middle of gaps; along_z_nm and in_plane_nm: of whole xz planes within 30° of either axis. Cells: dropped "
    "slices of the right half; the method truth is the segmenter on the true slices."
)


def main() -> int:
    """Measure what is missing."""
    arguments = parse()
    before = read_result("referee", arguments.output)
    rows: list[dict[str, Any]] = [] if before is None else before["rows"]

    def keep(found: list[dict[str, Any]]) -> None:
        rows.extend(plain(found))
        write_result("referee", rows, notes=NOTES, path=arguments.output, columns=COLUMNS)

    for factor in arguments.factors:
        for name in arguments.volumes:
            if any((row["volume"], row["factor"], row["what"]) == (name, factor, "dropped slices") for row in rows):
                continue
            keep(planes(needed(name), name, factor, arguments.crop, arguments.methods))
        if not arguments.no_cells and not any((row["factor"], row["what"]) == (factor, "cells") for row in rows):
            keep(cells(factor, arguments.methods))
    print_table(rows, COLUMNS)
    return 0


def needed(name: str) -> Path:
    """Path of a volume."""
    path = shared_data(f"{name}.ome.tif")
    if path is None:
        sys.exit(f"{name}.ome.tif is not there: set EMGAUSS_BENCHMARK_DATA to its folder (README.md).")
    return path


def planes(
    path: Path, name: str, factor: int, crop: tuple[int, int, int] | None, methods: list[str]
) -> list[dict[str, Any]]:
    """One row a method: metrics of dropped slices, and resolution."""
    print(f"{name} ×{factor}", file=sys.stderr)
    rows = []
    for method, one in evaluate(read_volume(path), factor, methods=methods, crop=crop).methods.items():
        middle = one.by_distance[-1].resolution
        rows.append(
            {
                "volume": name,
                "factor": factor,
                "crop": crop,
                "method": method,
                "what": "dropped slices",
                **texts(one.metrics["xy"]),
                **texts(one.metrics["volume"]),
                "middle_nm": nm(middle),
                "along_z_nm": nm(one.resolution.get("along_z")),
                "in_plane_nm": nm(one.resolution.get("in_plane")),
            }
        )
    return rows


def cells(factor: int, methods: list[str]) -> list[dict[str, Any]]:
    """One row a method: how well membranes still part cells."""
    grey, labels, axis = CELLS
    print(f"{grey} ×{factor}: cells", file=sys.stderr)
    found = evaluate_labels(
        read_volume(needed(grey)), read_volume(needed(labels)), factor, methods=methods, axis=axis
    ).methods
    return [
        {"volume": grey, "factor": factor, "method": method, "what": "cells", **texts(one)}
        for method, one in found.items()
    ]


def texts(found: dict[str, Estimate] | Any) -> dict[str, str]:
    """Metrics as tables show them."""
    digits = {row.name: row.digits for row in METRICS}
    return {name: one.text(digits[name]) for name, one in found.items()}


def nm(resolution: Resolution | None) -> str:
    """Resolution at 1/7."""
    return "-" if resolution is None else resolution.text()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", nargs="+", default=list(VOLUMES), choices=VOLUMES)
    parser.add_argument("--factors", nargs="+", type=int, default=[8])
    parser.add_argument("--crop", type=int, nargs=3, metavar=("Z", "Y", "X"), help="first voxels only (not of cells)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--no-cells", action="store_true", help="leave out cells")
    parser.add_argument("--output", metavar="FILE", help="result file (default: results/referee.json)")
    arguments = parser.parse_args()
    arguments.crop = None if arguments.crop is None else tuple(arguments.crop)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
