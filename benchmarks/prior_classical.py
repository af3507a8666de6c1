"""Score the classical priors on the shared volumes with the protocol of the quality tables.

Keep slices 0, f, 2f, ...; score every dropped slice between the first and the last kept one in the unit range, PSNR and
SSIM (Gaussian window 1.5) averaged over slices.

    python benchmarks/prior_classical.py fib25 epfl --factors 5 8 10
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import tifffile
from _machine import shared_data
from skimage.metrics import structural_similarity

from napari_emgauss.priors import Observation, get_prior

NAMES = ("nearest", "linear", "cubic", "linear+blur", "flow", "flow+blur", "ensemble")


def observe(name: str, factor: int) -> tuple[np.ndarray, Observation]:
    """Truth ``(Z, H, W)`` in the unit range up to the last kept slice, and the kept slices (1 nm pixels)."""
    path = shared_data(f"{name}.ome.tif")
    if path is None:
        sys.exit(f"{name}.ome.tif is absent: see README.md for where it is looked for.")
    volume = tifffile.imread(path).astype(np.float32) / 255
    truth = volume[: (len(volume) - 1) // factor * factor + 1]
    depths = np.arange(0, len(truth), factor, dtype=np.float64)
    return truth, Observation(np.ascontiguousarray(truth[::factor]), depths, (1.0, 1.0))


def score(truth: np.ndarray, interpolator: object, factor: int) -> tuple[float, float]:
    """Mean PSNR (dB) and SSIM over the dropped slices."""
    rows = []
    for z in range(len(truth)):
        if z % factor == 0:
            continue
        guess = interpolator.at(float(z)).image  # type: ignore[attr-defined]
        psnr = 10 * np.log10(1 / np.mean((guess - truth[z]) ** 2))
        ssim = structural_similarity(
            truth[z], guess, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        rows.append((psnr, ssim))
    return tuple(np.mean(rows, axis=0))  # type: ignore[return-value]


def main() -> None:
    """Print one line per volume, factor and prior."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", nargs="+")
    parser.add_argument("--factors", type=int, nargs="+", default=[5, 8, 10])
    parser.add_argument("--priors", nargs="+", default=list(NAMES))
    arguments = parser.parse_args()
    for volume in arguments.volumes:
        for factor in arguments.factors:
            truth, observation = observe(volume, factor)
            for name in arguments.priors:
                began = time.process_time()
                interpolator = get_prior(name, device="cpu").prepare(observation)
                for z in range(len(truth)):
                    interpolator.at(float(z))
                cpu = time.process_time() - began
                psnr, ssim = score(truth, interpolator, factor)
                print(f"{volume} x{factor} {name:12s} {psnr:.3f} dB / {ssim:.4f}  {cpu:.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
