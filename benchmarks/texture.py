"""What the textured look does: scores, power and sharpness of inferred slices beside smooth ones and linear's.

    python benchmarks/texture.py                                  # every cell, whole volumes; hours on two cores
    python benchmarks/texture.py --crop 128 --volumes epfl --factors 8
    python benchmarks/texture.py --models FOLDER                  # keep the fitted models there, and use them again

Fits with the preset ``fast`` to every f-th slice, renders all slices, and compares those that were dropped. Of epfl the
forest of ``masks.py``, which learns from true slices, also says what it finds in every slice, kept and dropped. What
the result has already is not measured again.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from _fitting import ANISOTROPIC_NM, VOXEL_NM
from _machine import plain, print_table, read_result, shared_data, write_result
from numpy.typing import NDArray
from scipy.ndimage import laplace

import napari_emgauss as emg
from napari_emgauss.evaluation import compare, mean_scores
from napari_emgauss.evaluation._halves import MARGIN_PIXELS, TRAINING_SLICES
from napari_emgauss.evaluation._masks import soft_iou
from napari_emgauss.evaluation._segmenter import ForestSegmenter
from napari_emgauss.stack import Normalisation, Stack
from napari_emgauss.volume import with_look

CELLS = {"fib25": (5, 8, 10), "epfl": (5, 8, 10), "vnc": (2,)}
BANDS = (1 / 16, 3 / 32, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2)
MOST_SCORED = 48
NOTES = (
    "Preset fast; the middle of each slice where a crop is given. PSNR, SSIM, FSIM: means over at most 48 dropped "
    "slices, where exact is smooth. Sharpness: variance of the Laplacian halfway between kept slices over that of kept "
    "ones. Power: the same ratio of the radial power spectrum, least and largest of the bands between 1/16 and 1/2 "
    "cycles a pixel. Change: root mean square of what the look changes in dropped slices; error: that of the smooth "
    "slices. Agreement: soft intersection over union of a forest's probabilities with those on the true slices, over "
    "kept and dropped ones; the forest learned from true slices of the left half."
)
COLUMNS = ["volume", "factor", "crop", "look", "psnr", "ssim", "fsim", "sharpness", "power_least", "power_largest"]
COLUMNS += ["change", "error", "agreement_iou"]

Images = NDArray[np.uint8]


def main() -> int:
    """Measure what is missing."""
    arguments = parse()
    before = read_result("texture", arguments.output)
    rows: list[dict[str, Any]] = [] if before is None else before["rows"]
    for volume in arguments.volumes:
        source = shared_data(f"{volume}.ome.tif")
        if source is None:
            print(f"{volume}.ome.tif is not there: set EMGAUSS_BENCHMARK_DATA (README.md).", file=sys.stderr)
            return 1
        for factor in CELLS[volume] if arguments.factors is None else arguments.factors:
            here = (volume, factor, arguments.crop)
            if any((row["volume"], row["factor"], row["crop"]) == here for row in rows):
                continue
            print(f"{volume} ×{factor}", file=sys.stderr)
            rows += measured(volume, factor, arguments.crop, tifffile.imread(source), arguments.models)
            rows.sort(key=lambda row: (list(CELLS).index(row["volume"]), row["factor"], row["crop"] or 0))
            write_result("texture", rows, notes=NOTES, path=arguments.output, columns=COLUMNS)
    print_table(rows, COLUMNS)
    return 0


def measured(volume: str, factor: int, crop: int | None, values: Images, models: Path | None) -> list[dict[str, Any]]:
    """One row for each look."""
    truth = middle(values, crop)
    truth = truth[: (len(truth) - 1) // factor * factor + 1]
    step_nm, pixel_nm = ANISOTROPIC_NM.get(volume, (VOXEL_NM, VOXEL_NM))
    z_nm = np.arange(len(truth)) * step_nm
    stack = Stack(
        truth[::factor], z_nm[::factor], (pixel_nm, pixel_nm), Normalisation(0.0, 255.0, "uint8"), name=volume
    )
    model = fitted(stack, None if models is None else models / f"{volume}_x{factor}_{crop or 'whole'}.safetensors")
    shown = {
        "linear": linear(truth, factor),
        "smooth": model.render(z_nm),
        "exact": with_look(model, "exact", stack).render(z_nm),
        "textured": with_look(model, "textured", stack).render(z_nm),
    }
    agreements = agreement(truth, shown, crop) if volume == "epfl" else {}
    return [
        {
            "volume": volume,
            "factor": factor,
            "crop": crop,
            "look": look,
            **plain(scores(images, truth, shown["smooth"], factor)),
            "agreement_iou": plain(agreements.get(look)),
        }
        for look, images in shown.items()
    ]


def middle(values: Images, crop: int | None) -> Images:
    """The middle ``crop`` pixels of rows and columns."""
    if crop is None:
        return values
    y, x = ((n - crop) // 2 for n in values.shape[1:])
    return np.ascontiguousarray(values[:, y : y + crop, x : x + crop])


def fitted(stack: Stack, path: Path | None) -> Any:
    """A model, from a file where it was fitted before."""
    if path is not None and path.is_file():
        return emg.load(path, device="cpu")
    model = emg.run_fit(stack, emg.preset("fast"))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
    return model


def linear(truth: Images, factor: int) -> Images:
    """Linear interpolation of the kept slices."""
    places = np.arange(len(truth)) / factor
    low = np.minimum(places.astype(int), (len(truth) - 1) // factor - 1)
    share = (places - low)[:, None, None]
    kept = truth[::factor].astype(np.float64)
    return np.rint((1 - share) * kept[low] + share * kept[low + 1]).astype(np.uint8)


def scores(images: Images, truth: Images, smooth: Images, factor: int) -> dict[str, float]:
    """What the table says of one look."""
    dropped = np.flatnonzero(np.arange(len(truth)) % factor)
    few = dropped[np.unique(np.linspace(0, len(dropped) - 1, MOST_SCORED).round().astype(int))]
    mean = mean_scores([compare(images[k] / np.float32(255), truth[k] / np.float32(255)) for k in few])
    mid, kept = images[factor // 2 :: factor], truth[::factor]
    ratio = powers(mid) / powers(kept)
    return {
        **mean.as_dict(),
        "sharpness": sharpness(mid) / sharpness(kept),
        "power_least": float(ratio.min()),
        "power_largest": float(ratio.max()),
        "change": rms(images[dropped], smooth[dropped]),
        "error": rms(truth[dropped], smooth[dropped]),
    }


def rms(one: Images, other: Images) -> float:
    """Root mean square of a difference, grey values."""
    return float(np.sqrt(np.mean((one.astype(np.float64) - other) ** 2)))


def sharpness(images: Images) -> float:
    """Mean variance of the Laplacian."""
    return float(np.mean([laplace(image.astype(np.float64)).var() for image in images]))


def powers(images: Images) -> NDArray[np.float64]:
    """Mean power in each band, of slices that are faded out towards their sides."""
    *_, height, width = images.shape
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    radii = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    total = np.zeros(len(BANDS) - 1)
    for image in images.astype(np.float64):
        found = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
        total += [found[(radii >= low) & (radii < high)].mean() for low, high in pairwise(BANDS)]
    return total


def agreement(truth: Images, shown: dict[str, Images], crop: int | None) -> dict[str, float]:
    """How far a forest finds the same in each look as in the true slices."""
    path = shared_data("epfl_mito.ome.tif")
    if path is None:
        return {}
    masks = middle(tifffile.imread(path), crop)[: len(truth)] > 0
    half = truth.shape[2] // 2
    forest = ForestSegmenter()
    learned = np.unique(np.linspace(0, len(truth) - 1, TRAINING_SLICES).round().astype(int))
    left = half - MARGIN_PIXELS
    forest.train(truth[learned][:, :, :left] / np.float32(255), masks[learned][:, :, :left])
    few = np.unique(np.linspace(0, len(truth) - 1, MOST_SCORED).round().astype(int))

    def maps(images: Images) -> NDArray[np.float32]:
        parts = [forest.probability(images[k][:, half:] / np.float32(255))[:, MARGIN_PIXELS:] for k in few]
        return np.stack(parts)

    reference = maps(truth)
    return {look: soft_iou(maps(images), reference) for look, images in shown.items()}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=lambda text: text.split(","), default=list(CELLS))
    parser.add_argument("--factors", type=lambda text: [int(word) for word in text.split(",")])
    parser.add_argument("--crop", type=int, metavar="PIXELS", help="only the middle of each slice")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="where fitted models are kept")
    parser.add_argument("--output", metavar="FILE", help="result file (default: results/texture.json)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
