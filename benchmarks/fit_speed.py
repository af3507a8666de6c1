"""Seconds a fit takes, and where an iteration's time goes, side by side for the fields.

    python benchmarks/fit_speed.py
    python benchmarks/fit_speed.py --presets fast default --prior auto     # whole fits

CPU seconds are those of the process, all threads together; ratios are to the spline field of the same size.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from _fitting import Cell, PreparedPrior, cell, score_model
from _machine import print_table, write_result

from napari_emgauss.fitting import fit, preset
from napari_emgauss.fitting._labels import Labels, label_depths
from napari_emgauss.fitting._losses import reconstruction_loss
from napari_emgauss.fitting._trainer import Trainer
from napari_emgauss.render import EmgaussModel


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time of ``work`` after two calls that do not count."""
    times = []
    for k in range(repeats + 2):
        start = time.perf_counter()
        work()
        if k >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def iteration_rows(where: Cell, repeats: int) -> list[dict[str, object]]:
    """One row per field: an iteration, and its parts."""
    prior = PreparedPrior("linear", where)
    labels = Labels(label_depths(where.stack.z_nm, where.stack.pixel_size_nm[0], None), prior)
    rows: list[dict[str, object]] = []
    first = 0.0
    _, height, width = where.stack.shape
    for field in ("spline", "grid", "mlp"):
        config = preset("default", field=field, warm_up=False, joint=False)
        config = config.for_stack(where.stack.shape[0], where.stack.anisotropy_factor)
        count = round(height * width / config.pixels_per_gaussian)
        model = EmgaussModel(
            config.model_config(),
            where.stack.z_nm,
            where.stack.pixel_size_nm,
            (height, width),
            where.stack.normalisation,
            count,
        )
        trainer = Trainer(model, where.stack.unit_slices(), config, labels)
        whole = milliseconds(trainer.step, repeats if field != "mlp" else 3)
        t = [float(where.stack.t[1]) * 0.7]
        with torch.no_grad():
            deform = milliseconds(lambda m=model, d=t: m.cloud_list[0].splats(d), repeats)
            forward = milliseconds(lambda m=model, d=t: m.render_unit(d), repeats)
            image = model.render_unit(t)
        image.requires_grad_()
        target = torch.rand_like(image.detach())
        loss = milliseconds(
            lambda i=image, g=target: reconstruction_loss(i, g, dssim_weight=0.2, epsilon=0.0).backward(), repeats
        )
        first = first or whole
        rows.append(
            {
                "what": "iteration",
                "field": field,
                "gaussians": count,
                "iteration_ms": whole,
                "deform_ms": deform,
                "deform_and_render_ms": forward,
                "l1_dssim_ms": loss,
                "ratio_to_spline": whole / first,
            }
        )
    return rows


def fit_rows(where: Cell, presets: list[str], prior: str | None) -> list[dict[str, object]]:
    """One row per preset: a whole fit."""
    rows: list[dict[str, object]] = []
    for name in presets:
        config = preset(name) if prior is None else preset(name, prior=prior)
        wall, processor = time.perf_counter(), time.process_time()
        prior_wall = 0.0
        model = None
        for update in fit(where.stack, config):
            if update.stage == "prior":
                prior_wall = update.elapsed_s
            model = update.model
        if model is None:
            continue
        rows.append(
            {
                "what": "fit",
                "preset": name,
                "prior": config.prior,
                "gaussians": model.gaussian_count,
                "prior_seconds": prior_wall,
                "seconds": time.perf_counter() - wall,
                "cpu_seconds": time.process_time() - processor,
                **score_model(model, where),
            }
        )
        print_table(rows)
    return rows


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--volume", default="fib25")
    parser.add_argument("--factor", type=int, default=8)
    parser.add_argument("--crop", type=int, nargs=3, metavar=("Z", "Y", "X"))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--presets", nargs="*", default=[], help="also whole fits with these presets")
    parser.add_argument("--prior", help="prior of the whole fits, in place of the presets' own")
    arguments = parser.parse_args()
    where = cell(arguments.volume, arguments.factor, tuple(arguments.crop) if arguments.crop else None)
    if where is None:
        print("The volume is not there: set EMGAUSS_BENCHMARK_DATA.", file=sys.stderr)
        return 1
    rows = iteration_rows(where, arguments.repeats)
    print_table(rows)
    rows += fit_rows(where, arguments.presets, arguments.prior)
    write_result(
        "fit_speed",
        rows,
        notes=f"{where.name} x{where.factor}, kept slices {where.stack.shape}. Parts are medians of "
        "single calls: deformation alone, deformation and drawing, L1 + D-SSIM with its gradient.",
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
