"""Denoising before the fit, and pruning during it: what quality and how many Gaussians they leave.

    python benchmarks/denoise.py                           # minutes on one core
    python benchmarks/denoise.py --volume fib25 --crop 65 128 128

Every ``factor``-th slice of a crop is kept; the fit sees the kept slices as they are, or denoised (``emgauss fit
--denoise``), with and without pruning (``--set prune_error=0.004``). Scored on the slices that were taken out, which
stay as noisy as they are. The prior is the same everywhere and does not blur, so that the slices' own noise tells.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np
import tifffile
from _machine import print_table, shared_data, write_result

from napari_emgauss.evaluation import psnr, ssim
from napari_emgauss.fitting import preset, run_fit
from napari_emgauss.stack import denoise, stack_from_array


def main() -> int:
    """Fit with and without denoising and pruning, write scores and numbers of Gaussians."""
    arguments = parse()
    path = shared_data(f"{arguments.volume}.ome.tif")
    if path is None:
        print(f"{arguments.volume}.ome.tif is not there: set EMGAUSS_BENCHMARK_DATA (README.md).", file=sys.stderr)
        return 1
    depth, height, width = arguments.crop
    volume = tifffile.imread(path)[:depth, :height, :width]
    factor = arguments.factor
    stack = stack_from_array(np.ascontiguousarray(volume[::factor]), (8.0 * factor, 8.0, 8.0), name=arguments.volume)
    hidden = [k for k in range((len(volume) - 1) // factor * factor) if k % factor]
    truth = stack.normalisation.to_unit(volume[hidden])
    clean = denoise(stack).in_memory()
    found = clean.metadata["denoising"]

    rows: list[dict[str, Any]] = []
    for prior in arguments.priors.split(","):
        for name, slices in (("as they are", stack), ("denoised", clean)):
            for error in (0.0, arguments.prune_error):
                began = time.process_time()
                model = run_fit(slices, preset(arguments.preset, prior=prior, prune_error=error))
                images = stack.normalisation.to_unit(model.render(8.0 * np.array(hidden)))
                rows.append(
                    {
                        "prior": prior,
                        "slices": name,
                        "prune_error": error,
                        "gaussians": model.gaussian_count,
                        "psnr": round(float(np.mean([psnr(a, b) for a, b in zip(images, truth, strict=True)])), 3),
                        "ssim": round(float(np.mean([ssim(a, b) for a, b in zip(images, truth, strict=True)])), 4),
                        "cpu_seconds": round(time.process_time() - began, 1),
                    }
                )
                print_table(rows[-1:])
    print_table(rows)
    size = " × ".join(str(n) for n in volume.shape)
    write_result(
        "denoise",
        rows,
        notes=(
            f"{arguments.volume}, {size}, every {factor}th slice kept, preset {arguments.preset}. Denoised by "
            f"{found['method']} of strength {found['strength']:g}, as Noise2Self found it (noise {found['noise']:.3f} "
            "of the unit range). xy over the slices taken out, as noisy as they are. Seconds of CPU time."
        ),
        columns=["prior", "slices", "prune_error", "gaussians", "psnr", "ssim", "cpu_seconds"],
    )
    return 0


def parse() -> argparse.Namespace:
    """Options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--volume", default="epfl")
    parser.add_argument("--crop", nargs=3, type=int, default=(49, 112, 112), metavar=("Z", "Y", "X"))
    parser.add_argument("--factor", type=int, default=8)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--priors", default="flow+linear")
    parser.add_argument("--prune-error", type=float, default=0.004)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
