"""Other modalities: a fluorescence stack of a whole mouse brain, 16 bit, with every fourth section kept.

    python benchmarks/modalities.py                                 # minutes
    python benchmarks/modalities.py --crop 65 193 271 --factor 4    # all pixels of 65 sections

Scored on the sections that were taken out, against linear interpolation and the classical priors; each method sees the
kept sections and grey-value limits found in them alone. ``sampling`` says what a section is taken for: the brain's
sections are thick, so fits are made both ways.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np
from _machine import print_table, shared_data, write_result

from napari_emgauss.evaluation import psnr, ssim
from napari_emgauss.fitting import preset, run_fit
from napari_emgauss.priors import Observation, get_prior
from napari_emgauss.stack import Stack, read_stack, stack_from_array

CLASSICAL = ("nearest", "linear", "cubic", "linear+blur", "flow", "ensemble", "flow+linear")


def main() -> int:
    """Thin the brain out, reconstruct it with each method, write the scores."""
    arguments = parse()
    path = shared_data("mousebrain.ome.tif")
    if path is None:
        print("mousebrain.ome.tif is not there: set EMGAUSS_BENCHMARK_DATA to its folder (README.md).", file=sys.stderr)
        return 1
    whole = centre(read_stack(path, allow_isotropic=True), arguments.crop)
    kept_slices = list(range(0, whole.shape[0], arguments.factor))
    hidden = [k for k in range(kept_slices[-1]) if k % arguments.factor]
    chosen = whole.select(kept_slices)
    kept = stack_from_array(np.asarray(chosen.slices[:]), z_nm=chosen.z_nm, pixel_size_nm=chosen.pixel_size_nm)
    truth = [kept.normalisation.to_unit(np.asarray(whole.slices[k])) for k in hidden]
    z_nm = whole.z_nm[hidden]

    rows: list[dict[str, Any]] = []
    observation = Observation(kept.unit_slices(), kept.z_nm, kept.pixel_size_nm)
    for name in CLASSICAL:
        began = time.process_time()
        guess = get_prior(name).prepare(observation)
        rows.append(scored(name, [guess.at(float(z)).image for z in z_nm], truth, time.process_time() - began))
    for prior, sampling in (("auto:fast", "point"), (arguments.prior, "point"), (arguments.prior, "slab")):
        began = time.process_time()
        model = run_fit(kept, preset(arguments.preset, prior=prior, sampling=sampling))
        images = kept.normalisation.to_unit(model.render(z_nm))
        rows.append(scored(f"emgauss, {prior} ({sampling})", list(images), truth, time.process_time() - began))
    print_table(rows)
    depth, height, width = whole.shape
    write_result(
        "modalities",
        rows,
        notes=(
            f"Mouse brain, fluorescence, 16 bit, voxels of 50 × 40 × 40 µm; middle {depth} × {height} × {width}, every "
            f"{arguments.factor}th section kept, xy scored on the others (grey-value limits of the kept ones are the "
            f"unit range). Fits: preset {arguments.preset}. With auto:fast nobody has chosen anything. The prior "
            f"{arguments.prior} was chosen by looking at this very table, so its rows say what a user gains who knows "
            "that the stack has hardly any noise and that nothing is to be gained by a blur. Seconds of CPU time."
        ),
        columns=["method", "psnr", "ssim", "cpu_seconds"],
    )
    return 0


def centre(stack: Stack, crop: list[int]) -> Stack:
    """The middle of a stack."""
    depth, height, width = (min(wanted, there) for wanted, there in zip(crop, stack.shape, strict=True))
    z, y, x = ((there - n) // 2 for there, n in zip(stack.shape, (depth, height, width), strict=True))
    return stack.select(range(z, z + depth)).crop((y, y + height, x, x + width))


def scored(name: str, images: list[Any], truth: list[Any], seconds: float) -> dict[str, Any]:
    """A row: means over the hidden sections."""
    pairs = [(np.clip(image, 0, 1), np.clip(there, 0, 1)) for image, there in zip(images, truth, strict=True)]
    return {
        "method": name,
        "psnr": round(float(np.mean([psnr(image, there) for image, there in pairs])), 3),
        "ssim": round(float(np.mean([ssim(image, there) for image, there in pairs])), 4),
        "cpu_seconds": round(seconds, 1),
    }


def parse() -> argparse.Namespace:
    """Options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--crop", nargs=3, type=int, default=(41, 112, 128), metavar=("Z", "Y", "X"))
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--prior", default="flow+linear")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
