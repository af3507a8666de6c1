"""What the paper leaves silent, chosen one way and another: the preset ``paper`` on a small crop.

    python benchmarks/paper_choices.py                            # fib25, x8, all rows at full length: hours
    python benchmarks/paper_choices.py --rows chosen --scale 0.1

A row changes one thing of the preset as it is. Stated facts (stages, constraints, decay of the teacher, ramp, turns of
observed slices and pseudo-labels) are the same in all.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from _fitting import Cell, cell, score_model
from _machine import print_table, write_result

from napari_emgauss.fitting import preset, run_fit

ROWS: dict[str, dict[str, Any]] = {
    "as chosen": {},
    "10 depth frequencies": {"mlp_depth_frequencies": 10},
    "3 depth frequencies": {"mlp_depth_frequencies": 3},
    "2 depth frequencies": {"mlp_depth_frequencies": 2},
    "1 depth frequency": {"mlp_depth_frequencies": 1},
    "N: a Gaussian for 8 pixels, more later": {"pixels_per_gaussian": 8.0, "growth": 2.0, "density_iterations": 10_000},
    "N: a Gaussian for 8 pixels": {"pixels_per_gaussian": 8.0},
    "N: a Gaussian for 32 pixels": {"pixels_per_gaussian": 32.0},
    "N: a Gaussian for 64 pixels": {"pixels_per_gaussian": 64.0},
    "low-pass of 0.3 px² (3D Gaussian splatting)": {"softness_pixels": 0.5477},
    "low-pass of 0.8 px²": {"softness_pixels": 0.8944},
    "no low-pass": {"softness_pixels": 0.0},
    "depth noise 0.2 gaps, gone after a third": {"depth_noise": 0.2, "depth_noise_iterations": 5_000},
    "depth noise 0.5 gaps": {"depth_noise": 0.5},
    "no depth noise": {"depth_noise": 0.0},
    "D-SSIM on pseudo-labels": {"pseudo_dssim_weight": 0.2},
    "rates fall tenfold": {"lr_end": 0.1},
    "field's rate a quarter": {"field_lr_start": 2e-4},
    "slices are planes": {"sampling": "point", "shown_thickness": 0.0},
    "slices are planes, depth noise 0.2 gaps, gone after a third": {
        "sampling": "point",
        "shown_thickness": 0.0,
        "depth_noise": 0.2,
        "depth_noise_iterations": 5_000,
    },
    "slices half as thick": {"slab_fraction": 0.5, "shown_thickness": 0.5},
    "fitted as thick, shown as planes": {"shown_thickness": 0.0},
    "fitted as planes, shown as thick": {"sampling": "point"},
    "2 depths a slice": {"slab_samples": 2},
    "5 depths a slice": {"slab_samples": 5},
}


def _score_linear(where: Cell) -> dict[str, float]:
    from _fitting import PreparedPrior, score_prior

    return score_prior(PreparedPrior("linear", where), where)


def main() -> int:
    """Run the rows and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--volume", default="fib25")
    parser.add_argument("--factor", type=int, default=8)
    parser.add_argument("--crop", type=int, nargs=3, default=[65, 64, 64], metavar=("Z", "Y", "X"))
    parser.add_argument("--scale", type=float, default=1.0, help="iterations_scale")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), help="names of rows, or parts of them")
    parser.add_argument("--also", nargs="*", default=[], metavar="NAME=NUMBER", help="further settings for every row")
    parser.add_argument("--output", help="file to write in place of results/paper_choices.json")
    arguments = parser.parse_args()
    more = {name: float(v) if "." in v else int(v) for name, v in (s.split("=") for s in arguments.also)}
    where = cell(arguments.volume, arguments.factor, tuple(arguments.crop))
    if where is None:
        print(
            "The volume is not there: set EMGAUSS_BENCHMARK_DATA to the folder of benchmark volumes.", file=sys.stderr
        )
        return 1
    rows: list[dict[str, Any]] = [{"row": "linear interpolation", **_score_linear(where)}]
    for name, settings in ROWS.items():
        if not any(part in name for part in arguments.rows):
            continue
        config = preset("paper", iterations_scale=arguments.scale, device=arguments.device, **{**more, **settings})
        start = time.process_time()
        scores = score_model(run_fit(where.stack, config), where)
        rows.append({"row": name, **scores, "cpu_seconds": time.process_time() - start})
        print_table(rows)
        write_result(
            "paper_choices",
            rows,
            notes=f"Preset paper, iterations_scale {arguments.scale:g}, {arguments.volume} x{arguments.factor}, first "
            f"{arguments.crop[0]} x {arguments.crop[1]} x {arguments.crop[2]} voxels; "
            f"{arguments.also or 'nothing else set'}.",
            path=arguments.output,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
