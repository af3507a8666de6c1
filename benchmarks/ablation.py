"""The rows of the paper's ablation table, each a switch in the settings, at a stated scale of iterations.

    python benchmarks/ablation.py                       # fib25 and epfl crops, x8, a tenth of the paper's iterations
    python benchmarks/ablation.py --scale 1 --device cuda --crop 250 250 250

Paper: mean of EPFL and FIB-25 at full length, PSNR / SSIM as printed there.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from _fitting import Cell, PreparedPrior, cell, score_model, score_prior
from _machine import print_table, write_result

from napari_emgauss.fitting import preset, run_fit

ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "full": ({}, "26.98 / .713"),
    "no teacher-student": ({"teacher_student": False}, "25.19 / .627"),
    "no warm-up": ({"warm_up": False}, "25.76 / .653"),
    "no joint": ({"joint": False}, "24.35 / .577"),
    "static opacity": ({"dynamic_opacity": False}, "25.44 / .630"),
    "dynamic rotation": ({"dynamic_rotation": True}, "25.07 / .640"),
}


def main() -> int:
    """Run the table and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="paper", help="settings that the switches are applied to")
    parser.add_argument("--scale", type=float, default=0.1, help="iterations_scale")
    parser.add_argument("--volumes", nargs="+", default=["fib25", "epfl"])
    parser.add_argument("--factors", type=int, nargs="+", default=[8])
    parser.add_argument("--crop", type=int, nargs=3, default=[65, 96, 96], metavar=("Z", "Y", "X"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=NUMBER", help="further settings")
    arguments = parser.parse_args()
    more = {name: float(value) if "." in value else int(value) for name, value in (s.split("=") for s in arguments.set)}
    rows: list[dict[str, Any]] = []
    for factor in arguments.factors:
        cells = [cell(name, factor, tuple(arguments.crop)) for name in arguments.volumes]
        if any(c is None for c in cells):
            print(
                "A volume is not there: set EMGAUSS_BENCHMARK_DATA to the folder of benchmark volumes.", file=sys.stderr
            )
            return 1
        there = [where for where in cells if where is not None]
        rows.append({"factor": factor, "row": "linear interpolation", **mean([linear(where) for where in there])})
        for name in arguments.rows:
            switches, paper = ROWS[name]
            settings = preset(
                arguments.preset, iterations_scale=arguments.scale, device=arguments.device, **{**more, **switches}
            )
            start = time.process_time()
            found = mean([score_model(run_fit(where.stack, settings), where) for where in there])
            spent = time.process_time() - start
            rows.append({"factor": factor, "row": name, **found, "paper": paper, "cpu_seconds": spent})
            print_table(rows)
            write_result("ablation", rows, notes=notes(arguments))
    return 0


def linear(where: Cell) -> dict[str, float]:
    """Scores of linear interpolation."""
    return score_prior(PreparedPrior("linear", where), where)


def mean(scores: list[dict[str, float]]) -> dict[str, float]:
    """Over volumes, of what all have."""
    return {
        key: sum(one[key] for one in scores) / len(scores)
        for key in ("psnr", "ssim", "fsim", "seen_psnr")
        if all(key in one for one in scores)
    }


def notes(arguments: argparse.Namespace) -> str:
    """What was run, for the report."""
    crop = " x ".join(str(n) for n in arguments.crop)
    return (
        f"Preset {arguments.preset}, iterations_scale {arguments.scale:g}, {' and '.join(arguments.volumes)}, first "
        f"{crop} voxels{', mean' if len(arguments.volumes) > 1 else ''}. seen: of the kept slices. The paper's column "
        "is at full length on its own crops, mean of EPFL and FIB-25."
    )


if __name__ == "__main__":
    raise SystemExit(main())
