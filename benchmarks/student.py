"""Whether the Gaussian fit gains or loses against its own pseudo-labels, and what each setting does to that.

    python benchmarks/student.py                                  # variants on a crop, every prior on the same crop
    python benchmarks/student.py --crop 250 250 250 --part priors # whole cube, priors only
    python benchmarks/student.py --volume vnc --factor 2 --crop 20 256 256 --prior self:fast --part variants \
        --variants "as it is" "2 knots a gap" --output results/student_vnc.json

``difference`` is the fit's PSNR over dropped slices minus that of the labels it was given.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from _fitting import Cell, PreparedPrior, cell, score_model, score_prior
from _machine import print_table, write_result

from napari_emgauss.fitting import preset, run_fit

# The first way of fitting tried: the settings of the paper's base method with a grid field.
FIRST: dict[str, Any] = {
    "field": "grid",
    "knot_lr_start": 1e-2,
    "knot_lr_end": 1e-3,
    "pixels_per_gaussian": 8.0,
    "growth": 2.0,
    "density_iterations": 600,
    "real_per_pseudo": 1.0,
    "knots_per_gap": 1,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "grid field, first settings": FIRST,
    "spline field, first settings": {**FIRST, "field": "spline"},
    "grid field, tuned": {
        "field": "grid",
        "knot_lr_start": 0.03,
        "knot_lr_end": 0.003,
        "field_lr_start": 3e-3,
        "field_lr_end": 1e-4,
        "grid_cell_pixels": 3.0,
    },
    "knots learn at 0.03": {"knot_lr_start": 0.03, "knot_lr_end": 0.003},
    "1 knot a gap": {"knots_per_gap": 1},
    "2 knots a gap": {"knots_per_gap": 2},
    "4 knots a gap": {"knots_per_gap": 4},
    "16 pixels a Gaussian": {"pixels_per_gaussian": 16.0},
    "real and pseudo alternate": {"real_per_pseudo": 1.0},
    "no D-SSIM on labels": {"pseudo_dssim_weight": 0.0},
    "grey learns at 0.0025": {"value_lr": 2.5e-3, "lr_end": 1.0},
    "EMA 0.995": {"ema_decay": 0.995},
    "softness 0.7 pixels": {"softness_pixels": 0.7},
    "depth windows of 7": {"window_slices": 7},
    "Charbonnier 0.02": {"charbonnier_epsilon": 0.02, "pseudo_charbonnier_epsilon": 0.02},
    "250 iterations a slice": {"iterations_per_slice": 250.0},
}
PRIORS = ("linear", "flow")


def run(where: Cell, prior: PreparedPrior, labels: dict[str, float], settings: dict[str, Any]) -> dict[str, Any]:
    """Fit once and compare with the labels."""
    start = time.process_time()
    model = run_fit(where.stack, preset(**settings), prior=prior)
    seconds = time.process_time() - start
    scores = score_model(model, where)
    return {
        "prior": prior.name,
        "labels_psnr": labels["psnr"],
        "labels_ssim": labels["ssim"],
        "labels_fsim": labels["fsim"],
        **scores,
        "difference": scores["psnr"] - labels["psnr"],
        "gaussians": model.gaussian_count,
        "cpu_seconds": seconds,
    }


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--volume", default="fib25")
    parser.add_argument("--factor", type=int, default=8)
    parser.add_argument("--crop", type=int, nargs=3, default=[97, 128, 128], metavar=("Z", "Y", "X"))
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--prior", default="ensemble", help="labels of the variants")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS, metavar="NAME")
    parser.add_argument("--priors", nargs="+", default=list(PRIORS))
    parser.add_argument("--part", choices=["variants", "priors", "both"], default="both")
    parser.add_argument("--output", help="another place than results/student.json")
    arguments = parser.parse_args()
    where = cell(arguments.volume, arguments.factor, tuple(arguments.crop))
    if where is None:
        print("The volume is not there: set EMGAUSS_BENCHMARK_DATA.", file=sys.stderr)
        return 1
    notes = (
        f"Preset {arguments.preset}, {where.name} x{where.factor}, first {' x '.join(map(str, arguments.crop))} "
        "voxels; dropped slices; the difference is fit minus labels in dB. Variants change the named settings alone."
    )
    rows: list[dict[str, Any]] = []

    def keep(found: list[dict[str, Any]]) -> None:
        write_result("student", found, notes=notes, path=arguments.output, columns=columns)

    columns = ["what", "prior", "labels_psnr", "psnr", "difference", "labels_ssim", "ssim", "labels_fsim", "fsim"]
    columns += ["seen_psnr", "gaussians", "cpu_seconds"]
    if arguments.part != "priors":
        prior = PreparedPrior(arguments.prior, where)
        labels = score_prior(prior, where)
        for name in arguments.variants:
            settings = {"name": arguments.preset, **VARIANTS[name]}
            rows.append({"what": name, **run(where, prior, labels, settings)})
            print_table(rows[-1:], columns)
            keep(rows)
    if arguments.part != "variants":
        for name in arguments.priors:
            prior = PreparedPrior(name, where)
            labels = score_prior(prior, where)
            rows.append({"what": f"labels: {name}", **run(where, prior, labels, {"name": arguments.preset})})
            print_table(rows[-1:], columns)
            keep(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
